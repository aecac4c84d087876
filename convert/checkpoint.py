"""The weights of a checkpoint: safetensors files, single or sharded, mapped and never loaded whole.

The safetensors package reads and checks the headers; the values are mapped here, because it has no
BF16 without torch. This file does not know what a tensor is for.
Source of the layout: the format section of the safetensors documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from .config import read_json_object
from qsift.errors import ConversionError

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class _Dtype:
    """How a float type lies in memory: its bits, and the pattern of its infinity."""

    bits: str
    infinity: int


_DTYPES = {"BF16": _Dtype("<u2", 0x7F80), "F16": _Dtype("<u2", 0x7C00), "F32": _Dtype("<u4", 0x7F800000)}


def _to_float32(bits: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        # BF16 is the upper half of a float32.
        return (bits.astype(np.uint32) << 16).view(np.float32)
    if dtype == "F16":
        return bits.view("<f2").astype(np.float32)
    return bits.view("<f4").astype(np.float32)


class Rows(Protocol):
    """A matrix that is read a few rows at a time; a vector counts as one row."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes as torch has them: (rows, columns) or (columns,)."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows from ``start`` to before ``stop`` as float32 (rows, columns)."""

    @property
    def nbytes(self) -> int:
        """Size where it is stored."""

    def largest(self, start: int, stop: int) -> float:
        """Returns the largest magnitude in these rows; infinity where one is Inf or NaN."""


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in a safetensors file; see `Rows`.

    Attributes:
        name: as in the file.
        shape: as torch has it.
        dtype: "BF16", "F16", "F32", or a type that cannot be converted.
        path: the file.
        offset: of its first byte in the file.
        mapped: all bytes of the file; one mapping serves all tensors, since each costs a file handle.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: Path
    offset: int
    mapped: np.ndarray

    @property
    def nbytes(self) -> int:
        """Its size in the file; 0 for a type that cannot be converted."""
        return prod(self.shape) * np.dtype(_DTYPES[self.dtype].bits).itemsize if self.dtype in _DTYPES else 0

    @cached_property
    def _bits(self) -> np.ndarray:
        data = self.mapped[self.offset : self.offset + self.nbytes]
        return data.view(_DTYPES[self.dtype].bits).reshape(-1, self.shape[-1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns rows as float32; see `Rows`."""
        return _to_float32(self._bits[start:stop], self.dtype)

    def largest(self, start: int, stop: int) -> float:
        """Returns the largest magnitude; see `Rows`."""
        bits = self._bits[start:stop]
        # Without the sign, the bits of floats sort like the floats, and NaN lies above infinity.
        top = (bits & bits.dtype.type(np.iinfo(bits.dtype).max >> 1)).max()
        if top >= _DTYPES[self.dtype].infinity:
            return float("inf")
        return float(_to_float32(top.reshape(1), self.dtype)[0])


@dataclass(frozen=True, eq=False)
class FixedRows:
    """A small matrix that is in memory; see `Rows`."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the matrix."""
        return tuple(self.values.shape)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns rows as float32; see `Rows`."""
        return self.values[start:stop]

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.values.nbytes

    def largest(self, start: int, stop: int) -> float:
        """Returns the largest magnitude; see `Rows`."""
        top = float(np.abs(self.values[start:stop]).max())
        return top if top == top else float("inf")


def open_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Returns the tensors of the safetensors files in ``folder``, by name; none is read yet.

    Raises:
        ConversionError: no safetensors, a damaged or truncated file, an index that does not fit its
            files, or a type that cannot be converted.
    """
    if (folder / "model.safetensors").exists():
        tensors, problems = _open_shards([folder / "model.safetensors"])
    elif (folder / _INDEX).exists():
        tensors, problems = _open_index(folder)
    else:
        raise ConversionError([_no_weights(folder)])
    return _convertible(tensors, problems)


def open_file(path: Path) -> dict[str, StoredTensor]:
    """Returns the tensors of one safetensors file, as `open_tensors` does."""
    return _convertible(*_open_shards([path]))


def _convertible(tensors: dict[str, StoredTensor], problems: list[str]) -> dict[str, StoredTensor]:
    strange = sorted({t.dtype for t in tensors.values() if t.dtype not in _DTYPES})
    for dtype in strange:
        names = [t.name for t in tensors.values() if t.dtype == dtype]
        problems.append(
            f"{listed(names)}: the weights are {dtype}; {', '.join(_DTYPES)} can be converted. "
            "Use the original checkpoint, or save it in bfloat16."
        )
    if problems:
        raise ConversionError(problems)
    return tensors


def listed(names: Iterable[str], limit: int = 3) -> str:
    """Returns the first few names and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def pickle_problem(folder: Path) -> str | None:
    """Returns a sentence if there are weights in ``folder`` that are pickles."""
    pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern))
    if not pickles:
        return None
    return (
        f"The weights are pickle files ({listed(pickles)}), which can run any code when they are opened. "
        "Load the model once with transformers and save it with safe_serialization=True, then convert that."
    )


def _no_weights(folder: Path) -> str:
    if pickles := pickle_problem(folder):
        return pickles
    others = sorted(p.name for p in folder.glob("*.safetensors"))
    found = f"found {listed(others)}, but no index" if others else "found no safetensors file"
    return f"model.safetensors or {_INDEX} is needed in {str(folder)!r}; {found}. Download the checkpoint again."


def _open_index(folder: Path) -> tuple[dict[str, StoredTensor], list[str]]:
    places = read_json_object(folder / _INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ConversionError([f"{_INDEX} has no weight_map. Download it again."])
    problems = []
    shards = sorted({str(name) for name in places.values()})
    present = {path.name for path in folder.iterdir()}
    absent = [name for name in shards if name not in present]
    if absent:
        problems.append(f"{_INDEX} names files that are not there: {listed(absent)}. Download them.")
    tensors, damage = _open_shards([folder / name for name in shards if name not in absent])
    problems += damage
    if not problems:
        wrong = [n for n, t in tensors.items() if places.get(n) != t.path.name] + [
            n for n in places if n not in tensors
        ]
        if wrong:
            problems.append(f"{_INDEX} and the shards disagree about {listed(wrong)}. Download all of them again.")
    return tensors, problems


def _open_shards(paths: list[Path]) -> tuple[dict[str, StoredTensor], list[str]]:
    tensors: dict[str, StoredTensor] = {}
    problems = []
    for path in paths:
        try:
            found = {tensor.name: tensor for tensor in _read_shard(path)}
        except OSError as error:
            problems.append(f"{path.name} cannot be read: {error.strerror or error}.")
            continue
        except (SafetensorError, ValueError) as error:  # ValueError: numpy cannot map an empty file
            problems.append(
                f"{path.name} has {path.stat().st_size} bytes and was cut short, is damaged, or is no safetensors "
                f"file ({error}). Download it again."
            )
            continue
        twice = [name for name in found if name in tensors]
        if twice:
            problems.append(f"{listed(twice)} stand in {path.name} and in another shard. Download all of them again.")
        tensors |= found
    return tensors, problems


def _read_shard(path: Path) -> list[StoredTensor]:
    """Returns the tensors of one file, which safetensors checks: they cover it without gap or overlap."""
    mapped = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
    tensors = []
    with safe_open(path, framework="numpy") as file:
        for name in file.offset_keys():
            entry = file.get_slice(name)
            tensor = StoredTensor(name, tuple(entry.get_shape()), entry.get_dtype(), path, start, mapped)
            tensors.append(tensor)
            start += tensor.nbytes  # wrong behind a type that cannot be converted, which is refused unread
    return tensors
