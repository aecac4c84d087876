"""Quantised vectors keep their cosines, as far as their bits allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qsift.text.vectors import PRECISIONS, normalize, quantize, similarity

VECTORS = arrays(np.float32, st.tuples(st.integers(0, 5), st.just(40)), elements=st.floats(-8, 8, width=32))
RANDOM = np.random.default_rng(0).standard_normal((50, 256)).astype(np.float32)


@given(VECTORS)
def test_normalised_rows_have_length_one_and_zeros_stay(vectors: np.ndarray) -> None:
    lengths = np.linalg.norm(normalize(vectors), axis=1)
    tiny = np.linalg.norm(vectors.astype(np.float64), axis=1) < 1e-30
    assert np.allclose(lengths[~tiny], 1, atol=1e-5) and np.isfinite(lengths).all()


@pytest.mark.parametrize(
    ("precision", "dtype", "width", "error"),
    [
        ("float32", np.float32, 256, 1e-6),
        ("int8", np.int8, 256, 0.01),
        ("uint8", np.uint8, 256, 0.01),
        ("binary", np.int8, 32, 0.25),
        ("ubinary", np.uint8, 32, 0.25),
    ],
)
def test_each_precision_has_its_type_width_and_error(precision: str, dtype: type, width: int, error: float) -> None:
    small = quantize(RANDOM, precision)  # type: ignore[arg-type]
    assert small.dtype == dtype and small.shape == (50, width)
    exact = similarity(RANDOM, RANDOM)
    assert np.abs(similarity(small, small, precision) - exact).max() <= error  # type: ignore[arg-type]


@given(VECTORS, st.sampled_from(PRECISIONS))
def test_any_rows_can_be_quantised_and_are_nearest_to_themselves(vectors: np.ndarray, precision: str) -> None:
    small = quantize(vectors, precision)  # type: ignore[arg-type]
    cosines = similarity(small, small, precision)  # type: ignore[arg-type]
    assert cosines.shape == (len(vectors), len(vectors)) and np.isfinite(cosines).all()


def test_binary_is_ubinary_minus_128() -> None:
    assert np.array_equal(quantize(RANDOM, "binary").astype(int) + 128, quantize(RANDOM, "ubinary").astype(int))


def test_whole_numbers_do_not_show_what_they_are() -> None:
    with pytest.raises(ValueError, match="precision='int8'"):
        similarity(quantize(RANDOM, "int8"), quantize(RANDOM, "int8"))


def test_widths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="256 and 128 wide"):
        similarity(RANDOM, RANDOM[:, :128])


def test_single_vectors_count_as_one_row() -> None:
    assert similarity(RANDOM[0], RANDOM[:3]).shape == (1, 3)
