"""Reading checkpoints and GGUFs by other means than qsift's, for comparison.

Checkpoints go through the safetensors package and a few lines for BF16, GGUFs through gguf's reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

FLOATS = {"F32": np.float32, "F16": np.float16}


def checkpoint_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Returns every tensor of a checkpoint as float32, by name without "model."."""
    arrays = {}
    for path in folder.glob("*.safetensors"):
        for name, (dtype, shape, data) in raw_tensors(path).items():
            if dtype == "BF16":
                values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(data, FLOATS[dtype]).astype(np.float32)
            arrays[name.removeprefix("model.")] = values.reshape(shape)
    return arrays


def gguf_arrays(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Returns (type, float32 values) of every tensor of a GGUF, by name."""
    return {
        tensor.name: (
            tensor.tensor_type.name,
            gguf.dequantize(tensor.data, tensor.tensor_type).reshape([int(n) for n in tensor.shape[::-1]]),
        )
        for tensor in gguf.GGUFReader(path).tensors
    }


def gguf_bytes(path: Path) -> dict[str, tuple[str, bytes]]:
    """Returns (type, bytes) of every tensor of a GGUF, by name."""
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in gguf.GGUFReader(path).tensors}


def gguf_keys(path: Path) -> dict[str, Any]:
    """Returns the metadata of a GGUF, without the container's own keys."""
    fields = gguf.GGUFReader(path).fields
    return {key: field.contents() for key, field in fields.items() if not key.startswith("GGUF.")}


RawTensors = dict[str, tuple[str, list[int], bytes]]


def raw_tensors(path: Path) -> RawTensors:
    """Returns (dtype, shape, bytes) of every tensor of a safetensors file."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (
            entry["dtype"],
            entry["shape"],
            data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]],
        )
        for name, entry in header.items()
    }


def change_tensors(path: Path, change: Callable[[RawTensors], object]) -> None:
    """Rewrites a safetensors file after ``change`` was let at its tensors."""
    tensors = raw_tensors(path)
    change(tensors)
    header: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values()))


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Rewrites a JSON file after ``change`` was let at its value."""
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value), "utf-8")
