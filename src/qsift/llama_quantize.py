"""ggml's own quantisers, a few rows at a time.

Part of the door to llama_cpp, for the converter. Rows in, packed rows out; which type a tensor gets
is decided elsewhere. Quantising by rows instead of by file (llama_model_quantize) keeps memory at
a few rows whatever the model, and needs no intermediate file.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import EngineError
from .gguf_header import GGML_TYPES
from .llama_library import library, shared_function

_IDS = {name: number for number, (name, _, _) in GGML_TYPES.items()}


def quantize_rows(rows: NDArray[np.float32], type_name: str) -> NDArray[np.uint8]:
    """Returns rows packed as ``type_name``, by the code that llama.cpp quantises models with.

    Args:
        rows: (n, k) float32, contiguous; k is a multiple of the type's block.
        type_name: such as "Q4_K".

    Returns:
        (n, bytes a row) uint8.

    Raises:
        EngineError: ggml wrote another number of bytes than the type has.
    """
    _, block, block_bytes = GGML_TYPES[_IDS[type_name]]
    n, k = rows.shape
    packed = np.empty((n, k // block * block_bytes), np.uint8)
    source = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    written = _quantizer()(_IDS[type_name], source, packed.ctypes.data, 0, n, k, None)
    if written != packed.nbytes:
        raise EngineError(
            f"ggml packed {n} rows of {k} as {type_name} into {written} bytes instead of {packed.nbytes}."
        )
    return packed


def _quantizer() -> Any:
    library()
    function = shared_function("ggml_quantize_chunk")
    function.restype = ctypes.c_size_t
    function.argtypes = [
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_float),
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return function
