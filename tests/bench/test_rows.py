"""What `qsift bench` decides: its texts, its figures, its ratios, its judgement of quality."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsift import EngineError, EngineOptions
from qsift.bench.child import repeated
from qsift.bench.rows import Answer, Case, cases, figures, judged, row, with_ratios
from qsift.bench.run import N_QUERIES, make_queries, make_texts, ragged, words

CASE = Case("m.gguf", "/m.gguf", "embed", "q8_0", EngineOptions())
VOCABULARY = [b"the", "Ġthe".encode(), b"cat", "Ġcat".encode(), b"alone", b"Up", "ĠUp".encode(), b"a", "Ġa".encode()]


def answer(**changes: object) -> Answer:
    facts = {
        "load": 0.5,
        "tokens": {"uniform": 100},
        "seconds": {"uniform": [1.0, 4.0, 2.0]},
        "latencies": [0.01] * 19 + [0.1],
        "peak_rss": 50_000_000,
        "accel": "off",
        "threads": 2,
        "results": [],
    }
    return Answer(**{**facts, **changes})  # type: ignore[arg-type]


def test_words_are_one_token_with_and_without_a_space() -> None:
    assert words(VOCABULARY) == ["cat", "the"]
    assert len(words([bytes([i]) for i in range(256)])) == 26


@given(st.lists(st.integers(1, 300), max_size=9), st.integers(0, 9))
def test_texts_have_the_lengths_asked_for_and_are_the_same_every_time(lengths: list[int], seed: int) -> None:
    texts = make_texts(["cat", "the"], lengths, seed)
    assert [len(text.split()) for text in texts] == [max(length - 1, 1) for length in lengths]
    assert texts == make_texts(["cat", "the"], lengths, seed)


def test_the_ragged_lengths_are_ragged_and_in_no_order() -> None:
    lengths = ragged()
    assert 8 <= min(lengths) < np.median(lengths) / 2 and 3 * np.median(lengths) < max(lengths) <= 512
    assert list(lengths) not in (sorted(lengths), sorted(lengths, reverse=True))


def test_queries_differ_so_that_none_is_found_in_the_cache() -> None:
    assert len(set(make_queries([f"w{i}" for i in range(50)]))) == N_QUERIES


def test_every_model_mode_and_number_of_threads_is_a_case() -> None:
    models = [("a", "/a", "embed", "f16"), ("b", "/b", "rerank", "f16")]
    found = cases(models, EngineOptions(device="cpu"), ["off", "int8"], [1, None])  # type: ignore[arg-type]
    assert [(case.model, case.options.accel, case.options.threads) for case in found] == [
        (model, accel, threads) for model in "ab" for accel in ("off", "int8") for threads in (1, None)
    ]
    assert all(case.options.device == "cpu" for case in found)


def test_figures_are_medians_and_percentiles_in_their_units() -> None:
    found = figures(answer())
    assert found["uniform_tokens_per_s"] == 50 and found["load_s"] == 0.5 and found["peak_mb"] == 50
    assert found["p50_ms"] == pytest.approx(10) and found["p95_ms"] == pytest.approx(14.5)
    assert "peak_mb" not in figures(answer(peak_rss=None))


def test_ratios_are_to_the_first_row_of_the_same_task_that_was_measured() -> None:
    rerank = Case("r.gguf", "/r.gguf", "rerank", "q8_0", EngineOptions())
    rows = with_ratios(
        [row(CASE, "It died."), row(CASE, answer()), row(rerank, answer(load=9.0)), row(CASE, answer(load=1.0))]
    )
    assert [one.ratios.get("load_s") for one in rows] == [None, 1, 1, 2]
    assert rows[0].failure == "It died." and not rows[0].figures


def test_quality_is_the_smallest_cosine_and_the_largest_change_of_a_similarity() -> None:
    reference = np.eye(3)
    turned = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0, 1]])
    quality = judged(reference.tolist(), turned.tolist(), "embed")
    assert quality.min_cosine == pytest.approx(0.8) and quality.max_change == pytest.approx(0.6)
    assert judged(reference.tolist(), reference.tolist(), "embed").max_change == 0
    scores = judged([0.1, 0.9], [0.15, 0.7], "rerank")
    assert scores.min_cosine is None and scores.max_change == pytest.approx(0.2)


def test_a_reference_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="3 wide, the model's 2"):
        judged(np.eye(3).tolist(), np.eye(2).tolist(), "embed")


def test_results_that_change_or_are_not_finite_are_not_timed() -> None:
    assert len(repeated(lambda: np.ones(3, np.float32), 4)) == 4
    results = iter([np.zeros(3, np.float32), np.ones(3, np.float32)])
    with pytest.raises(EngineError, match="other results"):
        repeated(lambda: next(results), 1)
    with pytest.raises(EngineError, match="not finite"):
        repeated(lambda: np.full(3, np.nan, np.float32), 1)
