"""Where the command line's texts come from: arguments, files, standard input, JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click


def texts_from(
    texts: tuple[str, ...], files: tuple[str, ...], *, field: str | None, whole: bool
) -> list[str] | Iterator[str]:
    """Returns the texts that a command was given.

    Args:
        texts: arguments; a single "-" stands for standard input, a text a line.
        files: paths; a text a line, or JSON lines where ``field`` is given.
        field: the JSON field that holds the text.
        whole: whether each file is one text.

    Returns:
        A list where all texts were arguments, otherwise an iterator that reads as it goes.

    Raises:
        click.UsageError: nothing was given, or options that contradict each other.
    """
    if field and whole:
        raise click.UsageError("--field reads a text from each line, --whole makes one text of a file. Take one.")
    sources = list(files)
    if texts == ("-",):
        texts, sources = (), ["-", *sources]
    if not texts and not sources:
        raise click.UsageError("No text was given. Pass texts, --file PATH, or - for standard input.")
    if field and not sources:
        raise click.UsageError("--field needs --file or -.")
    return list(texts) if not sources else _chain(texts, sources, field, whole)


def _chain(texts: tuple[str, ...], sources: list[str], field: str | None, whole: bool) -> Iterator[str]:
    yield from texts
    for source in sources:
        if source == "-":
            yield from _read(sys.stdin.buffer, "standard input", field, whole)
        else:
            try:
                with Path(source).open("rb") as file:
                    yield from _read(file, source, field, whole)
            except OSError as error:
                raise click.ClickException(f"{source!r} cannot be read: {error.strerror}.") from None


def _read(file: BinaryIO, name: str, field: str | None, whole: bool) -> Iterator[str]:
    if whole:
        yield _decode(file.read(), name, "")
        return
    for number, line in enumerate(file, 1):
        text = _decode(line, name, f", line {number}").rstrip("\r\n")
        if field is None:
            yield text
        elif text.strip():
            yield _field(text, field, f"{name}, line {number}")


def _decode(data: bytes, name: str, place: str) -> str:
    try:
        return data.decode("utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"{name}{place}: byte {error.start} is not UTF-8. Convert the file, for example with iconv."
        ) from None


def _field(line: str, field: str, place: str) -> str:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise click.ClickException(f"{place}: this is no JSON ({error}).") from None
    if not isinstance(value, dict) or field not in value:
        raise click.ClickException(f"{place}: there is no field {field!r}.")
    if not isinstance(value[field], str):
        raise click.ClickException(f"{place}: the field {field!r} is of type {type(value[field]).__name__}, not text.")
    return str(value[field])
