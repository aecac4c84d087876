"""A retrieval set that is on every machine: the first sentence of a docstring asks for the rest of it.

The docstrings are those of Python's library and of numpy, read from their source and not imported. They are English,
about software, and different in another version of either.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_LEFT_OUT = {"site-packages", "test", "tests", "idlelib"}
_WORDS = range(4, 41)
_REST = range(150, 1 << 20)
_CUT = 800


def questions_and_answers(count: int) -> list[tuple[str, str]]:
    """Returns pairs of a first sentence and what follows it, in an order that looks random and is always the same."""
    found: dict[str, str] = {}
    for docstring in _docstrings():
        first, _, rest = docstring.partition("\n\n")
        question, answer = " ".join(first.split()), rest.strip()
        if len(question.split()) in _WORDS and len(answer) in _REST:
            found.setdefault(question, answer[:_CUT])
    return sorted(found.items(), key=lambda pair: hashlib.sha256(pair[0].encode()).digest())[:count]


def _docstrings() -> Iterator[str]:
    for root in (Path(sysconfig.get_path("stdlib")), Path(np.__file__).parent):
        for path in sorted(root.rglob("*.py")):
            if _LEFT_OUT.isdisjoint(path.relative_to(root).parts):
                yield from _docstrings_of(path)


def _docstrings_of(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # files that are there to test just that
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield ast.get_docstring(node) or ""
