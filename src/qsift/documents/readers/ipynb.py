"""Jupyter notebooks to sections, a section a cell: its source, then what it printed. No picture, no base64."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from qsift.documents.document import Section, UnreadableError, place_of, scrubbed

# JSON has to be read as a whole and takes up to 30 times its size, so pictures and the like go before.
_MAX_BYTES, _MAX_JSON = 1 << 26, 1 << 23
_PICTURES = re.compile(rb'"(?:image|application)/[^"\\]*"\s*:\s*"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BASE64 = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,[\w+/=-]*")
_ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def read_ipynb(file: BinaryIO) -> Iterator[Section]:
    """Yields the cells in their order, code and text; the lines of what a cell printed go on from its source's.

    Args:
        file: open at its start.

    Raises:
        UnreadableError: no notebook, or one of more than 64 MiB, or of 8 beside its pictures.
    """
    data = file.read(_MAX_BYTES + 1)
    data = data if len(data) > _MAX_BYTES else _PICTURES.sub(b'"image/left out":0', data)
    if len(data) > _MAX_JSON:
        raise UnreadableError(
            f"It has more than {_MAX_JSON:,} bytes beside its pictures, or {_MAX_BYTES:,} with them. Clear its outputs "
            "and save it again."
        )
    if not data.strip():
        return
    try:
        notebook = json.loads(data)
        # Before version 4, a notebook had worksheets.
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        texts = ["\n".join(filter(None, _texts(cell))) for cell in cells]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError(f"It is damaged, or no notebook: {type(error).__name__}.") from error
    for number, text in enumerate(texts, 1):
        if text.strip():
            yield Section(scrubbed(text), place=place_of("cell", number))


def _texts(cell: dict[str, Any]) -> Iterator[str]:
    yield _BASE64.sub("", _joined(cell.get("source", cell.get("input", ""))))
    for output in cell.get("outputs", ()):
        data = output.get("data", output)
        if output.get("output_type") in ("error", "pyerr"):
            yield f"{output.get('ename')}: {output.get('evalue')}"
        elif not any(kind.startswith("image") for kind in data):
            yield _ESCAPES.sub("", _joined(data.get("text/plain", data.get("text", ""))))


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
