"""A checkpoint's files: config.json as read, and tensors that stay on disk until their rows are asked for.

The only door to safetensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from qsift.errors import ConversionError

_DTYPES = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a shard.

    Attributes:
        name: as in the checkpoint.
        shape: slowest dimension first, as torch prints it.
        dtype: "BF16", "F16" or "F32"; others are refused when the plan is made.
        path: the shard.
        offset: where its data starts, in bytes from the start of the shard.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: Path
    offset: int

    @property
    def n_rows(self) -> int:
        """The number of rows; 1 for a vector."""
        return prod(self.shape[:-1])

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Returns rows ``start`` to ``stop`` as (n, k) float32; a vector is one row."""
        stored = np.dtype(_DTYPES[self.dtype]).newbyteorder("<")
        width = self.shape[-1]
        with self.path.open("rb") as file:
            file.seek(self.offset + start * width * stored.itemsize)
            values = np.fromfile(file, stored, (stop - start) * width)
        if self.dtype == "BF16":
            # BF16 is the upper half of a float32.
            return (values.astype(np.uint32) << 16).view(np.float32).reshape(-1, width)
        return values.astype(np.float32).reshape(-1, width)


@dataclass(frozen=True)
class Checkpoint:
    """The files of a checkpoint, read as far as their headers.

    Attributes:
        folder: where it lies.
        config: config.json as read; empty where it cannot be.
        tensors: by name.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @classmethod
    def open(cls, path: str | os.PathLike[str], problems: list[str]) -> Checkpoint:
        """Returns the checkpoint in a folder; adds what is wrong with its files to ``problems``.

        Raises:
            ConversionError: it is no folder, so that nothing else can be looked at.
        """
        folder = Path(path)
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise ConversionError([f"{folder} {what}; the folder of a Hugging Face checkpoint is needed."])
        config = read_json(folder / "config.json", problems)
        tensors: dict[str, StoredTensor] = {}
        for shard in _shards(folder, problems):
            for tensor in _read_shard(shard, problems):
                if tensor.name in tensors:
                    first = tensors[tensor.name].path.name
                    problems.append(f"The tensor {tensor.name} stands in {first} and in {shard.name}.")
                tensors[tensor.name] = tensor
        _check_index(folder, tensors, problems)
        return cls(folder, config, tensors)


def read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    """Returns a JSON object; adds to ``problems`` and returns {} where there is none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        problems.append(f"{path.name} is missing. A checkpoint as Hugging Face stores it is needed.")
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read as JSON: {error}.")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name} holds a {type(value).__name__}; an object is needed.")
        return {}
    return value


def _shards(folder: Path, problems: list[str]) -> list[Path]:
    if (folder / _INDEX).exists():
        places = read_json(folder / _INDEX, problems).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            problems.append(f"{_INDEX} has no weight_map of file names.")
            return []
        names = sorted(set(places.values()))
        absent = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if absent:
            problems.append(f"{_INDEX} names files that are not there: {', '.join(absent)}.")
        return [folder / name for name in names if name not in absent]
    found = sorted(folder.glob("*.safetensors"))
    if len(found) > 1:
        problems.append(f"There are {len(found)} safetensors files but no {_INDEX} that says which belong together.")
    elif not found:
        pickles = [path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in sorted(folder.glob(pattern))]
        problems.append(
            f"{pickles[0]} is a pickle, which can run any program when it is read. "
            "Load it with transformers where you trust it and save it with safe_serialization=True."
            if pickles
            else "There is no model.safetensors."
        )
    return found


def _read_shard(path: Path, problems: list[str]) -> list[StoredTensor]:
    try:
        # safetensors holds the header against the file; the data is read by its offsets, because
        # numpy has no BF16 to hand it out in.
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        problems.append(f"{path.name} is damaged or was cut short ({error}). Download it again.")
        return []
    header.pop("__metadata__", None)
    return [
        StoredTensor(name, tuple(entry["shape"]), entry["dtype"], path, 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
    ]


def _check_index(folder: Path, tensors: Mapping[str, StoredTensor], problems: list[str]) -> None:
    if not (folder / _INDEX).exists():
        return
    places = read_json(folder / _INDEX, []).get("weight_map")
    if isinstance(places, dict):
        wrong = [name for name, file in places.items() if name in tensors and tensors[name].path.name != file]
        wrong += [name for name in tensors if name not in places]
        if wrong:
            listed = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            problems.append(f"{_INDEX} and the shards disagree on where {listed} is.")
