"""An importance matrix: for each column of a weight, how large the numbers are that it is multiplied with.

Read from and written to llama.cpp's own file, a GGUF of the type "imatrix". This file does not know how the numbers
were found. Source of the layout and of the keys: llama.cpp's common/imatrix-loader.cpp and tools/quantize.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checkpoint import listed
from .tensors import Tensor
from qsift.errors import ConversionError, ModelFileError
from qsift.models import Header, read_header

LEAST_TOKENS = 1024
"""Fewer say too little: two of the chunks that llama.cpp counts in, as its own tool demands."""

CHUNK_TOKENS = 512

_SUMS, _COUNTS = ".in_sum2", ".counts"
_LEAST_SHARE = 1e-6
_AGAIN = "Make it again, with --imatrix auto."
_OLDER = (
    "llama.cpp's older format is not read; its own tool writes it anew: "
    "llama-imatrix --in-file FILE.dat --output-format gguf -o FILE.gguf."
)


@dataclass(frozen=True)
class Imatrix:
    """Sums of squares over tokens, as llama.cpp keeps them.

    Attributes:
        name: of its file.
        datasets: what the texts are called.
        sums: by weight, float32 (columns,), the squares of what it was multiplied with, summed.
        counts: by weight, the number of tokens that were summed over.
        n_chunks: the number of tokens, in chunks of ``chunk_tokens``.
        chunk_tokens: see ``n_chunks``.
    """

    name: str
    datasets: tuple[str, ...]
    sums: Mapping[str, NDArray[np.float32]]
    counts: Mapping[str, int]
    n_chunks: int
    chunk_tokens: int = CHUNK_TOKENS

    def importance(self, weight: str) -> NDArray[np.float32] | None:
        """Returns the mean squares of a weight's inputs, (columns,); None where nothing is known of it.

        A column that was never used counts a millionth of the others: without any, ggml would lose its weights.
        """
        if weight not in self.sums:
            return None
        means = self.sums[weight] / np.float32(self.counts[weight])
        floor: NDArray[np.float32] = np.maximum(means, means.mean() * np.float32(_LEAST_SHARE))
        return floor

    def keys(self) -> dict[str, Any]:
        """Returns what llama.cpp's quantize says of it in a model's GGUF."""
        keys: dict[str, Any] = {"quantize.imatrix.file": self.name}
        if self.datasets:
            keys["quantize.imatrix.dataset"] = self.datasets[0]
        keys["quantize.imatrix.entries_count"] = len(self.sums)
        keys["quantize.imatrix.chunks_count"] = self.n_chunks
        return keys

    def file_keys(self) -> dict[str, Any]:
        """Returns the keys of its own file."""
        return {
            "general.type": "imatrix",
            "imatrix.datasets": list(self.datasets),
            "imatrix.chunk_count": self.n_chunks,
            "imatrix.chunk_size": self.chunk_tokens,
        }

    def file_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Returns the tensors of its own file, in order."""
        arrays: dict[str, NDArray[np.float32]] = {}
        for name in sorted(self.sums):
            arrays[name + _SUMS] = self.sums[name]
            arrays[name + _COUNTS] = np.array([self.counts[name]], np.float32)
        return arrays


def read_imatrix(path: Path) -> Imatrix:
    """Returns the importance matrix in a file.

    Raises:
        ConversionError: missing, damaged, llama.cpp's older format, or numbers that cannot be; with every problem.
    """
    try:
        header = read_header(path)
    except ModelFileError as error:
        reason = _OLDER if path.suffix == ".dat" and path.is_file() else error.reason
        raise ConversionError([f"{str(path)!r} is no importance matrix. {reason}"]) from error
    if header.keys.get("general.type") != "imatrix":
        kind = header.keys.get("general.type")
        raise ConversionError([f"{path.name} is a GGUF of the type {kind!r}; an importance matrix has 'imatrix'."])
    mapped = np.memmap(path, np.uint8, "r")
    arrays: dict[str, NDArray[np.float32]] = {}
    for entry in header.tensors.values():
        if entry.type_name == "F32":
            arrays[entry.name] = np.array(mapped[entry.offset : entry.offset + entry.nbytes]).view(np.float32)
    sums = {name.removesuffix(_SUMS): values for name, values in arrays.items() if name.endswith(_SUMS)}
    counts = {name.removesuffix(_COUNTS): values for name, values in arrays.items() if name.endswith(_COUNTS)}
    problems = _problems(path.name, header, sums, counts)
    if problems:
        raise ConversionError(problems)
    datasets = header.strings("imatrix.datasets") if header.keys.get("imatrix.datasets") else []
    return Imatrix(
        name=path.name,
        datasets=tuple(text.decode("utf-8", "replace") for text in datasets),
        sums=sums,
        counts={name: round(float(values[0])) for name, values in counts.items()},
        n_chunks=header.keys["imatrix.chunk_count"],
        chunk_tokens=header.keys["imatrix.chunk_size"],
    )


def _problems(
    file: str, header: Header, sums: Mapping[str, NDArray[np.float32]], counts: Mapping[str, NDArray[np.float32]]
) -> list[str]:
    """Returns a sentence for each reason why the numbers of a file cannot be used with any model."""
    wanted = ("imatrix.chunk_count", "imatrix.chunk_size")
    problems = [f"{file} lacks the number {key}. {_AGAIN}" for key in wanted if type(header.keys.get(key)) is not int]
    if header.element_type("imatrix.datasets") not in (None, 8):
        problems.append(f"{file} has imatrix.datasets that are no texts. {_AGAIN}")
    lonely = [name for name in (*sums, *counts) if name not in sums or name not in counts]
    if lonely or not sums:
        found = f"{listed(lonely)}: there are no pairs" if lonely else "there is no pair"
        problems.append(f"{file}: {found} of F32 tensors NAME{_SUMS} and NAME{_COUNTS}. {_AGAIN}")
    finite = [name for name, values in sums.items() if not np.isfinite(values).all() or values.min() < 0]
    if finite:
        problems.append(f"{file}: {listed(finite)} holds NaN, Inf or negative numbers, which no sum of squares is.")
    silent = [name for name, values in sums.items() if name not in finite and not values.any()]
    if silent:
        problems.append(f"{file}: {listed(silent)} holds nothing but zeros. The texts never reached it. {_AGAIN}")
    few = [name for name in sums if name in counts and not _fewest(counts[name]) >= LEAST_TOKENS]
    if few:
        least = min(_fewest(counts[name]) for name in few)
        problems.append(
            f"{file}: {listed(few)} was measured over {least:.0f} tokens; at least {LEAST_TOKENS} are needed. {_AGAIN}"
        )
    return problems


def _fewest(counts: NDArray[np.float32]) -> float:
    return float(np.nan_to_num(counts, nan=0.0).min())


def fit_problems(imatrix: Imatrix, tensors: Iterable[Tensor]) -> list[str]:
    """Returns a sentence for each way in which a matrix belongs to another model than ``tensors``."""
    due = {t.name: t.shape[-1] for t in tensors if t.name.startswith("blk.") and len(t.shape) == 2}
    found = {name: len(values) for name, values in imatrix.sums.items() if name.startswith("blk.")}
    problems = []
    for names, verb in (([n for n in due if n not in found], "lacks"), ([n for n in found if n not in due], "has")):
        if names:
            problems.append(f"{imatrix.name} {verb} {listed(names)}")
    wide = [name for name in due if name in found and found[name] != due[name]]
    if wide:
        problems.append(f"{imatrix.name} has {found[wide[0]]} columns for {listed(wide)}, where {due[wide[0]]} are due")
    return [f"{problem}. It was made from another model than this checkpoint. {_AGAIN}" for problem in problems]
