"""GGUF files as other converters leave them: ours, with keys changed or left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def rewritten(path: Path, target: Path, changes: Mapping[str, Any], *, without: str = "") -> Path:
    """Writes a GGUF with other keys and returns it.

    Args:
        path: the file to start from.
        target: where it goes.
        changes: values by key; None leaves the key out.
        without: a tensor to leave out.
    """
    reader, writer = gguf.GGUFReader(path), gguf.GGUFWriter(target, "qwen3")
    for field in reader.fields.values():
        if field.name not in changes and not field.name.startswith(("GGUF.", "general.architecture")):
            _add(writer, field.name, field.contents(), list(field.types))
    for key, value in changes.items():
        if value is not None:
            _add(writer, key, value, list(reader.fields[key].types) if key in reader.fields else [_type_of(value)])
    for tensor in reader.tensors:
        if tensor.name != without:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return target


def _add(writer: gguf.GGUFWriter, key: str, value: Any, types: list[gguf.GGUFValueType]) -> None:
    writer.add_key_value(key, value, types[0], types[-1] if len(types) > 1 else None)


def _type_of(value: Any) -> gguf.GGUFValueType:
    kinds = {bool: gguf.GGUFValueType.BOOL, int: gguf.GGUFValueType.UINT32, float: gguf.GGUFValueType.FLOAT32}
    return kinds[type(value)]
