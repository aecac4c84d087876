"""PowerPoint presentations to sections, a section a slide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

from .numbered import Line, sections
from .package import Package
from .paragraphs import Markup, paragraphs
from qsift.documents.document import Section, place_of

_MARKUP = Markup(
    paragraphs=frozenset({"p"}),
    texts=frozenset({"t"}),
    row="tr",
    cell="tc",
    marks={"br": "\n"},
    # A field is the number of the slide, the date or the like.
    skipped=frozenset({"fld", "Fallback"}),
    level=lambda event: None,
)


def read_pptx(file: BinaryIO) -> Iterator[Section]:
    """Yields the text of each slide and its notes, in the order in which they are shown; lines are paragraphs.

    Slides that are hidden are among them. Charts and pictures are not read, and no link is followed.

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
    ids = (event.attributes.get("r:id") for event in package.events(main) if event.is_start("sldId"))
    # Once each: a hostile file could name a slide a million times.
    for number, slide in enumerate(dict.fromkeys(parts[id][1] for id in ids if id in parts), 1):
        shown = [slide, package.only_related(slide, "notesSlide")]
        texts = (text for part in filter(None, shown) for text in paragraphs(package.events(part), _MARKUP))
        yield from (Line(paragraph.text, line, place_of("slide", number)) for line, paragraph in enumerate(texts, 1))
