"""Tables and records in plain text to sections: .csv and .tsv, and JSON lines. Lines are those of the file.

Data in base64 is taken out before they are taken apart, so that a picture makes no line too long, and out of each
value.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, BinaryIO

from .numbered import Line, sections
from .rows import MAX_NAME, rows_to_lines
from .text import read_blocks, read_lines
from qsift.documents.document import Section, UnreadableError
from qsift.documents.noise import value_without_data, without_data

_DELIMITERS = "\t;|,"
_MAX_ROW_CHARS = 1 << 20


def read_csv(file: BinaryIO) -> Iterator[Section]:
    """Yields the rows of a table, each cell after the name of its column; cells may be quoted as in RFC 4180.

    What parts them is the tab, semicolon, bar or comma that is most frequent in the first line with any. A lone "\\r"
    is a space, unless all lines of a file end so.

    Args:
        file: open at its start; must be seekable.

    Raises:
        UnreadableError: no text, or a row of more than 2**20 characters, as of a quote that nothing closes.
    """
    return sections(rows_to_lines(_rows(file)))


def _rows(file: BinaryIO) -> Iterator[tuple[int, dict[int, str]]]:
    lines = _lines(file)
    first = list(islice(lines, 10))
    if len(first) == 1:
        first = [(1, line) for line in first[0][1].split("\r")]
    sample = next((line for _, line in first if any(mark in line for mark in _DELIMITERS)), "")
    row = size = 0

    def counted() -> Iterator[str]:
        nonlocal row, size
        for number, line in chain(first, lines):
            row = row or number
            size += len(line) + 1
            if size > _MAX_ROW_CHARS:
                reason = f"Line {row} begins a row of more than {_MAX_ROW_CHARS} characters"
                raise UnreadableError(f"{reason}: a quote may be missing there.")
            yield line.replace("\r", " ") + "\n"

    # It is one for all readers of a process; ours have a limit of their own, on rows.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_ROW_CHARS))
    for cells in csv.reader(counted(), delimiter=max(_DELIMITERS, key=sample.count)):
        yield row, dict(enumerate(map(value_without_data, cells)))
        row = size = 0


def read_jsonl(file: BinaryIO) -> Iterator[Section]:
    """Yields a line for each record, "name: value; …", with dots in the names of what is nested.

    What is no JSON stands as it is.

    Args:
        file: open at its start; must be seekable.

    Raises:
        UnreadableError: no text.
    """
    return sections(Line(_record(line), number) for number, line in _lines(file))


def _lines(file: BinaryIO) -> Iterator[tuple[int, str]]:
    return read_lines(without_data(read_blocks(file), in_quotes=True))


def _record(line: str) -> str:
    try:
        return "; ".join(f"{name}: {text}" if name else text for name, text in _fields(json.loads(line), ""))
    except (ValueError, RecursionError):
        return line


def _fields(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _fields(item, (f"{name}.{key}" if name else key)[-MAX_NAME:])
    elif isinstance(value, list):
        for item in value:
            yield from _fields(item, name)
    elif isinstance(value, str):
        if text := " ".join(value_without_data(value).split()):
            yield name, text
    elif value is not None:
        yield name, json.dumps(value)
