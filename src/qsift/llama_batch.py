"""What one call of llama_decode is given."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Batch:
    """A llama_batch over numpy arrays, which it keeps alive."""

    def __init__(
        self, lib: Any, ids: NDArray[Any], positions: NDArray[Any], sequences: NDArray[Any], *, output: bool
    ) -> None:
        n = len(ids)
        numbers = np.ascontiguousarray(sequences, np.int32)
        # seq_id is an array of pointers, each to the one sequence of its token.
        pointers = numbers.ctypes.data + 4 * np.arange(n, dtype=np.uintp)
        fields: dict[str, NDArray[Any]] = {
            "token": np.ascontiguousarray(ids, np.int32),
            "pos": np.ascontiguousarray(positions, np.int32),
            "n_seq_id": np.ones(n, np.int32),
            "seq_id": pointers,
            "logits": np.full(n, output, np.int8),
        }
        self._kept = (numbers, fields)
        types = dict(lib.llama_batch._fields_)
        views = {name: ctypes.cast(array.ctypes.data, types[name]) for name, array in fields.items()}
        self.struct = lib.llama_batch(n_tokens=n, embd=None, **views)
