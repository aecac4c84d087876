"""Encoding weights with ggml's own quantiser, some rows at a time.

llama.cpp's shared library carries ggml's public ``ggml_quantize_chunk``; calling it directly needs
no intermediate file and no more memory than the rows at hand. ctypes lets go of the interpreter
during the call, so threads encode in parallel.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsift.engine import ggml_function
from qsift.errors import EngineError
from qsift.models import GGML_TYPES

_IDS = {name: type_id for type_id, (name, _, _) in GGML_TYPES.items()}


def encode(
    values: np.ndarray, type_name: str, row_bytes: int, importance: NDArray[np.float32] | None = None
) -> np.ndarray:
    """Returns float32 (rows, columns) encoded as ``type_name``: uint8 (rows, row_bytes).

    Args:
        values: the rows.
        type_name: such as "Q4_K".
        row_bytes: size of an encoded row.
        importance: (columns,), how much an error in each column counts; None: as ggml does without.

    Raises:
        EngineError: ggml made another number of bytes than was asked for.
    """
    values = np.ascontiguousarray(values, np.float32)
    if type_name == "F32":
        return values.view(np.uint8)
    if type_name == "F16":
        return values.astype("<f2").view(np.uint8)
    rows, columns = values.shape
    encoded = np.empty((rows, row_bytes), np.uint8)
    weights = None if importance is None else importance.ctypes.data
    written = _quantize_chunk()(_IDS[type_name], values.ctypes.data, encoded.ctypes.data, 0, rows, columns, weights)
    if written != encoded.nbytes:
        raise EngineError(f"ggml encoded {rows} rows as {type_name} in {written} bytes; {encoded.nbytes} were due.")
    return encoded


@cache
def _quantize_chunk() -> Any:
    function = ggml_function("ggml_quantize_chunk")
    function.restype = ctypes.c_size_t
    function.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return function
