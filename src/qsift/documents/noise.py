"""Text that nobody wrote and nobody reads: what is taken out of a file, and what a file is refused for.

It works on blocks, as `readers.text` gives them, and knows no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .readers.text import NotTextError

MAX_LINE = 100_000
"""Characters of a line from which on a file was not written by hand."""

# What is text to its first bytes, and to nobody else.
_HEADS = {
    b"%PDF-": "a PDF file",
    b"{\\rtf": "RTF",
    b"%!PS": "PostScript",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "compressed (gzip)",
    **{b"BZh%d1AY&SY" % level: "compressed (bzip2)" for level in range(1, 10)},
    b"\x28\xb5\x2f\xfd": "compressed (Zstandard)",
}
# git takes the same controls for text (convert.c, gather_stats): backspace, tab, newline, form feed, return, escape.
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_WINDOW = 4096
_RARE = 32
"""Of so many characters one may be a control: random bytes have one in ten, text has hardly any."""

_MIN_LEFT = 100
"""Characters that must stay of a file that held base64."""

_BASE64 = r"[A-Za-z0-9+/]"
_LINE_OF_DATA = rf"[ \t>|\"',]*{_BASE64}{{60,}}={{0,2}}(?:[\"',\\ \t][\"',\\+ \t]*)?\n"
_LAST_LINE = rf"(?:(?=[^\n]*[0-9=])[ \t>|\"',]*(?:{_BASE64}{{4}})*{_BASE64}{{2,4}}={{0,2}}[\"', \t]*$)?"
# One line, also of the URL-safe alphabet, or three and more of equal kind with a shorter last one.
_RUN = r"(?<![\w+/=-])[A-Za-z0-9+/_-]{200,}={0,2}"
_DATA = re.compile(rf"{_RUN}|^(?:{_LINE_OF_DATA}){{3,}}{_LAST_LINE}", re.MULTILINE)
_MIN_DATA = 180
"""Fewer characters are none of both."""
_IN_QUOTES = re.compile(rf"(?<!\\){_RUN}")
"""What can be taken out between quotes, and neither a quote nor an escape with it."""
# How it goes on in the next block.
_REST_OF_LINE = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_REST_OF_LINES = re.compile(rf"(?:(?:{_LINE_OF_DATA})+{_LAST_LINE})?", re.MULTILINE)
_LETTER_AND_DIGIT = re.compile(r"\d[^\d\W]|[^\d\W]\d")


def format_of(head: bytes) -> str | None:
    """Returns what a file is that starts so, where it is none that is read as text."""
    return next((name for start, name in _HEADS.items() if head.startswith(start)), None)


def without_data(blocks: Iterable[str], *, in_quotes: bool = False) -> Iterator[str]:
    """Yields the blocks of a text less what is binary data in base64, such as pictures in Markdown; lines stay.

    Args:
        blocks: as they are read.
        in_quotes: whether they are a table or records, which are to be read as such; `value_without_data` takes out the
            rest when they are.
    """
    data = _IN_QUOTES if in_quotes else _DATA
    rest: re.Pattern[str] | None = None
    for block in blocks:
        begun = rest.match(block) if rest else None
        text = _lines_of(begun) + block[begun.end() :] if begun else block
        end = 0

        def cut(match: re.Match[str]) -> str:
            nonlocal end
            if not _LETTER_AND_DIGIT.search(match[0]):
                return match[0]
            end = match.end()
            return _lines_of(match)

        yield data.sub(cut, text)
        rest = None
        # Data is the whole block, or what it ends with.
        if (begun and not text.strip("\n")) or (end and end >= len(text.removesuffix("\n"))):
            rest = _REST_OF_LINE if not text.endswith("\n") else None if in_quotes else _REST_OF_LINES


def value_without_data(value: str) -> str:
    """Returns a value of a table or a record less what is binary data in base64."""
    return value if len(value) < _MIN_DATA else "".join(without_data([value.replace("\r\n", "\n")]))


def check_noise(blocks: Iterable[str], *, long_lines: bool) -> None:
    """Reads a text whole and returns if it is worth searching.

    Args:
        blocks: as they are read.
        long_lines: whether a line may have any length.

    Raises:
        NotTextError: it is minified or generated, base64, or riddled with control characters.
    """
    n_read = n_kept = line = length = 0

    def read() -> Iterator[str]:
        nonlocal n_read
        for block in blocks:
            n_read += len(block) - block.count("\n")
            yield block

    for block in without_data(read()):
        n_kept += len(block) - block.count("\n")
        _check_controls(block)
        first, *others = block.split("\n")
        length += len(first)
        for number, text in enumerate(others):
            _check_length(line + number + 1, length, long_lines)
            length = len(text)
        line += len(others)
        _check_length(line + 1, length, long_lines)
    if n_kept < _MIN_LEFT <= n_read - n_kept:
        raise NotTextError("It is binary data written as text (base64).")


def _check_length(line: int, length: int, long_lines: bool) -> None:
    if length >= MAX_LINE and not long_lines:
        raise NotTextError(f"It is minified or generated: line {line} has {MAX_LINE} characters or more.")


def _check_controls(text: str) -> None:
    for start in range(0, len(text), _WINDOW):
        window = text[start : start + _WINDOW]
        n_controls = len(_CONTROL.findall(window))
        if n_controls > 3 and n_controls * _RARE > len(window):
            raise NotTextError(f"It is binary: of {len(window)} characters {n_controls} are controls.")


def _lines_of(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")
