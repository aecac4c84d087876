"""The paragraphs of XML that word processors and slides are written in: WordprocessingML, DrawingML, OpenDocument.

A format is a `Markup`: which tags are paragraphs, text, cells. Rows of tables become one line, cells parted by " | ".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .numbered import MAX_CHARS, Line
from .package import Event
from qsift.documents.document import place_of

_MAX_HEADINGS = 20


class Paragraph(NamedTuple):
    """A paragraph, or a row of a table, and the level of a heading, from 1; 0 where it is none."""

    text: str
    level: int = 0


@dataclass(frozen=True)
class Markup:
    """What the tags of a format mean, by their names without a namespace.

    Attributes:
        paragraphs: what holds a line of text; one may stand inside another, as in a text box.
        texts: what holds text inside of a paragraph; none where all of it is text.
        row, cell: of a table.
        marks: what stands for characters, and which.
        skipped: what is not shown, or is there a second time.
        level: tells from a tag inside of a paragraph, or the paragraph's own, the level of a heading; None elsewhere.
    """

    paragraphs: frozenset[str]
    texts: frozenset[str]
    row: str
    cell: str
    marks: Mapping[str, str]
    skipped: frozenset[str]
    level: Callable[[Event], int | None]


def paragraphs(events: Iterable[Event], markup: Markup) -> Iterator[Paragraph]:
    """Yields the paragraphs in the order in which they end; those of a table a row at a time.

    One of more than 2**18 characters comes in pieces, so memory is bounded.
    """
    state = _State(markup)
    for event in events:
        if state.is_skipped(event):
            continue
        if event.what == "text":
            state.write(event.name)
        elif event.what == "start":
            state.start(event)
        else:
            state.end(event.name)
        if state.finished:
            yield from state.finished
            state.finished.clear()


def outlined(texts: Iterable[Paragraph]) -> Iterator[Line]:
    """Yields paragraphs with their number and the heading that they are under; headings as Markdown has them.

    Headings without a text between them stand together, under the last one.
    """
    place, headings = "", list[Line]()
    for number, (text, level) in enumerate(texts, 1):
        if not text.strip():
            continue
        if level:
            place = place_of("section", text)
            headings.append(Line(f"{'#' * level} {' '.join(text.split())}", number))
        if not level or len(headings) > _MAX_HEADINGS:
            yield from (line._replace(place=place) for line in headings)
            headings.clear()
        if not level:
            yield Line(text, number, place)
    yield from (line._replace(place=place) for line in headings)


@dataclass
class _State:
    """What is open at a tag, and what has been finished since the last look."""

    markup: Markup
    finished: list[Paragraph] = field(default_factory=list)
    _open: list[list[str]] = field(default_factory=list)
    _levels: list[int] = field(default_factory=list)
    _cells: list[list[str]] = field(default_factory=list)
    _rows: int = 0
    _texts: int = 0
    _skipped: int = 0
    _size: int = 0

    def is_skipped(self, event: Event) -> bool:
        if event.what != "text" and (self._skipped or event.name in self.markup.skipped):
            self._skipped += 1 if event.what == "start" else -1
            return True
        return self._skipped > 0

    def start(self, event: Event) -> None:
        name, markup = event.name, self.markup
        if name in markup.paragraphs:
            self._open.append([])
            self._levels.append(0)
        elif name == markup.row:
            self._rows += 1
        elif name == markup.cell:
            self._cells.append([])
            self._grow(1)
        self._texts += name in markup.texts
        if self._open:
            if name in markup.marks:
                self._add(markup.marks[name])
            if (level := markup.level(event)) is not None:
                self._levels[-1] = level

    def end(self, name: str) -> None:
        self._texts -= name in self.markup.texts
        if name in self.markup.paragraphs:
            self._finish("".join(self._open.pop()), self._levels.pop())
        elif name == self.markup.row:
            self._rows -= 1
            if not self._rows:
                self._end_row()

    def write(self, text: str) -> None:
        if self._open and (self._texts or not self.markup.texts):
            self._add(text)

    def _add(self, text: str) -> None:
        self._open[-1].append(text)
        self._grow(len(text))

    def _grow(self, n: int) -> None:
        self._size += n
        if self._size > MAX_CHARS:
            self.finished += (Paragraph("".join(pieces)) for pieces in self._open)
            self._open = [[] for _ in self._open]
            self._end_row()

    def _finish(self, text: str, level: int) -> None:
        if self._cells:
            self._cells[-1].append(text)
        else:
            self.finished.append(Paragraph(text, level))
            self._size -= len(text)

    def _end_row(self) -> None:
        cells = (" ".join(" ".join(texts).split()) for texts in self._cells)
        self.finished.append(Paragraph(" | ".join(filter(None, cells))))
        self._cells.clear()
        self._size = sum(len(piece) for pieces in self._open for piece in pieces)
