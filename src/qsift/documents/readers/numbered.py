"""Numbered lines to sections: what rows, paragraphs and subtitles have in common. This file knows no formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from qsift.documents.document import Section, scrubbed

MAX_CHARS = 1 << 18
"""As long a section may be: a passage ends with it, so it holds hundreds of them."""


class Line(NamedTuple):
    """A line or a paragraph, its number where a person would count it, and the part of the document that it is in."""

    text: str
    number: int
    place: str = ""


def sections(lines: Iterable[Line], *, apart: bool = False) -> Iterator[Section]:
    """Yields the lines that have text, a section for each run of one place, in pieces of bounded size.

    Args:
        lines: in their order; a text of several lines shares one number.
        apart: whether a blank line stands between them, as between paragraphs.
    """
    held: list[Line] = []
    size = 0
    for line in lines:
        if not line.text.strip():
            continue
        if held and (line.place != held[0].place or size + len(line.text) > MAX_CHARS):
            yield _section(held, apart)
            held, size = [], 0
        held.append(line)
        size += len(line.text)
    if held:
        yield _section(held, apart)


def _section(held: list[Line], apart: bool) -> Section:
    texts, numbers = list[str](), list[int]()
    for line in held:
        pieces = line.text.split("\n")
        if apart and texts:
            pieces.insert(0, "")
        texts += pieces
        numbers += [line.number] * len(pieces)
    return Section(scrubbed("\n".join(texts)), numbers[0], held[0].place, numbers)
