"""The lines of a .gitignore to what they say of a path, as git reads them. This file opens no files.

pathspec 1.1.1, the library for this, answers otherwise than git for a folder below one that "!" takes back, for
``[[:digit:]]`` and ``[a\\]b]``, fails on ``[z-a]``, and looks for minutes where a pattern holds seven stars. Here a
star takes the shortest stretch that fits and never gives it back, so the time is that of the pattern times the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

# "**" is special between slashes and at the ends alone; elsewhere it is one star. Git compares what comes before the
# first of these characters on its own, so the beginning is behind that: "a**/b" takes in "ab" and "a/c/b".
_LITERAL = re.compile(r"[^*?\[\\]*")
_TOKEN = re.compile(
    r"(?P<folders>(?:(?<=/)|\A)\*\*+(?P<quoted>\\?)/)|(?P<all>(?:(?<=/)|\A)\*\*+\Z)|(?P<star>\*+)"
    r"|(?P<one>\?)|(?P<set>\[)|\\(?P<quote>.)|(?P<plain>[^\\*?\[]+)",
    re.DOTALL,
)
_CLASS = re.compile(r"\[:([^\]]*):\]")
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t-\\r ",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


@dataclass(frozen=True)
class Pattern:
    """A line of a .gitignore.

    Attributes:
        regex: what it matches, as a whole.
        ignores: False where the line starts with "!".
        folders_only: whether it ends with "/".
        by_name: whether it holds no other "/", so that it means the last part of a path.
    """

    regex: re.Pattern[str]
    ignores: bool
    folders_only: bool
    by_name: bool


def parse(text: str) -> tuple[Pattern, ...]:
    """Returns the patterns of a file's text, the last line first; a line that can match nothing has none."""
    patterns = (_pattern(line.removesuffix("\r")) for line in reversed(text.split("\n")))
    return tuple(pattern for pattern in patterns if pattern)


def verdict(patterns: tuple[Pattern, ...], path: str, *, is_folder: bool) -> bool | None:
    """Returns whether the patterns ignore a path: the last line that matches decides; None where none does.

    Args:
        patterns: from `parse`.
        path: with "/", from the folder of the file on. What is said of folders above it does not count here: git
            does not look into a folder that is ignored, and neither does the caller.
        is_folder: whether it leads to one.
    """
    name = path.rpartition("/")[2]
    for pattern in patterns:
        if (is_folder or not pattern.folders_only) and pattern.regex.fullmatch(name if pattern.by_name else path):
            return pattern.ignores
    return None


@lru_cache(4096)  # the same lines stand in many repositories
def _pattern(line: str) -> Pattern | None:
    glob = line.rstrip(" ")
    if len(glob) < len(line) and (len(glob) - len(glob.rstrip("\\"))) % 2:
        glob += " "
    if glob.startswith("#"):
        return None
    ignores = not glob.startswith("!")
    glob = glob.removeprefix("!")
    folders_only = glob.endswith("/")
    glob = glob.removesuffix("/")
    by_name = "/" not in glob
    glob = glob.removeprefix("/")
    literal = "" if by_name else _LITERAL.match(glob)[0]  # type: ignore[index]
    regex = _regex(glob[len(literal) :])
    if regex is None or not literal + regex:
        return None
    return Pattern(re.compile(re.escape(literal) + regex, re.DOTALL), ignores, folders_only, by_name)


def _regex(glob: str) -> str | None:
    """Returns the regular expression of a pattern; None where it can match nothing."""
    names = (f"g{number}" for number in range(len(glob)))
    regex, start, stretch, place = "", "", [""], 0
    while place < len(glob):
        token = _TOKEN.match(glob, place)
        if token is None:  # a backslash that quotes nothing
            return None
        place = token.end()
        if token["folders"]:
            if start or stretch != [""]:
                regex += _once(start + _stretch(stretch, names), names)
            start, stretch = "(?:[^/]*/)" + ("+?" if token["quoted"] else "*?"), [""]
        elif token["star"]:
            stretch.append("")
        elif token["set"]:
            found = _set(glob, place)
            if found is None:
                return None
            piece, place = found
            stretch[-1] += piece
        else:
            stretch[-1] += ".*" if token["all"] else "[^/]" if token["one"] else re.escape(token["quote"] or token[0])
    return regex + start + _stretch(stretch, names)


def _stretch(pieces: list[str], names: Iterator[str]) -> str:
    """Returns pieces of fixed length with a star between each two."""
    first, *others = pieces
    if not others:
        return first
    *between, last = others
    return first + "".join(_once(f"[^/]*?{piece}", names) for piece in between) + "[^/]*" + last


def _once(regex: str, names: Iterator[str]) -> str:
    """Returns an atomic group, which Python's re has of its own from 3.11 on."""
    name = next(names)
    return f"(?=(?P<{name}>{regex}))(?P={name})"


def _set(glob: str, place: int) -> tuple[str, int] | None:
    """Returns the expression of the set whose "[" ends at ``place``, and where it ends; None if nothing closes it."""
    negated = glob[place : place + 1] in ("!", "^")
    place += negated
    items, before, first = "", "", True
    while first or glob[place : place + 1] != "]":
        first = False
        if named := _CLASS.match(glob, place):
            if named[1] not in _CLASSES:
                return None
            items += _CLASSES[named[1]]
            before, place = "", named.end()
            continue
        is_range = bool(before) and glob[place : place + 1] == "-" and glob[place + 1 : place + 2] not in ("", "]")
        place += is_range
        place += glob[place : place + 1] == "\\"
        character = glob[place : place + 1]
        if not character:
            return None
        if not is_range:
            items += re.escape(character)
        elif before <= character:
            items += f"{re.escape(before)}-{re.escape(character)}"
        before = "" if is_range else character
        place += 1
    if negated:
        return f"[^/{items}]", place + 1
    return (f"(?!/)[{items}]" if items else "(?!)"), place + 1
