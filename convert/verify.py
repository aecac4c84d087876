"""Is the file that was written the checkpoint? It is reopened and compared, weight by weight.

The reading shares no code with the writing: the header goes through the parser that refuses other
people's damaged files, the weights through the gguf package's arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .checkpoint import listed
from .gguf_file import Digests, decode
from .parallel import in_order
from .quantize import Encoded, Plan
from qsift.errors import ConversionError, ModelFileError
from qsift.models import BLOCKS, ModelFile, Task, TensorInfo, read_header


@dataclass(frozen=True)
class Bound:
    """How far an encoded weight may lie from its original: ``share`` of its block's largest, plus ``floor``."""

    share: float
    floor: float = 0.0


_HALF = 2.0**-25
"""Half of F16's smallest step: what rounding a block's scale to F16 can cost, times the largest factor of it."""

BOUNDS: dict[str, Bound] = {
    "F32": Bound(0.0),
    "F16": Bound(2.0**-11, _HALF),
    "BF16": Bound(2.0**-8, 2.0**-126),
    "Q8_0": Bound(0.0045, 127 * _HALF),
    "Q6_K": Bound(0.035, 128 * 32 * _HALF),
    "Q5_K": Bound(0.09, 63 * 32 * _HALF),
    "Q4_K": Bound(0.18, 63 * 16 * _HALF),
    "IQ4_XS": Bound(0.2, 32 * 127 * _HALF),
    "Q5_1": Bound(0.04, 32 * _HALF),
    "Q5_0": Bound(0.07, 16 * _HALF),
    "IQ4_NL": Bound(0.2, 127 * _HALF),
    "Q4_1": Bound(0.08, 16 * _HALF),
    "Q4_0": Bound(0.13, 8 * _HALF),
    "Q3_K": Bound(0.4, 32 * 4 * _HALF),
    "IQ3_S": Bound(0.6, 31 * 15 * _HALF),
}
"""Bounds by type, without an importance matrix. Where rounding is to the nearest step they follow from
the step; where ggml searches for the scales that serve a whole block (K and IQ types) they are the
largest found over hostile blocks, with a margin."""


def verify(path: Path, plan: Plan, task: Task, digests: Digests, advance: Callable[[int], object]) -> None:
    """Checks a written file against the checkpoint.

    Args:
        path: the file.
        plan: what it should hold.
        task: what it should be for.
        digests: of what was written.
        advance: called with the number of bytes whenever some were compared.

    Raises:
        ConversionError: the file is refused by qsift's own reader, or weights differ by more than
            their type explains.
    """
    try:
        ModelFile.open(path).require(task)
        found = read_header(path).tensors
    except ModelFileError as error:
        raise ConversionError([f"The file that was written is not usable. {error.reason}"]) from error
    due = {item.name: (item.tensor.shape[::-1], item.type_name) for item in plan}
    if {name: (info.shape, info.type_name) for name, info in found.items()} != due:
        raise ConversionError(["The file that was written has other tensors, shapes or types than were planned."])
    mapped = np.memmap(path, np.uint8, "r")
    chunks = ((item, chunk) for item in plan for chunk in item.chunks())
    pieces = [(mapped, found[item.name], item, chunk, digests[item.name, chunk[0]]) for item, chunk in chunks]
    wrong: dict[str, None] = {}
    for name, nbytes in in_order(_compare, pieces):
        if name:
            wrong[name] = None
        advance(nbytes)
    if wrong:
        raise ConversionError(
            [
                f"{listed(wrong)}: the weights that were written differ from the checkpoint's by more than their type "
                "explains. The disk or the memory may be faulty; convert it again."
            ]
        )


def _compare(piece: tuple[np.ndarray, TensorInfo, Encoded, tuple[int, int], int]) -> tuple[str | None, int]:
    """Returns the tensor's name if these rows differ too much, and how many bytes they have in the file."""
    mapped, info, item, (start, stop), digest = piece
    first, last = (info.offset + row * item.row_bytes for row in (start, stop))
    data = np.asarray(mapped[first:last]).reshape(stop - start, item.row_bytes)
    original, decoded = item.tensor.rows.read(start, stop), decode(data, item.type_name)
    if item.importance is None:
        good = within_bound(original, decoded, item.type_name)
    else:
        good = says_something(original, decoded, item.importance)
    return None if good and crc32(data.data) == digest else item.name, data.nbytes


def within_bound(original: np.ndarray, decoded: np.ndarray, type_name: str) -> bool:
    """Returns whether every weight of ``decoded`` lies as near to ``original`` as its type explains.

    Both are float32 (rows, columns). NaN is never within a bound.
    """
    bound, width = BOUNDS[type_name], BLOCKS[type_name][0]
    blocks = original.reshape(-1, width)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(decoded.reshape(-1, width) - blocks).max(axis=1)
    return bool((error <= bound.share * np.abs(blocks).max(axis=1) + bound.floor).all())


def says_something(original: np.ndarray, decoded: np.ndarray, importance: NDArray[np.float32]) -> bool:
    """Returns whether rows of ``decoded`` are nearer to ``original`` than zeros, where each column counts as it does.

    Both are float32 (rows, columns). An importance matrix may cost an unimportant weight all that it is, so there is
    no closer bound for each; that the file holds what ggml made is known by its digest.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error, size = (
            (importance * np.square(values, dtype=np.float64)).sum() for values in (decoded - original, original)
        )
    return bool(error <= size)
