"""The search's arithmetic: one ranking out of two, twice, and a scan of vectors that lie in memory.

Numpy alone; this file knows no LanceDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qsift.documents import Passage
from qsift.text import Vectors

RRF_K = 5
"""Constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).

Their 60 is for many rankings of a thousand each. Of two short ones it makes a vote in which two middling places
beat a first one, and the fusion falls below its better part: see benchmarks/README.md, search_quality.py.
"""

Order = Literal["both", "score"]
"""What hits of two stages are sorted by: both stages' evidence, or P(yes) alone."""
ORDERS: tuple[Order, ...] = get_args(Order)

_CERTAIN = 1e-9
"""P(no) of a score that float32 rounds to 1."""
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Candidate:
    """A passage that the first stage found.

    Attributes:
        passage: what was found, and where it stands.
        similarity: cosine of its vector with the query's, -1..1, also where the text found it.
        rank: its place among the candidates, from 1.
        vector_rank, text_rank: its places in the two rankings, from 1; None where one did not find it.
    """

    passage: Passage
    similarity: float
    rank: int
    vector_rank: int | None
    text_rank: int | None


def fuse(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Returns the ids of all rankings, the best first: by the sum of 1 / (k + rank), the earlier ranking at ties."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (RRF_K + rank)
    return sorted(scores, key=lambda item: -scores[item])


def odds(score: float, rank: int) -> float:
    """Returns the odds that a passage is the answer, by Bayes' rule, up to a factor that all passages share.

    Args:
        score: P(yes) of the reranker, which knows the passage and not its rivals.
        rank: its place after the first stage, from 1; the odds of an answer there fall about as 1 / (1 + rank).
    """
    return score / ((1 - score + _CERTAIN) * (1 + rank))


class Scan:
    """Vectors in memory, in float32 or int8, of the full width or cut; every one is looked at."""

    def __init__(self, parts: Iterable[tuple[NDArray[np.uint64], NDArray[Any]]], dim: int) -> None:
        """Takes (n,) ids and (n, width) rows, a part at a time, and keeps the first ``dim`` entries of each row."""
        ids, rows = [np.empty(0, np.uint64)], []
        for part_ids, part_rows in parts:
            ids.append(part_ids)
            rows.append(np.ascontiguousarray(part_rows[:, :dim]))
        self._ids = np.concatenate(ids)
        self._rows: NDArray[Any] = np.concatenate(rows) if rows else np.empty((0, dim), np.float32)

    def nearest(self, query: Vectors, limit: int, among: NDArray[np.uint64] | None = None) -> list[int]:
        """Returns the ids of the rows of largest cosine, the best first.

        Args:
            query: (width,) float32; cut to the rows' width here.
            limit: how many at most.
            among: the only ids that may be found; None allows all.
        """
        cosines = np.empty(len(self._ids), np.float32)
        for start in range(0, len(cosines), _BLOCK):
            block = self._rows[start : start + _BLOCK].astype(np.float32, copy=False)
            lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
            products = block @ query[: self._rows.shape[1]]
            cosines[start : start + _BLOCK] = products / np.where(lengths > 0, lengths, 1)
        if among is not None:
            cosines[~np.isin(self._ids, among)] = -np.inf
            limit = min(limit, len(among))
        limit = min(limit, len(cosines))
        best = np.argpartition(-cosines, limit - 1)[:limit] if limit else np.empty(0, np.intp)
        return [int(i) for i in self._ids[best[np.argsort(-cosines[best], kind="stable")]]]
