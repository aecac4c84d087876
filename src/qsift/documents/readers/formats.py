"""Which reader reads which kind of document; loaded when the first one that is not plain text is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from .csv import read_csv, read_jsonl
from .docx import read_docx
from .epub import read_epub
from .html import read_html
from .ipynb import read_ipynb
from .mail import read_mail
from .odt import read_odt
from .pdf import read_pdf
from .pptx import read_pptx
from .srt import read_srt
from .text import read_blocks
from .xlsx import read_xlsx
from qsift.documents.document import Kind, Section

READERS: Mapping[Kind, Callable[[BinaryIO], Iterator[Section]]] = {
    "html": lambda file: read_html(read_blocks(file)),
    "pdf": read_pdf,
    "docx": read_docx,
    "odt": read_odt,
    "pptx": read_pptx,
    "xlsx": read_xlsx,
    "epub": read_epub,
    "ipynb": read_ipynb,
    "mail": read_mail,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "srt": read_srt,
}
