"""OpenDocument texts to sections: a section a heading, lines count paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

from .numbered import sections
from .package import Event, Package
from .paragraphs import Markup, outlined, paragraphs
from qsift.documents.document import Section, UnreadableError

_MANIFEST = "META-INF/manifest.xml"


def _level(event: Event) -> int | None:
    if event.name != "h":
        return None
    level = event.attributes.get("outline-level", "")
    return min(int(level), 6) if level.isdecimal() and int(level) else 1


_MARKUP = Markup(
    paragraphs=frozenset({"p", "h"}),
    texts=frozenset(),
    row="table-row",
    cell="table-cell",
    marks={"s": " ", "tab": " ", "line-break": "\n"},
    skipped=frozenset({"tracked-changes", "note-citation", "creator", "date", "desc"}),
    level=_level,
)


def read_odt(file: BinaryIO) -> Iterator[Section]:
    """Yields the text under each heading; lines are paragraphs. Notes stand before the paragraph that they belong to.

    Args:
        file: open at its start; must be seekable.

    Raises:
        UnreadableError: damaged, encrypted, or unpacking to far more than its size.
    """
    with closing(Package(file)) as package:
        if _MANIFEST in package and any(event.name == "encryption-data" for event in package.events(_MANIFEST)):
            raise UnreadableError("It is encrypted with a password. Save it again without one.")
        yield from sections(outlined(paragraphs(package.events("content.xml"), _MARKUP)), apart=True)
