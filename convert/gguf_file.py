"""Writing a GGUF, and reading tensors back. The only door to gguf."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from qsift.errors import ConversionError
from qsift.machine import physical_cores

from .metadata import special_tokens
from .quantize import encode_rows
from .tensors import PlannedTensor
from .vocab import Vocabulary

CHUNK = 1 << 22
"""Weights that are encoded at a time by one thread; bounds memory."""

_LARGEST_F16 = 65504.0


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Gives a scratch path beside ``target`` and renames it when the block succeeds.

    A run that was killed may leave its scratch file; the next run for the same target removes it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.part")
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def write_gguf(
    path: Path,
    metadata: dict[str, Any],
    vocabulary: Vocabulary,
    plan: list[PlannedTensor],
    on_progress: Callable[[int], Any],
) -> None:
    """Writes a GGUF; memory stays at a few chunks whatever the model's size.

    Raises:
        ConversionError: a weight is NaN or Inf, or too large for F16.
    """
    writer = gguf.GGUFWriter(None, metadata["general.architecture"])
    for key, value in metadata.items():
        _add(writer, key, value)
    _add_vocabulary(writer, metadata, vocabulary)
    for tensor in plan:
        type_id = gguf.GGMLQuantizationType[tensor.type_name]
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, type_id)
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        file = writer.fout[0]
        writer.write_padding(file, file.tell())
        with ThreadPoolExecutor(physical_cores()) as pool:
            for tensor in plan:
                for data in _encoded(pool, tensor, on_progress):
                    file.write(data)
                writer.write_padding(file, tensor.nbytes)
    finally:
        writer.close()


def _encoded(pool: ThreadPoolExecutor, tensor: PlannedTensor, on_progress: Callable[[int], Any]) -> Iterator[bytes]:
    """Yields a tensor's bytes in order; as many chunks are under way as there are threads."""
    pending: deque[tuple[int, Future[bytes]]] = deque()

    def finished() -> bytes:
        size, future = pending.popleft()
        data = future.result()
        on_progress(size)
        return data

    for rows in tensor.chunks(CHUNK):
        pending.append((rows.size, pool.submit(_encode, tensor, rows)))
        if len(pending) > physical_cores():
            yield finished()
    while pending:
        yield finished()


def _encode(tensor: PlannedTensor, rows: NDArray[np.float32]) -> bytes:
    largest = float(np.abs(rows).max(initial=0))
    if not np.isfinite(largest):
        raise ConversionError([f"{tensor.source.name} holds NaN or Inf. The checkpoint is broken: download it again."])
    if tensor.type_name == "F16" and largest > _LARGEST_F16:
        raise ConversionError([f"{tensor.source.name} holds {largest:.4g}, more than F16 can. Take bf16 or q8_0."])
    return encode_rows(rows, tensor.type_name)


def _add(writer: Any, key: str, value: Any) -> None:
    if key == "general.architecture":  # written by the constructor
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _add_vocabulary(writer: Any, metadata: dict[str, Any], vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    for key, value in special_tokens(metadata["qsift.task"]).items():
        _add(writer, f"tokenizer.ggml.{key}", value if isinstance(value, bool) else vocabulary.ids[value])


def dequantize(data: NDArray[np.uint8], type_name: str) -> NDArray[np.float32]:
    """Returns rows of packed bytes as float32, by gguf's own code, which is not the code that packed them."""
    values: NDArray[np.float32] = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[type_name])
    return values
