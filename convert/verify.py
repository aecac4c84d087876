"""Reopens a finished file and compares it with the checkpoint, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qsift.errors import ConversionError
from qsift.gguf_header import read_header
from qsift.model_file import ModelFile

from .gguf_file import CHUNK, dequantize
from .quantize import encoded_size
from .tensors import PlannedTensor

# Largest relative error (rms of the difference over rms of the tensor) that each type may have.
# Measured on normal and on heavy-tailed random weights, then doubled; two tensors that were
# mistaken for each other differ by about 1.4.
BOUNDS = {
    "F32": 0.0,
    "F16": 0.0006,
    "BF16": 0.004,
    "Q8_0": 0.02,
    "Q6_K": 0.06,
    "Q5_K": 0.12,
    "Q5_1": 0.12,
    "Q5_0": 0.12,
    "Q4_K": 0.2,
    "Q4_0": 0.24,
    "IQ4_XS": 0.2,
    "IQ4_NL": 0.2,
}


def verify(path: Path, plan: list[PlannedTensor], quant: str) -> None:
    """Checks that a file opens as qsift opens it and holds what was planned.

    Raises:
        ConversionError: a tensor is missing, has another type or shape, or is further from the
            checkpoint than its type allows; names each.
        ModelFileError: the file as a whole is not usable.
    """
    facts = ModelFile.open(path)
    header = read_header(path)
    problems = []
    if facts.quant != quant:
        problems.append(f"The file says quant {facts.quant!r} instead of {quant!r}.")
    for planned in plan:
        written = header.tensors.get(planned.name)
        if written is None or (written.shape, written.type_name) != (planned.shape[::-1], planned.type_name):
            problems.append(f"{planned.name} was not written as {planned.type_name} {planned.shape}.")
            continue
        error = _relative_error(path, planned, written.offset)
        if not error <= BOUNDS[planned.type_name]:
            limit = BOUNDS[planned.type_name]
            problems.append(f"{planned.name} is off by {error:.4f} in {planned.type_name}; the bound is {limit}.")
    if problems:
        raise ConversionError(problems)


def _relative_error(path: Path, planned: PlannedTensor, offset: int) -> float:
    difference = size = 0.0
    with path.open("rb") as file:
        file.seek(offset)
        for rows in planned.chunks(CHUNK):
            data = np.fromfile(file, np.uint8, encoded_size(planned.type_name, rows.size)).reshape(len(rows), -1)
            read = dequantize(data, planned.type_name)
            difference += float(np.square(read - rows, dtype=np.float64).sum())
            size += float(np.square(rows, dtype=np.float64).sum())
    return float(np.sqrt(difference / size)) if size else float(np.sqrt(difference))
