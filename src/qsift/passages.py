"""Documents and the passages that are embedded and found.

A passage is the unit of the search: at most so many tokens by the model's own count, cut at natural
borders, with the lines where it stands in its document. This file knows no files and no formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from .borders import KINDS, Kind, last_border

MIN_PASSAGE_TOKENS = 16
"""The smallest limit of a passage: one character can be 12 tokens, and the end token is one more."""

# A text with fewer characters a token is counted whole before it is cut. English has 4.5, code up to 8.
_MAX_CHARS_PER_TOKEN = 16
_INK = re.compile(r"\S")


@dataclass(frozen=True)
class Section:
    """A stretch of readable text of a document; no passage reaches from one into the next.

    Attributes:
        text: what can be read; lines end in "\\n".
        line: the line of the document where the text starts, from 1.
        page: the page of a PDF, from 1, else None.
        lines: the document's line for each line of the text, where they do not just count up from
            ``line`` because markup stands between them.
    """

    text: str
    line: int = 1
    page: int | None = None
    lines: Sequence[int] | None = None


@dataclass(frozen=True)
class Document:
    """Something that can be searched. It is read only when needed.

    Attributes:
        source: its name, unique among the documents: for files the path as it was given, with "/" and no "./".
        kind: "text", "markdown", "code", "html" or "pdf".
        stamp: changes when the document changes: for files size and time, for texts a hash.
        modified: when it was last changed, in unix seconds; 0.0 where that is unknown.
        read: gives its sections; may raise DocumentError, also between two of them.
    """

    source: str
    kind: Kind
    stamp: str
    modified: float
    read: Callable[[], Iterable[Section]]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"The kind of {self.source!r} is {self.kind!r}; it must be one of {', '.join(KINDS)}.")

    @classmethod
    def of_text(cls, text: str, source: str, *, kind: Kind = "text", modified: float = 0.0) -> Document:
        """Returns the document of a text that is at hand.

        Args:
            text: what can be read; the tags of HTML would be searched as they stand.
            source: its unique name.
            kind: how it is cut; see `Document`.
            modified: when it was last changed, in unix seconds.

        Raises:
            ValueError: an unknown kind, or a lone surrogate in the text.
        """
        stamp = sha256(_utf8(text, source)).hexdigest()
        return cls(source, kind, stamp, modified, lambda: (Section(text),))


@dataclass(frozen=True)
class Passage:
    """A piece of a document.

    Attributes:
        text: what is embedded; no blank lines at its ends.
        source, kind, modified: those of the document.
        line, end_line: its first and last line in the document, from 1.
        page: the page of a PDF, from 1, else None.
    """

    text: str
    source: str
    kind: Kind
    line: int
    end_line: int
    page: int | None
    modified: float


OnSkip = Callable[[str, str], None]
"""Is told the source and the reason of a document that cannot be read."""

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
        for section in document.read():
            _utf8(section.text, document.source)
            # Lines are counted as far as the last passage began, so each is counted once.
            begin, line = 0, 0
            for start, text in self._pieces(section.text, document.kind):
                line += section.text.count("\n", begin, start)
                begin = start
                first, last = _lines(section, line, line + text.count("\n"))
                yield Passage(text, document.source, document.kind, first, last, section.page, document.modified)

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


def _utf8(text: str, source: str) -> bytes:
    """Returns the bytes of a text, which only a lone surrogate has none of."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The text of {source!r} holds the lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}. Decode its bytes with errors='replace' before passing it."
        ) from None


def _start_of_line(text: str, begin: int) -> int:
    """Returns the start of the first line with text from ``begin`` on: no blank line, but its indentation."""
    ink = _INK.search(text, begin)
    return max(begin, text.rfind("\n", begin, ink.start()) + 1) if ink else len(text)


def _lines(section: Section, first: int, last: int) -> tuple[int, int]:
    """Returns lines of the document for lines of a section's text, which count from 0."""
    if section.lines is None:
        return section.line + first, section.line + last
    return section.lines[first], section.lines[last]
