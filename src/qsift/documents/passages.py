"""Documents to passages: what is embedded and found.

A passage is the unit of the search: at most so many tokens by the model's own count, cut at natural
borders, with the lines where it stands in its document. This file knows no files and no formats.

Code is cut by its layout. A blank line before a line that is not indented stands before a function or
a class in every language that people format, one before a shallow line before a method; this needs no
grammar, serves files that do not parse, and looks only at the neighbourhood of a cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .document import Document, Kind, Section, utf8

MIN_PASSAGE_TOKENS = 16
"""The smallest limit of a passage: one character can be 12 tokens, and the end token is one more."""

# A text with fewer characters a token is counted whole before it is cut. English has 4.5, code up to 8.
_MAX_CHARS_PER_TOKEN = 16
_INK = re.compile(r"\S")

# Each pattern ends where a passage may begin. Quantifiers never compete for the same characters.
_BLANK_LINE = r"\n[^\S\n]*\n"
_PARAGRAPH = _BLANK_LINE + r"(?=[^\S\n]*\S)"
_HEADING = _BLANK_LINE + r"(?=\#{1,6}[^\S\n])"
_UNDERLINED = _BLANK_LINE + r"(?=\S[^\n]*\n([=\-~^*+#])\1{2,}[^\S\n]*(?:\n|\Z))"
_COMMAND = _BLANK_LINE + r"(?=\\(?:part|chapter|(?:sub)*section|appendix|begin)\b)"
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

# The first pattern of a row opens something new: what stands before it does not belong to it. Other kinds are text.
_PATTERNS: dict[Kind, tuple[str, ...]] = {
    "text": (_UNDERLINED, *_PROSE),
    "markdown": (f"{_HEADING}|{_UNDERLINED}", *_PROSE),
    "code": (_DEFINITION, *_CODE),
    "ipynb": (_DEFINITION, *_CODE),
    "tex": (_COMMAND, *_PROSE),
    **dict.fromkeys(("html", "docx", "odt", "epub"), (_HEADING, *_PROSE)),
    **dict.fromkeys(("xlsx", "csv", "jsonl"), (_LINE, _SENTENCE, _WORD, _MARK)),
}
_COMPILED = {kind: tuple(map(re.compile, patterns)) for kind, patterns in _PATTERNS.items()}
# How far behind a border its pattern may look: one line and its underline.
_LOOKAHEAD = 200


@dataclass(frozen=True)
class Passage:
    """A piece of a document.

    Attributes:
        text: what is embedded; no blank lines at its ends.
        source, kind, modified: those of the document.
        line, end_line: its first and last line, from 1: of the file; else of the page, slide, cell, chapter or
            message; of a sheet the rows, of a docx or odt file the paragraphs.
        place: the part of the document that it is in, such as "page 3", "sheet Costs" or "chapter The Sea"; "" where
            lines say enough.
        part: its number in the document, from 0.
    """

    text: str
    source: str
    kind: Kind
    line: int
    end_line: int
    place: str
    modified: float
    part: int = 0

    @property
    def citation(self) -> str:
        """Where it stands, for people, such as "notes/bread.md:3-5" or "paper.pdf page 4:1"."""
        lines = f"{self.line}" if self.line == self.end_line else f"{self.line}-{self.end_line}"
        return f"{self.source}{self.place and f' {self.place}'}:{lines}"


OnBatch = Callable[[Sequence[Passage]], None]
"""Is told the passages of each batch that is done."""


class Splitter:
    """Cuts documents into passages.

    Attributes:
        max_tokens: the most tokens of a passage, by ``count_tokens``.
        overlap: about how many tokens of a passage the next one repeats.
    """

    def __init__(self, count_tokens: Callable[[str], int], *, max_tokens: int = 256, overlap: int = 32) -> None:
        """Keeps the counter and the limits.

        Args:
            count_tokens: the length of a text in tokens, such as `Embedder.token_count`.
            max_tokens: at least 16.
            overlap: from 0 to half of ``max_tokens``. Nothing is repeated where a heading or a
                definition opens a passage, and never more than half of a passage.

        Raises:
            ValueError: a limit out of range.
        """
        if max_tokens < MIN_PASSAGE_TOKENS:
            raise ValueError(f"max_tokens is {max_tokens}; a passage needs at least {MIN_PASSAGE_TOKENS}.")
        if not 0 <= overlap <= max_tokens // 2:
            raise ValueError(f"overlap is {overlap}; it must be 0 to {max_tokens // 2}, half of max_tokens.")
        self.max_tokens = max_tokens
        self.overlap = overlap
        self._count_tokens = count_tokens

    def split(self, document: Document) -> Iterator[Passage]:
        """Yields the passages of a document in its order, reading as it goes.

        Together they hold every character that is not white space. A document that fits is one
        passage; an empty one has none. Memory is bounded by the largest section.

        Raises:
            DocumentError: from `Document.read`.
            ValueError: a lone surrogate in a text, or ``count_tokens`` gives more than ``max_tokens`` for a
                single character.
        """
        part = 0
        for section in document.read():
            utf8(section.text, document.source)
            # Lines are counted as far as the last passage began, so each is counted once.
            begin, line = 0, 0
            for start, text in self._pieces(section.text, document.kind):
                line += section.text.count("\n", begin, start)
                begin = start
                first, last = _lines(section, line, line + text.count("\n"))
                yield Passage(text, document.source, document.kind, first, last, section.place, document.modified, part)
                part += 1

    def _pieces(self, text: str, kind: Kind) -> Iterator[tuple[int, str]]:
        """Yields (position, text) of each passage."""
        begin = end = 0
        chars_per_token = float(_MAX_CHARS_PER_TOKEN)
        while ink := _INK.search(text, end):
            piece = self._piece(text, kind, _start_of_line(text, begin), chars_per_token)
            if piece.end <= ink.start():  # repeated text or an indentation leaves no room for new text
                piece = self._piece(text, kind, ink.start(), chars_per_token)
            yield piece.start, piece.text
            end = piece.end
            if end == len(text):
                return
            chars_per_token = min((end - piece.start) / piece.n_tokens, _MAX_CHARS_PER_TOKEN)
            begin = end if piece.closed else self._repeat_from(text, kind, piece)

    def _piece(self, text: str, kind: Kind, start: int, chars_per_token: float) -> _Piece:
        """Returns the passage that starts at ``start``: as long as the limit allows, up to a strong border."""
        size = max(int(self.max_tokens * chars_per_token), 1)
        while True:
            end, closed = len(text), False
            if start + size < end:
                end, closed = last_border(text, kind, start + size // 3, start + size)
            kept = text[start:end].rstrip()
            n_tokens = max(self._count_tokens(kept), 1)
            if n_tokens <= self.max_tokens:
                return _Piece(start, end, kept, n_tokens, closed)
            if end - start == 1:
                raise ValueError(f"count_tokens gives {n_tokens} for {kept!r}. The limit is {self.max_tokens}.")
            # Nearly always enough at once; a prefix of a word can have more tokens than the word.
            size = min(int(len(kept) * self.max_tokens / n_tokens * 0.95), len(kept) - 1) or 1

    def _repeat_from(self, text: str, kind: Kind, piece: _Piece) -> int:
        """Returns where the next passage begins so that it repeats ``overlap`` to 1.5 times as many tokens."""
        length = piece.end - piece.start
        repeated = length * min(self.overlap / piece.n_tokens, 0.5)
        low, high = piece.end - int(1.5 * repeated), piece.end - int(repeated)
        return last_border(text, kind, low, high)[0] if low < high else piece.end


@dataclass(frozen=True)
class _Piece:
    """A passage by its place in the text; ``closed`` if a heading or a definition follows."""

    start: int
    end: int
    text: str
    n_tokens: int
    closed: bool


def _start_of_line(text: str, begin: int) -> int:
    """Returns the start of the first line with text from ``begin`` on: no blank line, but its indentation."""
    ink = _INK.search(text, begin)
    return max(begin, text.rfind("\n", begin, ink.start()) + 1) if ink else len(text)


def _lines(section: Section, first: int, last: int) -> tuple[int, int]:
    """Returns lines of the document for lines of a section's text, which count from 0."""
    if section.lines is None:
        return section.line + first, section.line + last
    return section.lines[first], section.lines[last]


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
    for strength, pattern in enumerate(_COMPILED.get(kind, _COMPILED["text"])):
        found = 0
        for match in pattern.finditer(text, low, high + _LOOKAHEAD):
            if match.end() > high:
                break
            found = match.end()
        if found > low:
            return found, strength == 0
    return high, False
