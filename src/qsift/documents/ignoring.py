"""Which entries of a folder are left out: what ignore files say, and what nobody wants to find.

The files are read as ripgrep reads them. A .gitignore counts as far as its repository reaches, and as far as the walk
where there is none. What a "!" line names is taken though it is hidden, and though it is on the lists below if the
line stands in a .ignore or .qsiftignore: in a .gitignore it speaks of git.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from .document import OnSkip
from .gitignore import Pattern, parse, verdict

IGNORE_FILES = (".qsiftignore", ".ignore", ".gitignore")
"""The files that are read, the strongest first; the weakest is a repository's .git/info/exclude."""

Level = tuple[tuple[int, tuple[Pattern, ...]], ...]
"""Files of one name, the nearest first: the length of the folder's path and a "/", and the patterns."""

Verdict = Literal["ignored", "kept", "wanted"]
"""A line names it; a "!" line of git takes it back; a "!" line for searching asks for it."""

_GIT = ".git"
_ABOVE_GIT = 2  # how many of them have nothing to do with repositories
_MAX_BYTES = 1 << 20
_FOLDERS = {"node_modules", "__pycache__", _GIT, ".hg", ".jj", ".svn"}
_GENERATED = {
    "It is a lock file of a package manager.": "*.lock package-lock.json npm-shrinkwrap.json pnpm-lock.yaml go.sum "
    "conda-lock.yml gradle.lockfile packages.lock.json Package.resolved .terraform.lock.hcl",
    "It is a source map.": "*.js.map *.[cm]js.map *.ts.map *.css.map",
    "It is minified.": "*[.-]min.js *[.-]min.[cm]js *[.-]min.css *[.-]min.html",
    "It is generated from a .proto file.": "*_pb2.py *_pb2.pyi *_pb2_grpc.py *.pb.go *.pb.cc *.pb.h",
}
_GENERATED_NAMES = {
    reason: re.compile("|".join(pattern.regex.pattern for pattern in parse(globs.replace(" ", "\n"))), re.DOTALL)
    for reason, globs in _GENERATED.items()
}
_HOW_TO_TAKE_IT = "To have it, name it in a .qsiftignore with a '!' before it, or give its path."


def is_marked(names: Collection[str], *, ignore: bool) -> bool:
    """Returns whether the names in a folder tell that it is an index or, where that counts, a virtual environment."""
    return "passages.lance" in names or (ignore and "pyvenv.cfg" in names)


def is_wanted_by_nobody(folder: str) -> bool:
    """Returns whether a folder that is called so is one of those that programs fill: node_modules and the like."""
    return folder in _FOLDERS


def why_generated(name: str) -> str | None:
    """Returns why a file that is called so is not worth searching, if it is not."""
    reason = next((reason for reason, names in _GENERATED_NAMES.items() if names.fullmatch(name)), None)
    return reason and f"{reason} {_HOW_TO_TAKE_IT}"


@dataclass(frozen=True)
class IgnoreRules:
    """What ignore files say of the entries of a folder: its own, and those of the folders above.

    Attributes:
        levels: a `Level` for each of `IGNORE_FILES`, and one for info/exclude.
        in_repository: whether the folder is in one.
    """

    levels: tuple[Level, ...] = ((),) * (len(IGNORE_FILES) + 1)
    in_repository: bool = False

    @classmethod
    def above(cls, folder: str, on_skip: OnSkip) -> IgnoreRules:
        """Returns what the folders above one say; ``folder`` as in `inside`."""
        rules = cls()
        for end in (place for place, character in enumerate(folder) if character == "/"):
            above = folder[:end]
            names = [name for name in (*IGNORE_FILES, _GIT) if os.path.lexists(f"{above}/{name}")]
            rules = rules.inside(above, names, on_skip)
        return rules if rules.in_repository else replace(rules, levels=_without_git(rules.levels))

    def inside(self, folder: str, names: Collection[str], on_skip: OnSkip) -> IgnoreRules:
        """Returns the rules of a folder below.

        Args:
            folder: its absolute path with "/", without one at the end.
            names: what is in it.
            on_skip: is told of an ignore file that cannot be read.
        """
        levels, is_repository = self.levels, _GIT in names
        if is_repository:
            levels = _without_git(levels)
        paths = [f"{folder}/{name}" if name in names else None for name in IGNORE_FILES]
        paths.append(_exclude_of(f"{folder}/{_GIT}") if is_repository else None)
        if any(paths):
            own = (_patterns(path, on_skip) if path else () for path in paths)
            levels = tuple(
                ((len(folder) + 1, patterns), *above) if patterns else above
                for patterns, above in zip(own, levels, strict=True)
            )
        return IgnoreRules(levels, self.in_repository or is_repository)

    def verdict(self, path: str, *, is_folder: bool) -> Verdict | None:
        """Returns what is said of a path, absolute and with "/", in the folder; None where nothing is."""
        for strength, level in enumerate(self.levels):
            for start, patterns in level:
                ignored = verdict(patterns, path[start:], is_folder=is_folder)
                if ignored is not None:
                    return "ignored" if ignored else "wanted" if strength < _ABOVE_GIT else "kept"
        return None


def _without_git(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    return levels[:_ABOVE_GIT] + ((),) * (len(levels) - _ABOVE_GIT)


def _exclude_of(git: str) -> str | None:
    """Returns the exclude file of a repository, which lies elsewhere where .git is a file: worktrees, submodules."""
    try:
        if os.path.isfile(git):
            folder = os.path.dirname(git)
            git = os.path.join(folder, _first_line(git).removeprefix("gitdir:").strip())
            if os.path.isfile(common := os.path.join(git, "commondir")):
                git = os.path.join(git, _first_line(common))
    except OSError:
        return None
    exclude = os.path.join(git, "info", "exclude")
    return exclude if os.path.isfile(exclude) else None


def _first_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.readline(4096).rstrip("\n")


def _patterns(path: str, on_skip: OnSkip) -> tuple[Pattern, ...]:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return ()
        if status.st_size > _MAX_BYTES:
            on_skip(path, f"It has {status.st_size} bytes and is not heeded. An ignore file may have {_MAX_BYTES}.")
            return ()
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return parse(file.read(_MAX_BYTES))
    except OSError as error:
        on_skip(path, f"It cannot be read and is not heeded: {error.strerror or error}.")
        return ()
