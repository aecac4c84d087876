"""Which passages a search may find, said in SQL.

LanceDB takes its conditions as text, so everything that comes from a user is quoted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Filter:
    """What a search is limited to; None and an empty tuple limit nothing.

    Attributes:
        glob: pattern for the whole source: ``*`` is any text, also with ``/`` in it; ``**/`` is any
            folders or none; ``?`` is one character; ``[a-z]`` and ``[!a-z]`` are one of a set. Upper and
            lower case differ.
        kinds: kinds of document, such as ("markdown", "code").
        modified_after, modified_before: Unix seconds, both included.
    """

    glob: str | None = None
    kinds: tuple[str, ...] = ()
    modified_after: float | None = None
    modified_before: float | None = None

    def to_sql(self) -> str:
        """Returns the condition, or "" where nothing is limited."""
        conditions = []
        if self.glob is not None:
            conditions.append(f"regexp_like(source, {literal(glob_to_regex(self.glob))})")
        if self.kinds:
            conditions.append(is_one_of("kind", self.kinds))
        if self.modified_after is not None:
            conditions.append(f"modified >= {float(self.modified_after)!r}")
        if self.modified_before is not None:
            conditions.append(f"modified <= {float(self.modified_before)!r}")
        return " AND ".join(conditions)


def literal(text: str) -> str:
    """Returns a text as SQL writes it; a quote is doubled, nothing else is special."""
    return "'" + text.replace("'", "''") + "'"


def is_one_of(column: str, texts: Iterable[str]) -> str:
    """Returns the condition that a column holds one of ``texts``."""
    return f"{column} IN ({', '.join(map(literal, texts))})"


def glob_to_regex(glob: str) -> str:
    """Returns a regular expression of Rust's regex crate for a whole name; see `Filter.glob`.

    Raises:
        ValueError: a bracket that nothing closes, or a range that runs backwards.
    """
    regex, rest = "", glob
    while rest:
        if rest.startswith("**/"):
            piece, rest = "(?:.*/)?", rest[3:]
        elif rest[0] == "[":
            close = rest.find("]", 3 if rest.startswith("[!") else 2)
            if close < 0:
                raise ValueError(f"The pattern {glob!r} opens a bracket and does not close it. Write [[] for a '['.")
            negated, content = rest[1] == "!", rest[1:close].removeprefix("!")
            escaped = "".join(c if c == "-" else _escaped(c) for c in content)
            piece, rest = f"[{'^' if negated else ''}{escaped}]", rest[close + 1 :]
            try:
                re.compile(piece)
            except re.error:
                raise ValueError(f"The pattern {glob!r} holds a range that runs backwards.") from None
        else:
            piece, rest = {"*": ".*", "?": "."}.get(rest[0], _escaped(rest[0])), rest[1:]
        regex += piece
    return f"^(?s:{regex})$"


def inside(roots: Iterable[str] | None) -> Callable[[str], bool]:
    """Returns what tells whether a source is one of ``roots`` or in a folder among them; None holds everything.

    Raises:
        TypeError: a str, where several are needed.
    """
    if roots is None:
        return lambda source: True
    if isinstance(roots, str):
        raise TypeError(f"The sources are the str {roots!r}; pass a list of str.")
    names = {root.rstrip("/") or root[:1] for root in roots}

    def is_inside(source: str) -> bool:
        if source in names or ("." in names and not source.startswith(("/", "../"))):
            return True
        ends = (end for end, character in enumerate(source) if character == "/")
        return any((source[:end] or "/") in names for end in ends)

    return is_inside


def _escaped(character: str) -> str:
    return "\\" + character if character in r"\.+*?()|[]{}^$#&-~" else character
