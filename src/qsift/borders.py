r"""Where a text may be cut: its natural borders, the strongest first.

Code is cut by its layout. A blank line before a line that is not indented stands before a function or
a class in every language that people format, one before a shallow line before a method; this needs no
grammar, serves files that do not parse, and looks only at the neighbourhood of a cut. This file knows
characters, no tokens.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Kind = Literal["text", "markdown", "code", "html", "pdf"]
"""What a document is; "html" and "pdf" for the text that was read out of such a file."""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of documents."""

# Each pattern ends where a passage may begin. Quantifiers never compete for the same characters.
_BLANK_LINE = r"\n[^\S\n]*\n"
_PARAGRAPH = _BLANK_LINE + r"(?=[^\S\n]*\S)"
_HEADING = _BLANK_LINE + r"(?=\#{1,6}[^\S\n])"
_UNDERLINED = _BLANK_LINE + r"(?=\S[^\n]*\n([=\-~^*+#])\1{2,}[^\S\n]*(?:\n|\Z))"
_DEFINITION = _BLANK_LINE + r"(?=[^\s)\]}])"
_METHOD = _BLANK_LINE + r"(?=(?:\t| {1,4})[^\s)\]}])"
# After a sentence, and before an item of a list or a row of a table or a log.
_FINISHED_LINE = r"[.!?…。！？][\"'”’)\]`*_]*[^\S\n]*\n|\n(?=[^\S\n]*(?:[-*+•] |[\d\"|<\[{]))"
_SENTENCE = r"[.!?…][\"'”’)\]]*\s+|[。！？；]"
_LINE = r"\n"
_WORD = r"\s+"
_MARK = r"[^\w\s]"
_PROSE = (_PARAGRAPH, _FINISHED_LINE, _SENTENCE, _LINE, _WORD, _MARK)
_CODE = (_METHOD, _PARAGRAPH, _LINE, _SENTENCE, _WORD, _MARK)

# The first pattern of a row opens something new: what stands before it does not belong to it.
_PATTERNS: dict[Kind, tuple[str, ...]] = {
    "text": (_UNDERLINED, *_PROSE),
    "markdown": (f"{_HEADING}|{_UNDERLINED}", *_PROSE),
    "code": (_DEFINITION, *_CODE),
    "html": (_HEADING, *_PROSE),
    "pdf": (_UNDERLINED, *_PROSE),
}
_COMPILED = {kind: tuple(map(re.compile, patterns)) for kind, patterns in _PATTERNS.items()}
# How far behind a border its pattern may look: one line and its underline.
_LOOKAHEAD = 200


def last_border(text: str, kind: Kind, low: int, high: int) -> tuple[int, bool]:
    """Returns the best place for a cut: the last one of the strongest borders in (low, high].

    Args:
        text: the whole text.
        kind: what it is.
        low, high: positions with 0 <= low < high <= len(text).

    Returns:
        (position, opens): where the next passage begins, and whether a heading or a definition begins
        there. Where there is no border, not even a space or a mark, that is (high, False).
    """
    for strength, pattern in enumerate(_COMPILED[kind]):
        found = 0
        for match in pattern.finditer(text, low, high + _LOOKAHEAD):
            if match.end() > high:
                break
            found = match.end()
        if found > low:
            return found, strength == 0
    return high, False
