"""Which sequences share a decode call, and which tokens they share. Pure.

Two things make a plan good. Sequences of one call should begin alike, because a shared prefix is
computed once; and one call should hold few tokens, because in a unified cache every token attends
over all cells of the call and masks the others'. This file knows token ids and no llama.cpp.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tokenization import TokenIds

MIN_PREFIX = 8
"""A shorter common prefix is not worth a decode call of its own."""


@dataclass(frozen=True)
class Group:
    """Sequences that begin with the same tokens.

    Attributes:
        prefix: how many tokens they share; 0 where nothing is shared.
        batches: positions of the sequences, a tuple for each decode call, the longest sequences first.
    """

    prefix: int
    batches: tuple[tuple[int, ...], ...]

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


def plan(sequences: Sequence[TokenIds], limits: Limits, *, share_prefixes: bool = True) -> list[Group]:
    """Returns groups whose batches hold every sequence exactly once.

    Args:
        sequences: non-empty id arrays.
        limits: what one call may hold.
        share_prefixes: whether to look for common prefixes.
    """
    lengths = [len(ids) for ids in sequences]
    everything = list(range(len(sequences)))
    families = _families(sequences) if share_prefixes else [(0, everything)] if everything else []
    return [Group(prefix, tuple(_batches(members, lengths, prefix, limits))) for prefix, members in families]


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


def _families(sequences: Sequence[TokenIds]) -> list[tuple[int, list[int]]]:
    """Returns (shared prefix, members) pairs.

    In sorted order, sequences that begin alike are neighbours. The sweep extends the current family
    as long as the tokens saved in it do not fall: joining a sequence that shares less shortens the
    prefix for all.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">u4").tobytes())
    families: list[tuple[int, list[int]]] = []
    prefix, members = 0, list[int]()
    for index in order:
        # The last token of each sequence is an output and must be its own.
        own = len(sequences[index]) - 1
        if not members:
            prefix, members = own, [index]
            continue
        shared = min(prefix, own, common_prefix(sequences[members[-1]], sequences[index]))
        if shared * len(members) >= prefix * (len(members) - 1) and (shared >= MIN_PREFIX or prefix < MIN_PREFIX):
            prefix = shared
            members.append(index)
        else:
            families.append((prefix, members))
            prefix, members = own, [index]
    if members:
        families.append((prefix, members))
    return _without_vain_prefixes(families)


def _without_vain_prefixes(families: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    """Returns the families with those that share nothing worthwhile merged into one."""
    loners = [i for prefix, members in families if prefix < MIN_PREFIX or len(members) == 1 for i in members]
    kept = [(prefix, members) for prefix, members in families if prefix >= MIN_PREFIX and len(members) > 1]
    return [*kept, (0, loners)] if loners else kept


def common_prefix(a: TokenIds, b: TokenIds) -> int:
    """Returns how many tokens two sequences share at their start."""
    n = min(len(a), len(b))
    differing = np.flatnonzero(a[:n] != b[:n])
    return int(differing[0]) if len(differing) else n


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
