"""Which sequences share a decode call, and which tokens they share. Pure.

Two things make a plan good. Sequences that begin alike should stand behind one another, because a
shared beginning is computed once; and one call should hold few tokens, because in a unified cache every
token attends over all cells of the call and masks the others'. A plan depends on the sequences of its
own call alone, never on earlier ones. This file knows token ids and no llama.cpp.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .protocol import TokenIds

MIN_PREFIX = 8
"""Tokens that take as long as the reading of all weights, which every decode call costs beside its tokens."""

# A group beside another costs three calls: one for what it shares, two for a batch of its own.
_SPLIT_CALLS = 3


@dataclass(frozen=True)
class Group:
    """Sequences that begin with the same tokens.

    Attributes:
        levels: where the parts end in which the shared beginning is decoded, ascending; empty where
            nothing is shared. Groups that begin alike begin with the same levels and stand behind one another.
        batches: positions of the sequences, a tuple for each decode call, the longest sequences first.
    """

    levels: tuple[int, ...]
    batches: tuple[tuple[int, ...], ...]

    @property
    def prefix(self) -> int:
        """How many tokens the sequences share."""
        return self.levels[-1] if self.levels else 0

    def parts(self, ids: TokenIds) -> list[TokenIds]:
        """Returns the shared beginning of one of the sequences, cut at the levels."""
        return [ids[start:end] for start, end in pairwise((0, *self.levels))]

    def cells(self, lengths: Sequence[int]) -> int:
        """Returns how many cells of the cache the largest call of this group fills."""
        return max(self.prefix + sum(lengths[i] - self.prefix for i in batch) for batch in self.batches)


@dataclass(frozen=True)
class Limits:
    """What one decode call may hold.

    Attributes:
        tokens: tokens beyond the shared prefix; a single longer sequence gets a call of its own.
        sequences: number of sequences.
    """

    tokens: int
    sequences: int


def plan(
    sequences: Sequence[TokenIds],
    limits: Limits,
    *,
    stems: Sequence[Sequence[int]] | None = None,
    share_prefixes: bool = True,
) -> list[Group]:
    """Returns groups whose batches hold every sequence exactly once.

    Args:
        sequences: non-empty id arrays.
        limits: what one call may hold.
        stems: for each sequence the lengths, ascending, of beginnings that are worth a level of their own
            because later calls are likely to have them too; None means none.
        share_prefixes: whether to look for common prefixes at all.
    """
    lengths = [len(ids) for ids in sequences]
    everything: list[tuple[tuple[int, ...], list[int]]] = [((), list(range(len(sequences))))]
    families = _families(sequences, stems or [()] * len(sequences)) if share_prefixes else everything
    return [
        Group(levels, tuple(_batches(members, lengths, levels[-1] if levels else 0, limits)))
        for levels, members in families
        if members
    ]


def _batches(members: Iterable[int], lengths: Sequence[int], prefix: int, limits: Limits) -> Iterable[tuple[int, ...]]:
    batch: list[int] = []
    room = limits.tokens
    for index in sorted(members, key=lambda i: (-lengths[i], i)):
        needed = lengths[index] - prefix
        if batch and (needed > room or len(batch) == limits.sequences):
            yield tuple(batch)
            batch, room = [], limits.tokens
        batch.append(index)
        room -= needed
    if batch:
        yield tuple(batch)


def _families(sequences: Sequence[TokenIds], stems: Sequence[Sequence[int]]) -> list[tuple[tuple[int, ...], list[int]]]:
    """Returns (levels, members) pairs; a family is followed by those that share more than it does.

    In sorted order, sequences that begin alike are neighbours. The walk goes from all of them down to
    narrower and narrower runs that share more and more, and gives a run a level of its own where that
    saves more tokens than the calls that it costs.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">u4").tobytes())
    # The last token of each sequence is an output and must be its own.
    own = np.array([len(sequences[i]) - 1 for i in order])
    shared = np.array([common_prefix(sequences[i], sequences[j]) for i, j in pairwise(order)], np.intp)
    families: list[tuple[tuple[int, ...], list[int]]] = [((), [])]
    runs = [(0, len(order), *families[0])] if order else []
    while runs:
        start, end, levels, members = runs.pop()
        depth = int(shared[start : end - 1].min(initial=own[start:end].min()))
        found = _levels(depth, levels, stems[order[start]], count=end - start, whole=end - start == len(order))
        if found != levels:
            levels, members = found, []
            families.append((levels, members))
        # A run of two and more that could not be told apart would never end.
        ends = [start, *(start + 1 + np.flatnonzero(shared[start : end - 1] <= depth)).tolist(), end]
        if end - start == 1 or len(ends) == 2:
            members.extend(order[start:end])
        else:
            runs.extend((a, b, levels, members) for a, b in reversed(list(pairwise(ends))))
    return families


def _levels(depth: int, levels: tuple[int, ...], stems: Sequence[int], *, count: int, whole: bool) -> tuple[int, ...]:
    """Returns the levels of ``count`` sequences that share ``depth`` tokens, ``levels`` already among them."""
    for level in (*(stem for stem in stems if stem < depth), depth):
        new = level - (levels[-1] if levels else 0)
        calls = 1 if whole else _SPLIT_CALLS
        kept = whole and level in stems and new >= MIN_PREFIX
        if new > 0 and (kept or new * (count - 1) >= MIN_PREFIX * calls):
            levels = (*levels, level)
    return levels


def unique(items: Sequence[Hashable]) -> tuple[list[int], NDArray[np.intp]]:
    """Returns where each distinct item stands first, and for every item its place in that list."""
    places: dict[Hashable, int] = {}
    firsts: list[int] = []
    inverse = np.empty(len(items), np.intp)
    for index, item in enumerate(items):
        place = places.setdefault(item, len(firsts))
        if place == len(firsts):
            firsts.append(index)
        inverse[index] = place
    return firsts, inverse


def common_prefix(a: TokenIds, b: TokenIds) -> int:
    """Returns how many tokens two sequences share at their start."""
    n = min(len(a), len(b))
    differing = np.flatnonzero(a[:n] != b[:n])
    return int(differing[0]) if len(differing) else n
