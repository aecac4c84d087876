"""EPUB books to sections: a section a chapter, by the headings of its text."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

from .html import read_html
from .package import Package, resolve
from qsift.documents.document import Section, UnreadableError, place_of

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"


def read_epub(file: BinaryIO) -> Iterator[Section]:
    """Yields the text of a book in the order of its spine; lines count from the top of each of its files as it is read.

    A chapter has the title of the first heading of its file; a file without one goes on with the chapter before.

    Args:
        file: open at its start; must be seekable.

    Raises:
        UnreadableError: damaged, locked (DRM), or unpacking to far more than its size.
    """
    with closing(Package(file)) as package:
        roots = (event.attributes for event in package.events(_CONTAINER) if event.is_start("rootfile"))
        book = next(roots, {}).get("full-path", "")
        locked = _locked(package)
        chapter = ""
        for number, part in enumerate(_spine(package, book), 1):
            if part in locked:
                raise UnreadableError("It is locked by its seller (DRM), so its text cannot be read.")
            line = 1
            for section in read_html(_decoded(package.blocks(part))):
                if line == 1:
                    heading = next((text for text in section.text.split("\n") if text.startswith("#")), "").lstrip("# ")
                    chapter = heading or chapter or str(number)
                yield Section(section.text, line, place_of("chapter", chapter))
                line += section.text.count("\n") + 1


def _spine(package: Package, book: str) -> dict[str, None]:
    """Returns the parts of a book that hold its text, in their order, each once."""
    items = dict[str, str]()
    spine = dict[str, None]()
    for event in package.events(book):
        if event.is_start("item"):
            if "html" in event.attributes.get("media-type", ""):
                items[event.attributes.get("id", "")] = resolve(book, event.attributes.get("href", ""))
        elif event.is_start("itemref") and (part := items.get(event.attributes.get("idref", ""), "")) in package:
            spine[part] = None
    return spine


def _locked(package: Package) -> set[str]:
    """Returns the parts that are encrypted; of most books that have any, only fonts are."""
    if _ENCRYPTION not in package:
        return set()
    references = (event.attributes for event in package.events(_ENCRYPTION) if event.is_start("CipherReference"))
    return {resolve("", reference.get("URI", "")) for reference in references}


def _decoded(blocks: Iterator[bytes]) -> Iterator[str]:
    decoder = None
    for block in blocks:
        if decoder is None:
            is_utf16 = block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            decoder = codecs.getincrementaldecoder("utf-16" if is_utf16 else "utf-8-sig")("replace")
        yield decoder.decode(block).replace("\r\n", "\n")
