"""Rows of tables to lines of text that say what each cell is: "Part: bolt; Price: 3.20".

So each row is understood alone, wherever a passage ends. This file knows no formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from .numbered import Line

_VALUE = re.compile(r"[^\w]*\d[\d\s.,:/%€$£+eE-]*")
# What stands before each cell of a column is a name, not a text.
MAX_NAME = 80
_YEAR = re.compile(r"(?:19|20)\d\d")


def rows_to_lines(rows: Iterable[tuple[int, Mapping[int, str]]], place: str = "") -> Iterator[Line]:
    """Yields a line for each row that has text.

    The header is the first row of two cells or more, unless one of its cells is a number or a date; a year may be.

    Args:
        rows: the number of each row, and its cells by their column; blank ones may be left out.
        place: what the rows are in.
    """
    names: Mapping[int, str] | None = None
    for number, raw in rows:
        cells = {column: text for column, cell in raw.items() if (text := " ".join(cell.split()))}
        if names is None and len(cells) > 1:
            names = {key: cell[:MAX_NAME] for key, cell in cells.items()} if _is_header(cells.values()) else {}
            named: Mapping[int, str] = {}
        else:
            named = names or {}
        texts = (f"{named[column]}: {text}" if column in named else text for column, text in cells.items())
        yield Line("; ".join(texts), number, place)


def _is_header(cells: Iterable[str]) -> bool:
    values = [cell for cell in cells if _VALUE.fullmatch(cell)]
    return all(_YEAR.fullmatch(value) for value in values)
