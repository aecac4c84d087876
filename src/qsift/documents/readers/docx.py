"""Word documents to sections: a section a heading, lines count paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

from .numbered import Line, sections
from .package import Event, Package
from .paragraphs import Markup, outlined, paragraphs
from qsift.documents.document import Section, place_of

_HEADING = re.compile(r"title|heading ([1-9])")
_NOTES = ("footnotes", "endnotes", "comments")


def read_docx(file: BinaryIO) -> Iterator[Section]:
    """Yields the text under each heading, then footnotes, endnotes and comments; lines are paragraphs of each part.

    What was deleted with changes tracked is left out, as are macros; no link and no picture is followed.

    Args:
        file: open at its start; must be seekable.

    Raises:
        UnreadableError: damaged, encrypted, or unpacking to far more than its size.
    """
    with closing(Package(file)) as package:
        yield from sections(_lines(package), apart=True)


def _lines(package: Package) -> Iterator[Line]:
    main = package.main()
    related = list(dict.fromkeys(package.related(main).values()))
    styles = next((part for kind, part in related if kind == "styles"), None)
    markup = _markup(_levels(package, styles) if styles else {})
    yield from outlined(paragraphs(package.events(main), markup))
    for kind in _NOTES:
        parts = (part for found, part in related if found == kind)
        notes = (note.text for part in parts for note in paragraphs(package.events(part), markup))
        # The first two are lines that part notes from the page.
        for number, note in enumerate(filter(str.strip, notes), 1):
            yield Line(note, number, place_of("section", kind))


def _levels(package: Package, part: str) -> dict[str, int]:
    """Returns the level of each style that is one of headings; their names are English in every language's Word."""
    levels: dict[str, int] = {}
    style = ""
    for event in package.events(part):
        if event.is_start("style"):
            style = event.attributes.get("styleId", "")
        elif event.is_start("name") and (found := _HEADING.fullmatch(event.attributes.get("val", "").lower())):
            levels[style] = min(int(found[1] or 1), 6)
    return levels


def _markup(levels: dict[str, int]) -> Markup:
    def level(event: Event) -> int | None:
        return levels.get(event.attributes.get("val", ""), 0) if event.name == "pStyle" else None

    return Markup(
        paragraphs=frozenset({"p"}),
        texts=frozenset({"t"}),
        row="tr",
        cell="tc",
        marks={"tab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-"},
        # Tabs in the settings of a paragraph are no text, and its settings before a tracked change are over; a fallback
        # is what its choice says.
        skipped=frozenset({"tabs", "pPrChange", "moveFrom", "Fallback"}),
        level=level,
    )
