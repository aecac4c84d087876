"""The header of a GGUF file, read with suspicion.

llama.cpp trusts what a header says and may abort the process on one that lies, so every count,
length, offset and size is held against the file's real size before anything else looks at it.
The gguf package reads files too, but trusts them, and needs seconds for a vocabulary of 151,669.
This file knows the container only; what the keys mean is for `model_file`.
Source of the layout: docs/gguf.md in the ggml repository.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsift.errors import ModelFileError

# type id: (name, elements a block, bytes a block), from ggml's enum ggml_type.
GGML_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    39: ("MXFP4", 32, 17),
}
"""The weight types that llama.cpp can multiply; a tensor of any other type is refused."""

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
INT32, FLOAT32, STRING, ARRAY = 5, 6, 8, 9
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 16
_MAX_SHORT_ARRAY = 64


@dataclass(frozen=True)
class ArrayInfo:
    """A long array that stays in the file.

    Attributes:
        element_type: GGUF's id of the elements' type (8 is a string).
        length: number of elements.
        start, stop: where the elements lie, in bytes from the start of the file.
    """

    element_type: int
    length: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's entry.

    Attributes:
        name: such as "blk.0.attn_q.weight".
        shape: in ggml's order, the fastest dimension first.
        type_name: such as "Q8_0".
        offset: in bytes from the start of the file.
        nbytes: its size in the file.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """A header whose claims were all checked against the file.

    Attributes:
        path: the file.
        keys: scalars and strings as Python values, arrays as `ArrayInfo`, short ones as lists.
        tensors: entries by name, in file order.
        size: the file's size in bytes.
    """

    path: str
    keys: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    size: int

    def element_type(self, key: str) -> int | None:
        """Returns GGUF's type id of an array's elements; None if the key is absent, no array or empty."""
        value = self.keys.get(key)
        if isinstance(value, ArrayInfo):
            return value.element_type
        kinds = {str: STRING, int: INT32, float: FLOAT32}
        return kinds.get(type(value[0])) if isinstance(value, list) and value else None

    def strings(self, key: str) -> list[bytes]:
        """Returns the elements of an array of strings, read from the file again."""
        info = self.keys[key]
        if isinstance(info, list):
            return [text.encode() for text in info]
        with open(self.path, "rb") as file:
            file.seek(info.start)
            data = file.read(info.stop - info.start)
        unpack, texts, position = struct.Struct("<Q").unpack_from, [], 0
        for _ in range(info.length):
            (length,) = unpack(data, position)
            start, position = position + 8, position + 8 + length
            texts.append(data[start:position])
        return texts

    def integers(self, key: str) -> NDArray[np.int32]:
        """Returns the elements of an array of 32-bit integers, read from the file again."""
        info = self.keys[key]
        if isinstance(info, list):
            return np.array(info, np.int32)
        return np.fromfile(self.path, "<i4", info.length, offset=info.start)


class _Broken(Exception):
    """The header contradicts itself or the file; carries the sentence."""


class _Cursor:
    """Reads values one after the other and never past the end of the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0
        self.size = len(data)

    def take(self, length: int, what: str) -> int:
        """Steps over ``length`` bytes; returns where they start."""
        start = self.position
        if length > self.size - start:
            raise _Broken(f"the file ends inside {what} at byte {self.size}; it was cut short or is damaged")
        self.position = start + length
        return start

    def scalar(self, form: str, what: str) -> Any:
        """Returns one number or truth value."""
        return struct.unpack_from(form, self.data, self.take(struct.calcsize(form), what))[0]

    def text(self, what: str) -> str:
        """Returns one string."""
        length = self.scalar("<Q", what)
        start = self.take(length, what)
        try:
            return self.data[start : start + length].decode("utf-8")
        except UnicodeDecodeError:
            raise _Broken(f"{what} is not UTF-8; the header is damaged") from None

    def value(self, kind: int, what: str) -> Any:
        """Returns one value of GGUF's type ``kind``."""
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind], what)
        if kind == STRING:
            return self.text(what)
        if kind == ARRAY:
            return self.array(what)
        raise _Broken(f"{what} has the unknown type {kind}; the header is damaged")

    def array(self, what: str) -> ArrayInfo | list[Any]:
        """Returns an array: a short one as a list, a long one as its place in the file."""
        element, length = self.scalar("<I", what), self.scalar("<Q", what)
        if element in _SCALARS:
            width = struct.calcsize(_SCALARS[element])
        elif element == STRING:
            width = 8
        else:
            raise _Broken(f"{what} is an array of the unknown type {element}; the header is damaged")
        if length * width > self.size - self.position:
            raise _Broken(f"{what} claims {length} elements, more than the file can hold; the header is damaged")
        if length <= _MAX_SHORT_ARRAY:
            return [self.value(element, what) for _ in range(length)]
        start = self.position
        if element == STRING:
            self._skip_strings(length, what)
        else:
            self.take(length * width, what)
        return ArrayInfo(element, length, start, self.position)

    def _skip_strings(self, count: int, what: str) -> None:
        # A vocabulary has 150,000 of them: this loop is most of the time that opening a file takes. A length that
        # leads out of the file fails at the next string's, and the last one's afterwards.
        unpack, data, position = struct.Struct("<Q").unpack_from, self.data, self.position
        try:
            for _ in range(count):
                (length,) = unpack(data, position)
                position += 8 + length
        except (struct.error, OverflowError):
            position = self.size + 1
        if position > self.size:
            raise _Broken(f"a string in {what} goes beyond the file's end; the file was cut short or is damaged")
        self.position = position


def read_header(path: str | os.PathLike[str]) -> Header:
    """Returns the header of a GGUF file, every claim checked against the file.

    Raises:
        ModelFileError: missing, unreadable, not GGUF, cut short, or a header that cannot be true.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            magic = file.read(4)
            if magic != b"GGUF":
                raise ModelFileError(name, _not_gguf(magic))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                keys, tensors = _parse(_Cursor(data))
    except FileNotFoundError:
        raise ModelFileError(name, "There is no such file. Check the path.") from None
    except OSError as error:
        raise ModelFileError(name, f"The file cannot be read: {error.strerror or error}.") from error
    except _Broken as broken:
        sentence = str(broken)
        reason = f"{sentence[0].upper()}{sentence[1:]}. Download or convert it again."
        raise ModelFileError(name, reason) from None
    return Header(name, keys, tensors, size)


def _not_gguf(magic: bytes) -> str:
    if not magic:
        return "The file is empty. Download or convert it again."
    return f"This is no GGUF file (it starts with {magic!r}). Convert a checkpoint with: qsift convert FOLDER."


def _parse(cursor: _Cursor) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
    cursor.take(4, "the magic")
    version = cursor.scalar("<I", "the version")
    if version not in (2, 3):
        raise _Broken(f"the header says version {version}; versions 2 and 3 in little-endian order are known")
    n_tensors, n_keys = cursor.scalar("<Q", "the header"), cursor.scalar("<Q", "the header")
    if n_tensors > _MAX_TENSORS or n_keys > _MAX_KEYS:
        raise _Broken(f"the header claims {n_tensors} tensors and {n_keys} keys; it is damaged")
    keys: dict[str, Any] = {}
    for index in range(n_keys):
        key = cursor.text(f"the name of key {index}")
        if key in keys:
            raise _Broken(f"the key {key!r} stands twice in the header; it is damaged")
        keys[key] = cursor.value(cursor.scalar("<I", f"key {key!r}"), f"key {key!r}")
    entries = [_tensor_entry(cursor, index) for index in range(n_tensors)]
    alignment = keys.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise _Broken(f"the header claims the alignment {alignment!r}; it is damaged")
    return keys, _place_tensors(entries, -(-cursor.position // alignment) * alignment, alignment, cursor.size)


def _tensor_entry(cursor: _Cursor, index: int) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.text(f"the name of tensor {index}")
    n_dims = cursor.scalar("<I", f"tensor {name!r}")
    if not 1 <= n_dims <= 4:
        raise _Broken(f"tensor {name!r} claims {n_dims} dimensions; the header is damaged")
    shape = tuple(cursor.scalar("<Q", f"tensor {name!r}") for _ in range(n_dims))
    return name, shape, cursor.scalar("<I", f"tensor {name!r}"), cursor.scalar("<Q", f"tensor {name!r}")


def _place_tensors(
    entries: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int, size: int
) -> dict[str, TensorInfo]:
    """Returns the entries by name; llama.cpp lays tensors one behind the other, so anything else is damage."""
    tensors: dict[str, TensorInfo] = {}
    expected = 0
    for name, shape, type_id, offset in entries:
        if type_id not in GGML_TYPES:
            raise _Broken(f"tensor {name!r} has the type {type_id}, which llama.cpp cannot compute with")
        type_name, block, block_bytes = GGML_TYPES[type_id]
        if min(shape) < 1 or shape[0] % block:
            raise _Broken(f"tensor {name!r} claims the shape {shape} in {type_name}; the header is damaged")
        nbytes = prod(shape) // block * block_bytes
        if name in tensors or offset != expected:
            raise _Broken(
                f"tensor {name!r} claims to start at byte {offset}; {expected} was due; the header is damaged"
            )
        if start + offset + nbytes > size:
            raise _Broken(
                f"tensor {name!r} should end at byte {start + offset + nbytes}, "
                f"but the file has {size}; it was cut short or is damaged"
            )
        tensors[name] = TensorInfo(name, shape, type_name, start + offset, nbytes)
        expected = -(-(offset + nbytes) // alignment) * alignment
    return tensors
