"""What can be searched: documents, whatever they were read from, and their sections. This file knows no formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, get_args

Kind = Literal[
    "text", "markdown", "code", "tex", "html", "pdf", "docx", "odt", "pptx", "xlsx", "epub", "ipynb", "mail", "csv",
    "jsonl", "srt",
]  # fmt: skip
"""What a document is. From "html" on, the text that was read out of such a file: "mail" is .eml and .mbox, "csv" also
.tsv, "srt" also .vtt, and what Office saves with macros or as a template is as without."""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of documents."""

Unit = Literal["page", "slide", "sheet", "cell", "chapter", "section", "message"]
"""What a document may be made of."""

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that no name shows: they would move a terminal's cursor or turn the direction of what follows."""
_MAX_LABEL = 80

OnSkip = Callable[[str, str], None]
"""Is told the source and the reason of a document that cannot be read."""


class UnreadableError(ValueError):
    """A file that cannot be read as what it is; the message is the reason."""


@dataclass(frozen=True)
class Section:
    """A stretch of readable text of a document; no passage reaches from one into the next.

    Attributes:
        text: what can be read; lines end in "\\n".
        line: the line where the text starts, from 1: of the file, or of ``place``.
        place: the part of the document that a person opens, see `place_of`; "" where lines say enough.
        lines: the line for each line of the text, where they do not just count up from ``line`` because
            markup stands between them.
    """

    text: str
    line: int = 1
    place: str = ""
    lines: Sequence[int] | None = None


def place_of(unit: Unit, label: object) -> str:
    """Returns the name of a part of a document, such as "page 3" or "sheet Costs 2026".

    Args:
        unit: what it is.
        label: its number from 1, or its title: of a file's making, so it is cut and cleaned of control characters.
    """
    title = " ".join(CONTROLS.sub(" ", scrubbed(str(label))).split())
    return f"{unit} {title if len(title) <= _MAX_LABEL else title[: _MAX_LABEL - 1] + '…'}".rstrip()


@dataclass(frozen=True)
class Document:
    """Something that can be searched. It is read only when needed.

    Attributes:
        source: its name, unique among the documents: for files the path as it was given, with "/" and no "./".
        kind: one of `KINDS`.
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


def scrubbed(text: str) -> str:
    """Returns a text with U+FFFD for each lone surrogate, which JSON and mails can hold and UTF-8 cannot."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def utf8(text: str, source: str) -> bytes:
    """Returns the bytes of a text, which only a lone surrogate has none of."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The text of {source!r} holds the lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}. Decode its bytes with errors='replace' before passing it."
        ) from None
