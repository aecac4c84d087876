"""The pairs of texts that step 1 wrote, as columns in memory."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

FIELDS = ("kind", "query", "document", "query_language", "document_language", "key")
PORTABLE = "pairs.jsonl.xz"


@dataclass(frozen=True)
class Pairs:
    """All pairs, a list for each field and a flag for those that no model may be trained on.

    Attributes:
        kind, query, document, query_language, document_language, key: as in `sources.Pair`.
        held_out: bool (n,).
    """

    kind: list[str]
    query: list[str]
    document: list[str]
    query_language: list[str]
    document_language: list[str]
    key: list[str]
    held_out: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Pairs:
        """Returns the pairs of ``folder``/pairs.jsonl, or of the fewer that `portable` wrote."""
        path = folder / "pairs.jsonl"
        columns: dict[str, list[str]] = {name: [] for name in FIELDS}
        held_out = []
        with path.open("rb") if path.exists() else lzma.open(folder / PORTABLE) as lines:
            for line in lines:
                pair = json.loads(line)
                for name, column in columns.items():
                    column.append(pair[name])
                held_out.append(pair["held_out"])
        return cls(**columns, held_out=np.array(held_out))

    @cached_property
    def training(self) -> np.ndarray:
        """Rows that may be trained on."""
        return np.flatnonzero(~self.held_out)

    @cached_property
    def _groups(self) -> dict[tuple[str, str, str, bool], np.ndarray]:
        groups: dict[tuple[str, str, str, bool], list[int]] = {}
        columns = (self.kind, self.query_language, self.document_language, self.held_out.tolist())
        for row, group in enumerate(zip(*columns, strict=True)):
            groups.setdefault(group, []).append(row)
        return {group: np.array(rows, np.int64) for group, rows in groups.items()}

    def rows(self, kind: str, languages: tuple[str, str], *, held_out: bool = False) -> np.ndarray:
        """Returns the rows of a kind in two languages, for training or for the evaluation."""
        return self._groups.get((kind, *languages, held_out), np.empty(0, np.int64))

    def sides(self, row: int) -> list[tuple[str, str]]:
        """Returns (text, language) of the query and of the document."""
        return [(self.query[row], self.query_language[row]), (self.document[row], self.document_language[row])]


def distinct(pairs: Pairs, rows: np.ndarray, key: Callable[[str], str] = str.lower) -> np.ndarray:
    """Returns the rows without those whose query or document stood in an earlier row."""
    seen: set[str] = set()
    kept = []
    for row in rows:
        texts = {key(pairs.query[row]), key(pairs.document[row])}
        if not texts & seen:
            seen |= texts
            kept.append(row)
    return np.array(kept, np.int64)


def digest(texts: Sequence[str]) -> str:
    """Returns a name for what is computed from texts: other texts, another name."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
