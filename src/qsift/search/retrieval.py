"""The first stage of a search: the best candidates by vector, by words, or by both."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .filter import Filter
from .ranking import Candidate, Scan, fuse
from qsift.text import Vectors, check_dim, normalize

if TYPE_CHECKING:
    from .table import Found, IndexTable

Mode = Literal["hybrid", "vector", "text"]
MODES: tuple[Mode, ...] = get_args(Mode)

_COARSE_SHARE = 4
"""Rows that a coarse pass hands on for each one that is wanted."""
_FUSED = 50
"""Depth of the rankings that are fused, at least: a passage can be good in one and only fair in the other."""


class FirstStage:
    """Finds candidates in a table."""

    def __init__(self, table: IndexTable, width: int, exact_rows: int) -> None:
        """Takes the table, the width of its vectors, and how many rows are looked at one by one at most."""
        self._table = table
        self._width = width
        self._exact_rows = exact_rows
        self._scan: Scan | None = None
        self._scan_key = (0, 0)
        self._lock = Lock()

    def search(
        self,
        query_vector: Any,
        query_text: str,
        *,
        candidates: int,
        mode: Mode,
        where: Filter,
        coarse_dim: int | None,
    ) -> list[Candidate]:
        """Returns candidates, the best first; arguments and errors as `SearchIndex.search`."""
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; allowed are {', '.join(MODES)}.")
        if candidates < 1:
            raise ValueError(f"candidates is {candidates}; at least 1 is needed.")
        if isinstance(coarse_dim, int) and not 1 <= coarse_dim <= self._width:
            raise ValueError(f"coarse_dim is {coarse_dim}; 1 to {self._width} are possible, the width of this index.")
        dim = check_dim(coarse_dim, width=self._width, min_dim=1)
        query, condition = self._query(query_vector), where.to_sql()
        # One search sees one version of the table: ids of rows belong to a version.
        with self._lock:
            version = self._table.refresh()
            depth = max(candidates, _FUSED) if mode == "hybrid" else candidates
            with ThreadPoolExecutor(1) as beside:  # LanceDB answers both questions at once
                words = beside.submit(self._table.matching, query_text, depth, condition) if mode != "vector" else None
                by_vector = self._by_vector(query, depth, condition, dim, version) if mode != "text" else []
                by_text = words.result() if words else []
        return _ranked(query, by_vector, by_text)[:candidates]

    def forget(self) -> None:
        """Frees the vectors that are kept in memory."""
        with self._lock:
            self._scan = None

    def _query(self, query_vector: Any) -> Vectors:
        query = np.asarray(query_vector, np.float32)
        if query.ndim != 1 or len(query) < self._width:
            raise ValueError(f"The query's vector has the shape {query.shape}; ({self._width},) is needed.")
        query = query[: self._width]
        if not np.isfinite(query).all() or not query.any():
            raise ValueError("The query's vector holds NaN or Inf, or only zeros; pass what encode_query returned.")
        unit: Vectors = normalize(query[None])[0]
        return unit

    def _by_vector(self, query: Vectors, limit: int, where: str, dim: int, version: int) -> list[Found]:
        if self._table.is_float and dim == self._width:
            exact = not self._table.is_approximate or self._table.matches_at_most(self._exact_rows, where)
            return self._table.nearest(query, limit, where, exact=exact)
        if self._scan is None or self._scan_key != (version, dim):
            self._scan = None  # the old one goes before the new one comes
            self._scan, self._scan_key = Scan(self._table.vectors(), dim), (version, dim)
        among = self._table.ids(where) if where else None
        wanted = limit if dim == self._width else _COARSE_SHARE * limit
        found = self._table.take(self._scan.nearest(query, wanted, among))
        return sorted(found, key=lambda item: -_cosine(query, item.vector))[:limit]


def _cosine(query: Vectors, vector: Vectors) -> float:
    length = float(np.linalg.norm(vector))
    return min(1.0, max(-1.0, float(vector @ query) / length)) if length else 0.0


def _ranked(query: Vectors, by_vector: list[Found], by_text: list[Found]) -> list[Candidate]:
    found = {item.id: item for item in (*by_vector, *by_text)}
    vector_ranks, text_ranks = (
        {item.id: rank for rank, item in enumerate(ranking, 1)} for ranking in (by_vector, by_text)
    )
    return [
        Candidate(
            passage=found[item].passage,
            similarity=_cosine(query, found[item].vector),
            rank=rank,
            vector_rank=vector_ranks.get(item),
            text_rank=text_ranks.get(item),
        )
        for rank, item in enumerate(fuse([list(vector_ranks), list(text_ranks)]), 1)
    ]
