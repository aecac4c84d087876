"""The sentences of a passage, as places in it: what is scored to say which one answers. It knows no models."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qsift.documents import Kind

_SENTENCE = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？；]\s*|\n\s*\n|\n(?=\s*(?:[-*+•#>|]\s|\d+[.)]\s))")
_LINE = re.compile(r"\n")
_LEAST = 12
"""Letters that a sentence has at least; a shorter piece, such as "1." or "Dr.", belongs to the next one."""
_MOST = 48


def sentences(text: str, kind: Kind) -> list[tuple[int, int]]:
    """Returns start and end of each sentence, of code each line, in order, without white space around.

    At most 48; the last one is then as long as what remains. Empty for a text of a single one.
    """
    spans = list(_spans(text, _LINE if kind == "code" else _SENTENCE))
    if len(spans) > _MOST:
        spans = [*spans[: _MOST - 1], (spans[_MOST - 1][0], spans[-1][1])]
    return spans if len(spans) > 1 else []


def _spans(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    start = 0
    for end in (*(match.end() for match in pattern.finditer(text)), len(text)):
        piece = text[start:end]
        if len(piece.strip()) < _LEAST and end < len(text) and not re.search(r"[。！？；]", piece):
            continue
        if piece.strip():
            lead = len(piece) - len(piece.lstrip())
            yield start + lead, start + len(piece.rstrip())
        start = end


def utf16_length(text: str) -> int:
    """Returns the length of a text as JavaScript counts it."""
    return len(text) + sum(character > "\uffff" for character in text)
