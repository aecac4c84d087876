"""Plans are partitions within their limits, whatever comes in."""

from __future__ import annotations

from itertools import takewhile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qsift.engine.batching import MIN_PREFIX, Limits, plan, unique

IDS = st.lists(st.integers(0, 3), min_size=1, max_size=40)
SEQUENCES = st.lists(IDS, max_size=30).map(lambda lists: [np.array(ids, np.int32) for ids in lists])
LIMITS = st.builds(Limits, tokens=st.integers(1, 60), sequences=st.integers(1, 8))


def stems_of(sequences: list[np.ndarray], share: float) -> list[tuple[int, ...]]:
    """Returns for each sequence two beginnings that may or may not be worth anything."""
    return [(int(len(ids) * share / 2), int(len(ids) * share)) for ids in sequences]


@given(SEQUENCES, LIMITS, st.booleans(), st.none() | st.floats(0, 1))
def test_a_plan_holds_every_sequence_once_within_the_limits(
    sequences: list[np.ndarray], limits: Limits, share: bool, stems: float | None
) -> None:
    marks = None if stems is None else stems_of(sequences, stems)
    groups = plan(sequences, limits, stems=marks, share_prefixes=share)
    members = [i for group in groups for batch in group.batches for i in batch]
    assert sorted(members) == list(range(len(sequences)))
    for group in groups:
        assert share or not group.levels
        assert list(group.levels) == sorted(set(group.levels)) and 0 not in group.levels
        parts = group.parts(sequences[group.batches[0][0]])
        assert [sum(map(len, parts[: i + 1])) for i in range(len(parts))] == list(group.levels)
        for batch in group.batches:
            own = [len(sequences[i]) - group.prefix for i in batch]
            assert min(own) >= 1, "every sequence keeps its last token to itself"
            assert len(batch) <= limits.sequences
            assert sum(own) <= limits.tokens or len(batch) == 1
            for i in batch:
                assert all(np.array_equal(*pair) for pair in zip(group.parts(sequences[i]), parts, strict=True))


@given(SEQUENCES, LIMITS)
def test_sharing_never_costs_more_than_it_saves(sequences: list[np.ndarray], limits: Limits) -> None:
    held: list[np.ndarray] = []
    tokens = calls = 0
    for group in plan(sequences, limits):
        parts = group.parts(sequences[group.batches[0][0]])
        same = sum(1 for _ in takewhile(lambda pair: np.array_equal(*pair), zip(held, parts, strict=False)))
        tokens += sum(map(len, parts[same:])) + sum(len(sequences[i]) - group.prefix for b in group.batches for i in b)
        calls += len(parts) - same + 2 * len(group.batches)
        held = parts
    alone = plan(sequences, limits, share_prefixes=False)
    without = sum(map(len, sequences)) + MIN_PREFIX * 2 * sum(len(group.batches) for group in alone)
    assert tokens + MIN_PREFIX * calls <= without


@given(st.integers(MIN_PREFIX, 30), st.integers(2, 9))
def test_texts_of_one_instruction_share_it(prefix: int, count: int) -> None:
    sequences = [np.array([7] * prefix + [100 + i, 5], np.int32) for i in range(count)]
    groups = plan(sequences, Limits(50, 8))
    assert [group.levels for group in groups] == [(prefix,)]


def test_a_lone_text_stands_on_its_stems_if_they_are_worth_a_call() -> None:
    ids = np.arange(40, dtype=np.int32)
    assert [group.levels for group in plan([ids], Limits(50, 8), stems=[(20, 33)])] == [(20, 33)]
    assert [group.levels for group in plan([ids], Limits(50, 8), stems=[(20, 22)])] == [(20,)]
    assert [group.levels for group in plan([ids], Limits(50, 8), stems=[(3,)])] == [()]
    assert [group.levels for group in plan([ids], Limits(50, 8), stems=[(40,)])] == [()], "the last token is its own"
    assert [group.levels for group in plan([ids], Limits(50, 8), stems=[(20,)], share_prefixes=False)] == [()]


def test_documents_of_several_queries_stand_on_two_levels() -> None:
    head = list(range(20))
    sequences = [np.array([*head, *[100 + q] * 12, 200 + d, 5], np.int32) for q in range(3) for d in range(5)]
    groups = plan(sequences, Limits(50, 8), stems=[(20, 32)] * 15)
    assert [group.levels for group in groups] == [(20, 32)] * 3
    once_each = [sequences[i] for i in (0, 5, 10)]
    assert [group.levels for group in plan(once_each, Limits(50, 8), stems=[(20, 32)] * 3)] == [(20,)]


def test_a_short_text_does_not_keep_its_neighbours_from_sharing() -> None:
    alike = [np.array([7] * 30 + [100 + i, 5], np.int32) for i in range(5)]
    groups = plan([np.array([1, 5], np.int32), *alike], Limits(80, 8))
    assert [group.levels for group in groups] == [(), (30,)]


@given(st.lists(st.integers(0, 5)))
def test_unique_finds_every_item_again(items: list[int]) -> None:
    firsts, inverse = unique(items)
    assert [items[firsts[place]] for place in inverse] == items
    assert len({items[i] for i in firsts}) == len(firsts) == len(set(items))
