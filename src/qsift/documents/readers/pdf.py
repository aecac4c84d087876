"""PDF files to readable text, a section a page. The only door to PDFium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from typing import BinaryIO

from qsift.documents.document import Section, UnreadableError, place_of
from qsift.errors import MissingExtraError

# How PDFium marks a hyphen at the end of a line, where the word goes on in the next.
_HYPHEN = re.compile(r"[\ufffe\x02]\s*")


def check_pdf_extra() -> None:
    """Returns if PDF files can be read here, without loading anything.

    Raises:
        MissingExtraError: pypdfium2 is not installed.
    """
    if find_spec("pypdfium2") is None:
        raise MissingExtraError("Reading PDF files", "pypdfium2", "pdf")


def read_pdf(file: BinaryIO) -> Iterator[Section]:
    """Yields the text of each page that has text; lines count from the page's top.

    Args:
        file: open at its start; must be seekable.

    Raises:
        MissingExtraError: pypdfium2 is not installed.
        UnreadableError: damaged, encrypted, or without any text.
    """
    check_pdf_extra()
    import pypdfium2

    empty = True
    try:
        with closing(pypdfium2.PdfDocument(file)) as pdf:
            for number in range(len(pdf)):
                with closing(pdf[number]) as page, closing(page.get_textpage()) as text_page:
                    text = _HYPHEN.sub("", text_page.get_text_range().replace("\r\n", "\n"))
                if text.strip():
                    empty = False
                    yield Section(text, place=place_of("page", number + 1))
    except pypdfium2.PdfiumError as error:
        raise UnreadableError(f"PDFium cannot read it: {error}") from error
    if empty:
        raise UnreadableError("It holds no text: its pages may be pictures, which need text recognition (OCR) first.")
