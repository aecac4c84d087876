"""Plans are partitions within their limits, whatever comes in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qsift.batching import MIN_PREFIX, Limits, plan, unique

IDS = st.lists(st.integers(0, 3), min_size=1, max_size=40)
SEQUENCES = st.lists(IDS, max_size=30).map(lambda lists: [np.array(ids, np.int32) for ids in lists])
LIMITS = st.builds(Limits, tokens=st.integers(1, 60), sequences=st.integers(1, 8))


@given(SEQUENCES, LIMITS, st.booleans())
def test_a_plan_holds_every_sequence_once_within_the_limits(
    sequences: list[np.ndarray], limits: Limits, share: bool
) -> None:
    groups = plan(sequences, limits, share_prefixes=share)
    members = [i for group in groups for batch in group.batches for i in batch]
    assert sorted(members) == list(range(len(sequences)))
    for group in groups:
        assert group.prefix == 0 or (share and group.prefix >= MIN_PREFIX)
        first = sequences[group.batches[0][0]][: group.prefix]
        for batch in group.batches:
            own = [len(sequences[i]) - group.prefix for i in batch]
            assert min(own) >= 1, "every sequence keeps its last token to itself"
            assert len(batch) <= limits.sequences
            assert sum(own) <= limits.tokens or len(batch) == 1
            assert all((sequences[i][: group.prefix] == first).all() for i in batch)


@given(st.integers(MIN_PREFIX, 30), st.integers(2, 9))
def test_texts_of_one_instruction_share_it(prefix: int, count: int) -> None:
    sequences = [np.array([7] * prefix + [100 + i, 5], np.int32) for i in range(count)]
    groups = plan(sequences, Limits(50, 8))
    assert [group.prefix for group in groups] == [prefix]


@given(st.lists(st.integers(0, 5)))
def test_unique_finds_every_item_again(items: list[int]) -> None:
    firsts, inverse = unique(items)
    assert [items[firsts[place]] for place in inverse] == items
    assert len({items[i] for i in firsts}) == len(firsts) == len(set(items))
