"""What happens to vectors after the model: cutting, normalising, quantising, comparing.

Numpy alone; this file knows no models.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Vectors = NDArray[np.float32]


def check_dim(dim: int | None, *, width: int, min_dim: int) -> int:
    """Returns the width to cut to; None means the full one.

    Raises:
        TypeError: not a whole number.
        ValueError: outside ``min_dim``..``width``.
    """
    if dim is None:
        return width
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
        raise TypeError(f"truncate_dim is {dim!r}; a whole number or None is needed.")
    if not min_dim <= dim <= width:
        raise ValueError(f"truncate_dim is {dim}; this model was trained for {min_dim} to {width}.")
    return int(dim)


def check_precision(precision: str) -> None:
    """Raises ValueError for a precision that does not exist."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; allowed are {', '.join(PRECISIONS)}.")


def normalize(vectors: Vectors) -> Vectors:
    """Returns rows of length 1, (n, dim) float32; a row of zeros stays zeros."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    scaled: Vectors = (vectors / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
    return scaled


def quantize(vectors: Vectors, precision: Precision = "float32") -> NDArray[Any]:
    """Returns the vectors in fewer bits.

    Args:
        vectors: (n, dim) float32.
        precision: "float32" returns them as they are. "int8" scales each row so that its largest
            entry becomes 127 (a row's scale does not change its cosines), "uint8" is the same plus 128.
            "ubinary" keeps a bit for each entry, set where it is positive, eight to a byte, the first
            in the highest bit (numpy.packbits); "binary" is the same minus 128, as int8.

    Returns:
        (n, dim) float32, int8 or uint8, or (n, ceil(dim / 8)) uint8 or int8.
    """
    check_precision(precision)
    if precision == "float32":
        return vectors
    if precision in ("binary", "ubinary"):
        bits = np.packbits(vectors > 0, axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    largest = np.abs(vectors).max(axis=-1, keepdims=True, initial=0)
    steps = np.rint(vectors * (127 / np.where(largest > 0, largest, 1))).astype(np.int16)
    return steps.astype(np.int8) if precision == "int8" else (steps + 128).astype(np.uint8)


def similarity(a: Any, b: Any, precision: Precision | None = None) -> NDArray[np.float32]:
    """Returns the cosine of every row of ``a`` with every row of ``b``.

    Args:
        a: (n, dim) or (dim,) vectors, in float or as `quantize` returned them.
        b: (m, dim) or (dim,), likewise.
        precision: what `quantize` was told; needed for whole numbers, which do not show it.

    Returns:
        (n, m) float32, -1..1. For binary vectors: 1 - 2 × the share of differing bits.

    Raises:
        ValueError: widths that differ, or whole numbers without ``precision``.
    """
    left, right = (to_floats(side, precision) for side in (a, b))
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"The vectors are {left.shape[1]} and {right.shape[1]} wide; cut both to the same width.")
    cosines: NDArray[np.float32] = np.clip(normalize(left) @ normalize(right).T, -1, 1)
    return cosines


def to_floats(values: Any, precision: Precision | None) -> Vectors:
    """Returns vectors, in float or as `quantize` returned them, as (n, dim) float32; errors as `similarity`."""
    vectors = np.atleast_2d(np.asarray(values))
    if vectors.ndim != 2:
        raise ValueError(f"The vectors have {vectors.ndim} dimensions; one or two are needed.")
    if vectors.dtype.kind == "f":
        return vectors.astype(np.float32)
    if precision is None or precision == "float32":
        raise ValueError(f"Vectors of type {vectors.dtype} need precision='int8', 'uint8', 'binary' or 'ubinary'.")
    check_precision(precision)
    numbers = vectors.astype(np.int16)
    if precision in ("uint8", "binary"):
        numbers += -128 if precision == "uint8" else 128
    if precision in ("int8", "uint8"):
        return numbers.astype(np.float32)
    signs: Vectors = np.unpackbits(numbers.astype(np.uint8), axis=-1).astype(np.float32) * 2 - 1
    return signs
