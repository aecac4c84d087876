"""Nearest rows, pairs, groups and duplicates: what a plain search of all cosines gives, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsift import community_detection, near_duplicates, paraphrase_mining, semantic_search, similarity
from qsift.text import neighbours, quantize

RANDOM = np.random.default_rng(0)


def alike(n_groups: int, size: int, *, noise: float = 0.1, dim: int = 32) -> np.ndarray:
    """Returns rows that lie in groups, shuffled."""
    centres = np.repeat(RANDOM.standard_normal((n_groups, dim)), size, axis=0)
    rows = centres + noise * RANDOM.standard_normal(centres.shape)
    return RANDOM.permutation(rows).astype(np.float32)


@pytest.fixture(params=[neighbours._BLOCK, 700, 1], ids=["one block", "some rows", "a row"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a block hold more or fewer cosines."""
    monkeypatch.setattr(neighbours, "_BLOCK", request.param)


@pytest.mark.usefixtures("block")
def test_the_nearest_are_those_of_all_cosines() -> None:
    queries, corpus = alike(5, 2), alike(20, 5)
    found = semantic_search(queries, corpus, top_k=7)
    cosines = similarity(queries, corpus)
    assert np.array_equal(found.corpus_ids, np.argsort(-cosines, axis=1, kind="stable")[:, :7])
    assert np.allclose(found.scores, -np.sort(-cosines, axis=1)[:, :7], atol=1e-6)
    assert semantic_search(queries[0], corpus[:3]).corpus_ids.shape == (1, 3)
    assert semantic_search(queries, corpus[:0]).scores.shape == (10, 0)
    small = quantize(corpus, "int8")
    assert (semantic_search(small, small, top_k=1, precision="int8").corpus_ids[:, 0] == range(100)).all()


@pytest.mark.usefixtures("block")
def test_pairs_are_the_best_of_all_pairs_each_once() -> None:
    vectors = alike(15, 4)
    cosines = np.triu(similarity(vectors, vectors), 1)
    all_pairs = paraphrase_mining(vectors, threshold=-1)
    assert len(all_pairs.scores) == 60 * 59 // 2 and (all_pairs.first < all_pairs.second).all()
    assert np.allclose(all_pairs.scores, cosines[all_pairs.first, all_pairs.second], atol=1e-6)
    assert (np.diff(all_pairs.scores) <= 0).all()
    for limit in (1, 20, 90):
        best = paraphrase_mining(vectors, threshold=-1, max_pairs=limit)
        assert np.allclose(best.scores, all_pairs.scores[:limit], atol=1e-6)
    good = paraphrase_mining(vectors, threshold=0.8)
    assert set(zip(good.first, good.second, strict=True)) == set(zip(*np.nonzero(cosines >= 0.8), strict=True))


@pytest.mark.usefixtures("block")
def test_groups_are_found_and_no_row_is_in_two() -> None:
    vectors = np.concatenate([alike(6, 12), RANDOM.standard_normal((40, 32)).astype(np.float32)])
    groups = community_detection(vectors, threshold=0.8, min_community_size=5)
    assert [len(group) for group in groups] == [12] * 6 and len(np.unique(np.concatenate(groups))) == 72
    for group in groups:
        cosines = similarity(vectors[group[0]], vectors[group])[0]
        assert cosines[0] == cosines.max() and (np.diff(cosines) <= 0).all() and cosines.min() >= 0.8
    singles = community_detection(vectors, threshold=0.8, min_community_size=1)
    assert sorted(np.concatenate(singles)) == list(range(len(vectors)))


@pytest.mark.usefixtures("block")
def test_the_first_of_a_group_is_its_centre_also_where_groups_reach_into_each_other() -> None:
    degrees = np.radians([0, -30, 30, 20, 55, 58, 61, 64, 100])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    # Row 2 has the most neighbours and takes row 4, which has as many as those behind it.
    groups = community_detection(vectors, threshold=np.cos(np.radians(36)), min_community_size=2)
    near = similarity(vectors, vectors) >= np.cos(np.radians(36)) - 1e-6
    assert all(near[group[0], group].all() for group in groups)
    blobs = alike(30, 6, noise=0.8)
    for threshold in (0.3, 0.5, 0.7):
        for group in community_detection(blobs, threshold=threshold, min_community_size=2):
            assert similarity(blobs[group[0]], blobs[group]).min() >= threshold - 1e-5
    same = np.repeat(vectors, 3, axis=0) * np.linspace(0.1, 7, 27, dtype=np.float32)[:, None]
    assert all(group[0] == group.min() for group in community_detection(same, threshold=0.999, min_community_size=3))


def kept_one_by_one(cosines: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    result = []
    for row, values in enumerate(cosines):
        nearest = max(kept, key=lambda other: (values[other], -other), default=None)
        is_new = nearest is None or values[nearest] < threshold
        kept += [row] * bool(is_new)
        result.append(row if is_new else nearest)
    return result


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_the_first_of_its_like_is_kept(threshold: float) -> None:
    vectors = alike(20, 5, noise=0.4)
    found = near_duplicates(vectors, threshold=threshold)
    assert found.kept.tolist() == kept_one_by_one(similarity(vectors, vectors), threshold)
    assert (found.scores >= threshold - 1e-6).all() and (found.kept[found.kept] == found.kept).all()


@given(st.integers(0, 30), st.integers(1, 4), st.floats(0.05, 1), st.integers(1, 200))
def test_equal_rows_are_duplicates_whatever_else_is_there(n: int, times: int, threshold: float, size: int) -> None:
    vectors = np.tile(np.eye(30, dtype=np.float32)[:n] * 3.7 + 1e-9, (times, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BLOCK", size)
        assert near_duplicates(vectors, threshold=threshold).kept.tolist() == list(range(n)) * times


def test_memory_is_bounded_also_where_all_rows_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", 1 << 16)
    vectors = np.ones((3_000, 16), np.float32)
    calls: list[Callable[[], Any]] = [
        lambda: paraphrase_mining(vectors, max_pairs=1_000),
        lambda: near_duplicates(vectors),
        lambda: community_detection(vectors),
        lambda: semantic_search(vectors, vectors),
    ]
    for call in calls:
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6e6  # all cosines are 36 MB


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: near_duplicates([[1.0, np.nan]]), "Row 0 holds NaN or Inf"),
        (lambda: community_detection([[1.0, 0], [np.inf, 0]]), "Row 1 holds NaN or Inf"),
        (lambda: near_duplicates([[1]]), "need precision="),
        (lambda: near_duplicates([[1.0]], threshold=95), "threshold is 95; a cosine is -1 to 1"),
        (lambda: paraphrase_mining([[1.0]], threshold=float("nan")), "threshold is nan"),
        (lambda: paraphrase_mining([[1.0]], max_pairs=0), "max_pairs is 0; at least 1"),
        (lambda: community_detection([[1.0]], min_community_size=0), "min_community_size is 0"),
        (lambda: semantic_search([1.0], [1.0], top_k=0), "top_k is 0; at least 1"),
        (lambda: semantic_search([[1.0, 2.0]], [[1.0]]), "2 and 1 wide"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_nothing_has_no_neighbours() -> None:
    for nothing in ([], np.empty((0, 8), np.float32)):
        assert community_detection(nothing) == []
        assert len(near_duplicates(nothing).kept) == len(paraphrase_mining(nothing).scores) == 0
    assert near_duplicates([1.0, 2.0]).kept.tolist() == [0]
    assert community_detection(np.zeros((20, 4))) == []  # rows of zeros are like nothing, not even each other
