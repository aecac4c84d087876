"""Vectors beside vectors: the nearest of each, pairs, groups, near duplicates.

Under the names that sentence-transformers gave them, exact, and a block of rows at a time, so that memory beside the
vectors stays bounded whatever their number. Numpy alone; this file knows no models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .vectors import Precision, Vectors, normalize, to_floats

_BLOCK = 1 << 23
"""Cosines that are held at a time: 32 MiB in float32."""
_ROUNDING = 1e-6
"""What rounding can take from a cosine in float32: equal rows are duplicates at a threshold of 1, too."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of a corpus for each query, the best first.

    Attributes:
        corpus_ids: (n, k) int64, numbers of rows of the corpus.
        scores: (n, k) float32, their cosines.
    """

    corpus_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, those of largest cosine first.

    Attributes:
        first, second: (n,) int64, numbers of two rows, first < second.
        scores: (n,) float32, their cosines.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Duplicates:
    """Which rows repeat an earlier one.

    Attributes:
        kept: (n,) int64, for each row the kept row that is nearest to it, or the row itself where it is kept.
        scores: (n,) float32, their cosine; 1 for a row that is kept.
    """

    kept: NDArray[np.int64]
    scores: NDArray[np.float32]


def semantic_search(
    query_embeddings: Any, corpus_embeddings: Any, *, top_k: int = 10, precision: Precision | None = None
) -> Neighbours:
    """Returns the rows of a corpus of largest cosine for each query.

    Args:
        query_embeddings: (n, dim) or (dim,) vectors, in float or as `quantize` returned them.
        corpus_embeddings: (m, dim), likewise.
        top_k: how many for each query; a smaller corpus gives all it has.
        precision: as `similarity`.

    Raises:
        ValueError: widths that differ, NaN or Inf, whole numbers without ``precision``, ``top_k`` below 1.
    """
    queries, corpus = (_unit_rows(side, precision) for side in (query_embeddings, corpus_embeddings))
    if queries.shape[1] != corpus.shape[1]:
        raise ValueError(f"The vectors are {queries.shape[1]} and {corpus.shape[1]} wide; cut both to the same width.")
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; at least 1 is needed.")
    k = min(top_k, len(corpus))
    ids, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    for start, stop in _slices(len(queries), len(corpus)) if k else ():
        cosines = _cosines(queries[start:stop], corpus)
        best = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(cosines, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        ids[start:stop], scores[start:stop] = (np.take_along_axis(side, order, axis=1) for side in (best, values))
    return Neighbours(ids, scores)


def paraphrase_mining(
    embeddings: Any, *, threshold: float = 0.0, max_pairs: int = 500_000, precision: Precision | None = None
) -> Pairs:
    """Returns the pairs of rows that are most alike, of all pairs there are.

    Args:
        embeddings: (n, dim) vectors, in float or as `quantize` returned them.
        threshold: the smallest cosine of a pair, -1..1.
        max_pairs: how many at most; the best ones.
        precision: as `similarity`.

    Raises:
        ValueError: NaN or Inf, whole numbers without ``precision``, a number out of range.
    """
    vectors = _unit_rows(embeddings, precision)
    floor = _lowest(threshold)
    if max_pairs < 1:
        raise ValueError(f"max_pairs is {max_pairs}; at least 1 is needed.")
    found: list[NDArray[Any]] = [np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)]
    for start, stop in _slices(len(vectors), len(vectors)):
        cosines = _cosines(vectors[start:stop], vectors[start:])
        cosines[np.tri(stop - start, dtype=bool).nonzero()] = -np.inf  # a row with itself, and with those before it
        places = np.flatnonzero(cosines >= floor)
        scores = cosines.ravel()[places]
        first, second = np.divmod(places, cosines.shape[1])
        new = _best([first + start, second + start, scores], max_pairs)
        found = [np.concatenate(sides) for sides in zip(found, new, strict=True)]
        if len(found[2]) > 2 * max_pairs:
            found = _best(found, max_pairs)
            floor = max(floor, float(found[2].min()))
    first, second, scores = _best(found, max_pairs)
    order = np.lexsort((second, first, -scores))
    return Pairs(first[order], second[order], scores[order])


def community_detection(
    embeddings: Any, *, threshold: float = 0.75, min_community_size: int = 10, precision: Precision | None = None
) -> list[NDArray[np.int64]]:
    """Returns groups of rows that are alike, the largest first; no row is in two.

    A group is a row, its centre, with all rows of at least ``threshold`` to it that no group before took; rows with
    many such neighbours come first. It need not hold that every two of a group are alike. A row that a group took is
    the centre of no other, as in sentence-transformers 6.2; older ones make such groups, whose first row is another.

    Args:
        embeddings: (n, dim) vectors, in float or as `quantize` returned them.
        threshold: the smallest cosine of a row with the centre of its group, -1..1.
        min_community_size: rows that make a group; those of smaller ones are in none.
        precision: as `similarity`.

    Returns:
        For each group the (size,) int64 numbers of its rows, its centre first, then the nearest to it.

    Raises:
        ValueError: NaN or Inf, whole numbers without ``precision``, a number out of range.
    """
    vectors = _unit_rows(embeddings, precision)
    threshold = _lowest(threshold)
    if min_community_size < 1:
        raise ValueError(f"min_community_size is {min_community_size}; at least 1 is needed.")
    sizes = np.zeros(len(vectors), np.int64)
    for start, stop in _slices(len(vectors), len(vectors)):
        sizes[start:stop] = np.count_nonzero(_cosines(vectors[start:stop], vectors) >= threshold, axis=1)
    centres = np.argsort(-sizes, kind="stable")
    centres = centres[sizes[centres] >= min_community_size]
    is_free = np.ones(len(vectors), bool)
    groups = []
    for start, stop in _slices(len(centres), len(vectors)):
        block = centres[start:stop]
        for centre, row in zip(block, _cosines(vectors[block], vectors), strict=True):
            if not is_free[centre]:
                continue
            row[centre] = np.inf  # before what rounding puts nearer, and what is the same
            members = np.flatnonzero((row >= threshold) & is_free)
            if len(members) >= min_community_size:
                is_free[members] = False
                groups.append(members[np.argsort(-row[members], kind="stable")])
    return sorted(groups, key=len, reverse=True)


def near_duplicates(embeddings: Any, *, threshold: float = 0.95, precision: Precision | None = None) -> Duplicates:
    """Returns which rows repeat an earlier row that is kept; the first of its like is kept.

    Args:
        embeddings: (n, dim) vectors, in float or as `quantize` returned them.
        threshold: the smallest cosine of a row with a kept one that makes it a duplicate, -1..1.
        precision: as `similarity`.

    Raises:
        ValueError: NaN or Inf, whole numbers without ``precision``, a threshold out of range.
    """
    vectors = _unit_rows(embeddings, precision)
    threshold = _lowest(threshold)
    kept, scores = np.arange(len(vectors)), np.ones(len(vectors), np.float32)
    keepers, n_kept = np.empty(len(vectors), np.int64), 0
    for start, stop in _slices(len(vectors), len(vectors)):
        block = vectors[start:stop]
        to_kept, inside = _cosines(block, vectors[:n_kept]), _cosines(block, block)
        inside[np.triu_indices(len(block))] = -np.inf  # a row with itself, and with those behind it
        nearest, best = np.full(len(block), start), np.full(len(block), -np.inf, np.float32)
        if n_kept:
            nearest, best = keepers[to_kept.argmax(axis=1)], to_kept.max(axis=1)
        for i, row in enumerate(inside):
            j = int(row.argmax())
            if row[j] > best[i]:
                nearest[i], best[i] = start + j, row[j]
            if best[i] >= threshold:
                kept[start + i], scores[start + i] = nearest[i], best[i]
                inside[:, i] = -np.inf  # a row that is left out is no reason to leave out another
        survivors = np.flatnonzero(kept[start:stop] == np.arange(start, stop))
        # The kept rows move to the front of this copy, over rows that are done.
        vectors[n_kept : n_kept + len(survivors)] = block[survivors]
        keepers[n_kept : n_kept + len(survivors)] = start + survivors
        n_kept += len(survivors)
    return Duplicates(kept, scores)


def _unit_rows(values: Any, precision: Precision | None) -> Vectors:
    floats = to_floats(values, precision)
    floats = floats if floats.shape[1] else floats[:0]  # an empty list is no row, not an empty one
    if not (finite := np.isfinite(floats).all(axis=1)).all():
        raise ValueError(f"Row {int(np.argmin(finite))} holds NaN or Inf. Leave it out.")
    return normalize(floats)


def _slices(n_left: int, n_right: int) -> Iterator[tuple[int, int]]:
    """Yields start and stop of rows, so many at a time that their cosines with all of ``n_right`` fit into a block."""
    size = max(1, _BLOCK // max(1, n_right))
    return ((start, min(start + size, n_left)) for start in range(0, n_left, size))


def _cosines(left: Vectors, right: Vectors) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = left @ right.T
    np.clip(cosines, -1, 1, out=cosines)
    return cosines


def _best(pairs: list[NDArray[Any]], limit: int) -> list[NDArray[Any]]:
    """Returns the pairs of largest score, in any order."""
    if len(pairs[2]) <= limit:
        return pairs
    best = np.argpartition(-pairs[2], limit - 1)[:limit]
    return [side[best] for side in pairs]


def _lowest(threshold: float) -> float:
    """Returns the smallest cosine that counts as one of ``threshold``."""
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; a cosine is -1 to 1.")
    return threshold - _ROUNDING
