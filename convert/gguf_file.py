"""Writing a GGUF: all of it or nothing. The only door to the gguf package.

This file does not know what keys mean or where weights come from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import gguf
import numpy as np

from .ggml import encode
from .parallel import in_order
from .quantize import Encoded, Plan
from qsift.errors import ConversionError

_ALIGNMENT = 32

Digests = dict[tuple[str, int], int]
"""CRC-32 of the encoded rows, by the tensor's name and the first row of the piece."""


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """Gives the path of a scratch file beside ``target``, which is gone after the block.

    What runs that were killed left behind goes first.
    """
    remove_leftovers(target)
    scratch = target.with_name(f"{target.name}.part-{os.getpid()}")
    try:
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Gives a scratch file that becomes ``target`` if the block succeeds and vanishes if it does not.

    The scratch file lies beside the target, so the last step is one rename: whoever looks sees no
    file or a whole one.
    """
    with scratch_beside(target) as scratch:
        yield scratch
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(scratch, target)


def remove_leftovers(target: Path) -> None:
    """Removes the scratch files of ``target`` whose process is gone."""
    prefix = f"{target.name}.part-"
    for path in target.parent.iterdir() if target.parent.is_dir() else ():
        owner = path.name.removeprefix(prefix)
        if path.name.startswith(prefix) and owner.isdigit() and not _is_running(int(owner)):
            with suppress(OSError):
                path.unlink()


def _is_running(process: int) -> bool:
    if process == os.getpid():
        return False  # a run that was killed in a container: its process numbers start again
    if os.name != "posix":
        return True  # signal 0 would end the process there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def write_gguf(path: Path, keys: Mapping[str, Any], plan: Plan, advance: Callable[[int], object]) -> Digests:
    """Writes a GGUF with these keys and tensors; returns a digest of every piece of them.

    Args:
        path: the file; it is overwritten.
        keys: metadata in order; values are str, bool, int, float, or lists of str or int.
        plan: the tensors in order.
        advance: called with the number of bytes whenever some were written.

    Raises:
        ConversionError: the disk is full or fails.
    """
    writer = gguf.GGUFWriter(path, keys["general.architecture"])
    for key, value in keys.items():
        if key != "general.architecture":  # the writer adds it
            _add_key(writer, key, value)
    for item in plan:
        kind = gguf.GGMLQuantizationType[item.type_name]
        writer.add_tensor_info(item.name, item.tensor.shape, np.dtype(np.float32), item.nbytes, kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        return _write_weights(writer.fout[0], plan, advance)
    except OSError as error:
        raise ConversionError([f"{path.name} cannot be written: {error.strerror or error}."]) from error
    finally:
        writer.close()


def write_arrays(path: Path, keys: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a GGUF that is no model: these keys and float32 arrays.

    Raises:
        ConversionError: the disk is full or fails.
    """
    writer = gguf.GGUFWriter(path, "")
    for key, value in keys.items():
        _add_key(writer, key, value)
    for name, values in arrays.items():
        writer.add_tensor(name, values)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except OSError as error:
        raise ConversionError([f"{path.name} cannot be written: {error.strerror or error}."]) from error
    finally:
        writer.close()


def _write_weights(file: BinaryIO, plan: Plan, advance: Callable[[int], object]) -> Digests:
    pieces = [(item, start, stop) for item in plan for start, stop in item.chunks()]
    digests: Digests = {}
    for (item, start, _), data in zip(pieces, in_order(_encode, pieces), strict=True):
        if start == 0:
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
        digests[item.name, start] = crc32(data.data)
        file.write(data.data)
        advance(data.nbytes)
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
    return digests


def _encode(piece: tuple[Encoded, int, int]) -> np.ndarray:
    item, start, stop = piece
    return encode(item.tensor.rows.read(start, stop), item.type_name, item.row_bytes, item.importance)


def _add_key(writer: Any, key: str, value: Any) -> None:
    kinds = {
        str: writer.add_string,
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        list: writer.add_array,
    }
    kinds[type(value)](key, value)


def decode(data: np.ndarray, type_name: str) -> np.ndarray:
    """Returns encoded rows, uint8 (rows, bytes), as float32 (rows, columns).

    This is the gguf package's own arithmetic and shares no code with what encodes.
    """
    return np.asarray(gguf.dequantize(data, gguf.GGMLQuantizationType[type_name]), np.float32)
