"""Where the command line's texts come from: arguments, files, JSON lines, standard input.

Everything is read a line at a time, as bytes, so that a message can name the file, the line and the
byte. A line ends at a newline and nowhere else; line n of a file is text n, empty lines too.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import click

from .console import tell
from .options import all_of, shows_progress

STDIN = "-"
Row = TypeVar("Row")
_SUFFIXES = re.compile(r"\.(csv|docx|html?|jsonl?|log|md|parquet|pdf|rst|tex|tsv|txt|xml|yaml)", re.IGNORECASE)
"""Of files that hold texts: who types such a name means the file."""
_BOM = b"\xef\xbb\xbf"


class InputError(click.ClickException):
    """An input that cannot be read as texts; the command line exits with 1."""


@dataclass(frozen=True)
class Texts:
    """The texts of one command, in the order arguments, files, JSON lines.

    Attributes:
        arguments: texts as given; "-" stands for standard input.
        files: paths of text files, or "-".
        jsonl: paths of JSON-lines files, or "-".
        field: name of the field that holds the text of a JSON line.
        whole_files: whether a file is one text instead of one a line.
    """

    arguments: tuple[str, ...]
    files: tuple[str, ...] = ()
    jsonl: tuple[str, ...] = ()
    field: str = "text"
    whole_files: bool = False

    def __post_init__(self) -> None:
        sources = (*self.arguments, *self.files, *self.jsonl)
        if not sources:
            raise click.UsageError("There is no text. Pass texts, --file PATH, --jsonl PATH, or - for standard input.")
        if sources.count(STDIN) > 1:
            raise click.UsageError("Standard input (-) can be read only once.")

    @property
    def only_arguments(self) -> bool:
        """Whether all texts stand on the command line."""
        return not self.files and not self.jsonl and STDIN not in self.arguments

    def __iter__(self) -> Iterator[str]:
        """Yields the texts, reading as it goes.

        Raises:
            InputError: a source cannot be read or is not what it should be.
        """
        for argument in self.arguments:
            if argument == STDIN:
                yield from self._read_texts(STDIN)
            else:
                yield argument
        for path in self.files:
            yield from self._read_texts(path)
        for path in self.jsonl:
            yield from _read_jsonl(path, self.field)

    def beside(self, encode: Callable[[Iterator[str]], Iterator[Row]]) -> Iterator[tuple[str, Row]]:
        """Yields each text with its row; ``encode`` may read ahead."""
        waiting: deque[str] = deque()

        def remembered() -> Iterator[str]:
            for text in self:
                waiting.append(text)
                yield text

        for row in encode(remembered()):
            yield waiting.popleft(), row

    def _read_texts(self, path: str) -> Iterator[str]:
        if self.whole_files:
            data = b"".join(line for _, _, line in _lines(path))
            yield _decode(data, path, 1, 0)
            return
        for number, offset, line in _lines(path):
            yield _decode(line, path, number, offset).removesuffix("\n").removesuffix("\r")


def _lines(path: str) -> Iterator[tuple[int, int, bytes]]:
    """Yields (number from 1, offset in bytes, line with its end) for each line of a file."""
    if path == STDIN and sys.stdin is None:
        raise InputError("Standard input is closed.")
    offset = 0
    try:
        source: BinaryIO | nullcontext[BinaryIO]
        source = nullcontext(sys.stdin.buffer) if path == STDIN else open(path, "rb")  # noqa: SIM115
        with source as file:
            for number, line in enumerate(file, 1):
                size = len(line)
                if number == 1 and line.startswith(_BOM):
                    line, offset = line[len(_BOM) :], len(_BOM)
                    size -= len(_BOM)
                if line:
                    yield number, offset, line
                offset += size
    except OSError as error:
        raise InputError(f"{_name(path)} cannot be read: {error.strerror}.") from error


def _decode(data: bytes, path: str, number: int, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + data.count(b"\n", 0, error.start)
        raise InputError(
            f"{_name(path)} is not UTF-8: line {line} holds the byte 0x{data[error.start]:02x} at offset "
            f"{offset + error.start}. Convert it, for example with: iconv -f latin1 -t utf-8."
        ) from None


def _read_jsonl(path: str, field: str) -> Iterator[str]:
    for number, offset, line in _lines(path):
        text = _decode(line, path, number, offset).strip()
        if text:
            yield _field(text, field, f"{_name(path)}, line {number}")


def _field(line: str, field: str, place: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: this is not JSON ({error}). Each line must be one object.") from None
    if not isinstance(value, dict):
        raise InputError(f"{place}: this is of type {type(value).__name__}; each line must be one object.")
    if field not in value:
        found = ", ".join(map(repr, value)) or "none"
        raise InputError(f"{place}: there is no field {field!r}. Its fields are: {found}. Choose one with --field.")
    text = value[field]
    if not isinstance(text, str):
        raise InputError(f"{place}: the field {field!r} is of type {type(text).__name__}; a text is needed.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise InputError(f"{place}: the field {field!r} holds the lone surrogate U+{code:04X}.") from None
    return text


def _name(path: str) -> str:
    return "Standard input" if path == STDIN else repr(path)


_readable = click.Path(exists=True, dir_okay=False, allow_dash=True)
text_options = all_of(
    click.option("--file", "-f", "files", type=_readable, multiple=True, help="Read texts from a file, one a line."),
    click.option("--whole-files", is_flag=True, help="Take each --file as one text."),
    click.option("--jsonl", type=_readable, multiple=True, help="Read texts from JSON lines, one object a line."),
    click.option("--field", default="text", show_default=True, help="The field of --jsonl that holds the text."),
    click.option("--max-tokens", type=int, help="Longest input in tokens.  [default: the model's context]"),
    click.option("--truncate/--no-truncate", default=True, show_default=True, help="Cut longer texts, or refuse them."),
)


def texts_of(arguments: tuple[str, ...], options: dict[str, Any]) -> Texts:
    """Returns the texts that a command was given."""
    source = Texts(arguments, options["files"], options["jsonl"], options["field"], options["whole_files"])
    if options["quiet"]:
        return source
    for argument in arguments:
        if len(argument) < 256 and os.path.isfile(argument):
            tell(f"Note: {argument!r} is taken as a text. To read the file of this name, pass it with --file.")
    if source.only_arguments and len(arguments) == 1 and _looks_like_a_file(arguments[0]):
        tell(f"Note: there is no file {arguments[0]!r}, so it is taken as a text. Files are read with --file PATH.")
    return source


def _looks_like_a_file(argument: str) -> bool:
    """Returns whether a text is rather the path of a file, one that is not there."""
    if len(argument) >= 256 or any(map(str.isspace, argument)) or "://" in argument or os.path.exists(argument):
        return False
    has_separator = any(separator in argument for separator in (os.sep, os.altsep) if separator)
    return has_separator or _SUFFIXES.fullmatch(os.path.splitext(argument)[1]) is not None


def shows_progress_of(source: Texts, options: dict[str, Any], output: str | None = "") -> bool:
    """Returns whether to draw a bar: as asked, else for more than arguments and where it disturbs no results."""
    clashes = output is None and sys.stdout.isatty()
    return shows_progress(options, otherwise=not source.only_arguments and not clashes)
