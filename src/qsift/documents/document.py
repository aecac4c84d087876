"""What can be searched: documents, whatever they were read from, and their sections. This file knows no formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, get_args

Kind = Literal["text", "markdown", "code", "html", "pdf"]
"""What a document is; "html" and "pdf" for the text that was read out of such a file."""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of documents."""

OnSkip = Callable[[str, str], None]
"""Is told the source and the reason of a document that cannot be read."""


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
        stamp = sha256(utf8(text, source)).hexdigest()
        return cls(source, kind, stamp, modified, lambda: (Section(text),))


def utf8(text: str, source: str) -> bytes:
    """Returns the bytes of a text, which only a lone surrogate has none of."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The text of {source!r} holds the lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}. Decode its bytes with errors='replace' before passing it."
        ) from None
