"""What each weight of the blocks is multiplied with: the squares of its inputs, summed over tokens.

llama.cpp shows every step of a graph to a callback; this one looks at the products of the blocks, as llama.cpp's own
tool imatrix does. This file does not know what the sums are good for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .context import MAX_SEQUENCES, MICRO_BATCH, Context
from .library import LlamaModel, LlamaTokenizer, ggml_function, library
from .rows import reader
from qsift.engine.protocol import EngineOptions, OnProgress, TokenIds
from qsift.errors import EngineError
from qsift.models import ModelFile

MAX_INPUT_TOKENS = MICRO_BATCH
"""The longest sequence that `InputSquares.add` takes: one graph computes all of it."""

_OPTIONS = EngineOptions(device="cpu")
_OBJECT_BYTES = 32  # ggml's struct ggml_object, which ggml_tensor_overhead counts in


class _Tensor(ctypes.Structure):
    """The struct ggml_tensor of ggml.h."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
]


class InputSquares:
    """Runs a model on the CPU and sums the squares of what its blocks' weights are multiplied with.

    Close it, or use it in a with statement.

    Attributes:
        tokenizer: the model's.
        sums: by weight, such as "blk.0.attn_q.weight", the sum for each of its columns, float64 (columns,).
        counts: by weight, the number of tokens summed over.
    """

    def __init__(self, file: ModelFile) -> None:
        """Loads the model.

        Raises:
            ModelFileError: llama.cpp refuses the file.
            EngineError: the installed llama.cpp lays its tensors out differently.
        """
        check_layout()
        self.sums: dict[str, NDArray[np.float64]] = {}
        self.counts: dict[str, int] = {}
        self._product = _number_of_op(b"MUL_MAT")
        self._error: Exception | None = None
        self._watch = library().ggml_backend_sched_eval_callback(self._look)  # llama.cpp holds only its address
        self._model = LlamaModel(file, _OPTIONS, extra_buffers=False)
        self.tokenizer = LlamaTokenizer(self._model)
        read = reader(file, "embed", self.tokenizer)
        self._context = Context(self._model, _OPTIONS, read, MAX_INPUT_TOKENS, watch=self._watch)

    def __enter__(self) -> InputSquares:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the model; what was summed stays."""
        self._context.close()
        self._model.close()

    def add(self, sequences: Iterable[TokenIds], on_progress: OnProgress | None = None) -> None:
        """Adds what every token of these sequences brings.

        Args:
            sequences: non-empty (n_tokens,) int32 arrays of at most `MAX_INPUT_TOKENS`; each is a text of its own.
            on_progress: told how many sequences each call finished.

        Raises:
            EngineError: llama.cpp refused or failed.
        """
        for batch in _batches(sequences):
            self._context.run_watched(batch)
            if self._error is not None:
                raise EngineError(f"The inputs of the weights could not be read: {self._error}.") from self._error
            if on_progress:
                on_progress(len(batch))

    def _look(self, address: int, ask: bool, _data: object) -> bool:
        """Says whether this step is wanted, and where it was computed whether the graph goes on."""
        tensor = _Tensor.from_address(address)
        if tensor.name == b"result_norm":
            return ask  # behind it stands the vocabulary's head, which takes time and is not wanted
        weight = tensor.src[0].contents.name if tensor.op == self._product else b""
        if ask or not weight:
            return weight.startswith(b"blk.")
        try:
            self._sum(weight.decode(), tensor.src[1].contents)
        except Exception as error:  # ctypes would print it and go on
            self._error = error
        return self._error is None

    def _sum(self, name: str, inputs: _Tensor) -> None:
        columns, rows = inputs.ne[0], inputs.ne[1]
        memory = (ctypes.c_char * (rows * inputs.nb[1])).from_address(inputs.data)
        values: NDArray[np.float32] = np.ndarray((rows, columns), np.float32, memory, strides=(inputs.nb[1], 4))
        squares = np.einsum("rc,rc->c", values, values)
        self.sums[name] = self.sums.get(name, 0.0) + squares.astype(np.float64)
        self.counts[name] = self.counts.get(name, 0) + rows


def check_layout() -> None:
    """Does nothing where `_Tensor` is the struct of the installed llama.cpp.

    Raises:
        EngineError: it is not.
    """
    overhead = ggml_function("ggml_tensor_overhead")
    overhead.restype = ctypes.c_size_t
    if (found := overhead() - _OBJECT_BYTES) != ctypes.sizeof(_Tensor):
        raise EngineError(
            f"This llama.cpp has tensors of {found} bytes; qsift reads those of {ctypes.sizeof(_Tensor)}. "
            "Install the llama-cpp-python that qsift names: pip install --force-reinstall llama-cpp-python==0.3.36."
        )


def _number_of_op(name: bytes) -> int:
    op_name = ggml_function("ggml_op_name")
    op_name.restype, op_name.argtypes = ctypes.c_char_p, [ctypes.c_int]
    number = 0
    while op_name(number) != name:
        number += 1
    return number


def _batches(sequences: Iterable[TokenIds]) -> Iterator[list[Any]]:
    """Yields the sequences in order, as many at once as one graph computes."""
    batch: list[TokenIds] = []
    for ids in sequences:
        if batch and (sum(map(len, batch)) + len(ids) > MAX_INPUT_TOKENS or len(batch) == MAX_SEQUENCES):
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch
