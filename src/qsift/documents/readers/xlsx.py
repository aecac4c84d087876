"""Excel workbooks to sections: a section a sheet, a line a row, numbered as Excel does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import BinaryIO

from .numbered import MAX_CHARS, Line, sections
from .package import Package
from .rows import rows_to_lines
from qsift.documents.document import Section, UnreadableError, place_of

_REFERENCE = re.compile(r"([A-Z]{1,3})(\d{1,7})")
# Excel's own limits; of a longer text, as no Excel writes it, the start is read.
_MAX_ROW, _MAX_COLUMN, _MAX_CELL_CHARS = 1 << 20, 1 << 14, 32_767
# Texts that cells share are held while their sheets are read.
_MAX_SHARED_CHARS = 1 << 26
# Formats that a workbook need not spell out (ECMA-376, part 1, 18.8.30).
_BUILT_IN_DATES = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
_NO_DATE = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|General', re.IGNORECASE)
_DATE = re.compile(r"[dmyhs]", re.IGNORECASE)


def read_xlsx(file: BinaryIO) -> Iterator[Section]:
    """Yields the rows of each sheet, each cell after the name of its column.

    Formulas are not computed: their results are read, as the workbook keeps them. Sheets that are hidden are among
    them; macros, charts and links to other workbooks are not.

    Args:
        file: open at its start; must be seekable.

    Raises:
        UnreadableError: damaged, encrypted, or unpacking to far more than its size.
    """
    with closing(Package(file)) as package:
        yield from sections(_lines(package))


def _lines(package: Package) -> Iterator[Line]:
    main = package.main()
    parts = package.related(main)
    by_kind = {kind: part for kind, part in parts.values()}
    sheets, from_1904 = dict[str, str](), False
    for event in package.events(main):
        if event.is_start("sheet") and (found := parts.get(event.attributes.get("r:id", ""))):
            sheets.setdefault(found[1], event.attributes.get("name", ""))
        elif event.is_start("workbookPr"):
            from_1904 = event.attributes.get("date1904") in ("1", "true")
    workbook = _Workbook(
        package,
        _texts(package, by_kind["sharedStrings"]) if "sharedStrings" in by_kind else [],
        _date_styles(package, by_kind["styles"]) if "styles" in by_kind else [],
        datetime(1904, 1, 1) if from_1904 else datetime(1899, 12, 30),
    )
    for part, name in sheets.items():
        yield from rows_to_lines(workbook.rows(part), place_of("sheet", name))


class _Workbook:
    """What cells refer to."""

    def __init__(self, package: Package, texts: list[str], date_styles: list[bool], first_day: datetime) -> None:
        self._package = package
        self._texts = texts
        self._date_styles = date_styles
        self._first_day = first_day

    def rows(self, part: str) -> Iterator[tuple[int, dict[int, str]]]:
        """Yields the number of each row of a sheet and its cells by their column, from 1."""
        row, column, size, cells = 0, 0, 0, dict[int, str]()
        kind, style, value, is_value = "n", "", "", False
        for event in self._package.events(part):
            if event.what == "text":
                if is_value and len(value) < _MAX_CELL_CHARS:
                    value += event.name
            elif event.what == "start":
                if event.name == "row":
                    given = event.attributes.get("r", "")
                    row = int(given) if given.isdecimal() and len(given) < 8 else row + 1
                    column, size, cells = 0, 0, {}
                elif event.name == "c":
                    place = _REFERENCE.fullmatch(event.attributes.get("r", ""))
                    column = _number(place[1]) if place else column + 1
                    kind, style, value = event.attributes.get("t", "n"), event.attributes.get("s", ""), ""
                is_value = event.name == "v" or (event.name == "t" and kind == "inlineStr")
            elif event.name == "c":
                if column > _MAX_COLUMN:
                    raise UnreadableError(f"It is damaged: row {row} of a sheet has more than {_MAX_COLUMN:,} cells.")
                cells[column] = shown = self._shown(value, kind, style)[:_MAX_CELL_CHARS]
                # A text that cells share may be a million times in a sheet.
                self._package.spend(len(shown))
                size += len(shown)
                if size > MAX_CHARS:
                    yield min(row, _MAX_ROW), cells
                    size, cells = 0, {}
            elif event.name == "row":
                yield min(row, _MAX_ROW), cells
            else:
                is_value = False

    def _shown(self, value: str, kind: str, style: str) -> str:
        if kind == "s":
            return self._texts[int(value)] if value.isdecimal() and int(value) < len(self._texts) else ""
        if kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        if kind == "e":
            return ""
        if kind != "n":
            return value
        try:
            number = float(value)
            is_date = style.isdecimal() and int(style) < len(self._date_styles) and self._date_styles[int(style)]
            return self._date(number) if is_date else f"{number:.15g}"
        except (ValueError, OverflowError):
            return value

    def _date(self, days: float) -> str:
        moment = self._first_day + timedelta(seconds=round(days * 86400))
        if days < 1:
            return f"{moment:%H:%M:%S}"
        return moment.isoformat(" ").removesuffix(" 00:00:00")


def _number(letters: str) -> int:
    """Returns the number of a column, from 1: of "AA" 27."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number


def _texts(package: Package, part: str) -> list[str]:
    """Returns the texts that cells share."""
    texts, pieces, size, is_text, is_phonetic = list[str](), list[str](), 0, False, False
    for event in package.events(part):
        if event.what == "text":
            if is_text and not is_phonetic:
                pieces.append(event.name[:_MAX_CELL_CHARS])
                size += len(pieces[-1])
        elif event.name == "t":
            is_text = event.what == "start"
        elif event.name == "rPh":
            is_phonetic = event.what == "start"
        elif event.name == "si" and event.what == "end":
            texts.append("".join(pieces)[:_MAX_CELL_CHARS])
            pieces.clear()
            size += 8
        if size > _MAX_SHARED_CHARS:
            raise UnreadableError(f"Its cells share texts of more than {_MAX_SHARED_CHARS:,} characters.")
    return texts


def _date_styles(package: Package, part: str) -> list[bool]:
    """Returns for each style of a cell whether it shows a number as a date or a time."""
    codes, styles, in_cells = dict[str, str](), list[bool](), False
    for event in package.events(part):
        if event.is_start("numFmt"):
            codes[event.attributes.get("numFmtId", "")] = event.attributes.get("formatCode", "")
        elif event.name == "cellXfs":
            in_cells = event.what == "start"
        elif event.is_start("xf") and in_cells:
            id = event.attributes.get("numFmtId", "")
            if id in codes:
                styles.append(bool(_DATE.search(_NO_DATE.sub("", codes[id]))))
            else:
                styles.append(id.isdecimal() and int(id) in _BUILT_IN_DATES)
    return styles
