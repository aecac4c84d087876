"""Importance matrices: measured as torch measures them, used as llama.cpp uses them, and what is refused."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from checkpoints import K_QUANT, Shape, write_checkpoint
from independent import gguf_bytes, gguf_keys
from test_weights import BLOCK_NAMES
from texts import SENTENCES
from torch.overrides import TorchFunctionMode

from qsift import Embedder, Reranker
from qsift.bench.reference import Reference
from qsift.convert import QUANTS, convert
from qsift.convert.calibration import read_texts
from qsift.convert.gguf_file import write_gguf
from qsift.convert.imatrix import read_imatrix
from qsift.convert.quantize import make_plan, with_importance
from qsift.convert.source import Source
from qsift.convert.verify import verify
from qsift.errors import ConversionError
from qsift.models.quants import SCHEMES

PARAGRAPHS = [f"{text[:30].strip()}?\n{text}" for text in (" ".join(text.split()) for text in SENTENCES[:12])]


class Inputs(TorchFunctionMode):
    """Sums the squares of what goes into torch's linear, by the name of the weight."""

    def __init__(self, names: dict[int, str], sums: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.names, self.sums = names, sums

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear:
            x, name = args[0], self.names[id(args[1])]
            self.sums[name] = self.sums.get(name, torch.zeros(())) + x.double().square().sum(0)
        return func(*args, **(kwargs or {}))


class Hooked(Reference):
    """Sums the squares of what each weight of the blocks is multiplied with."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sums: dict[str, torch.Tensor] = {}
        self.count = 0

    def _weight(self, name: str) -> torch.Tensor:
        if name.startswith("layers."):
            self._layer = name.split(".")[1]
        return super()._weight(name)

    def _block(self, block: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        names = {id(weight): f"layers.{self._layer}.{name}".removesuffix(".weight") for name, weight in block.items()}
        with Inputs(names, self.sums):
            return super()._block(block, x)

    def read(self, sequences: list[list[int]]) -> None:
        """Runs every token of these through all blocks."""
        self.count += sum(map(len, sequences))
        self.embed(sequences)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(PARAGRAPHS), "utf-8")
    return path


def matrix_of(checkpoint: Path, folder: Path) -> Path:
    """Writes a matrix for a checkpoint, of random numbers, as llama.cpp's own tool lays it out."""
    draw = np.random.default_rng(5)
    path = folder / "random.gguf"
    arrays = {}
    for tensor in Source.read(checkpoint, None).tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2:
            arrays[f"{tensor.name}.in_sum2"] = np.exp(3 * draw.standard_normal(tensor.shape[1])).astype(np.float32)
            arrays[f"{tensor.name}.counts"] = np.array([2048], np.float32)
    return write_matrix(path, arrays)


def write_matrix(path: Path, arrays: dict[str, np.ndarray], **changed: Any) -> Path:
    """Writes a file as llama.cpp's own tool does, with some keys changed."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_string("general.type", changed.get("type", "imatrix"))
    writer.add_array("imatrix.datasets", ["wiki.txt"])
    if "chunk_count" not in changed:
        writer.add_uint32("imatrix.chunk_count", 4)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, values in arrays.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("task", ["embed", "rerank"])
def test_the_matrix_is_what_torch_measures(
    checkpoint: Callable[..., Path], gguf: Callable[..., Path], texts: Path, tmp_path: Path, task: str
) -> None:
    out = tmp_path / "out"
    (path,) = convert(checkpoint(task), out, quants="q4_0", imatrix=texts)
    matrix = read_imatrix(out / f"{task}.imatrix.gguf")
    assert sorted(file.name for file in out.iterdir()) == sorted([path.name, matrix.name]), (
        "the model that was run is gone"
    )
    reference = Hooked(checkpoint(task))
    parts = [paragraph.split("\n") for paragraph in PARAGRAPHS]
    if task == "embed":
        with Embedder.load(gguf(task)) as embedder:
            reference.read([embedder.token_ids(query, prompt_name="query").tolist() for query, _ in parts])
            reference.read([embedder.token_ids(document).tolist() for _, document in parts])
    else:
        with Reranker.load(gguf(task)) as reranker:
            judged = [parts[(i + i % 2) % len(parts)][1] for i in range(len(parts))]
            reference.read(
                [reranker.token_ids(part[0], text).tolist() for part, text in zip(parts, judged, strict=True)]
            )
    assert set(matrix.counts.values()) == {reference.count}
    assert len(matrix.sums) == len(reference.sums)
    for name, sums in matrix.sums.items():
        _, layer, kind, _ = name.split(".")
        expected = reference.sums[f"layers.{layer}.{BLOCK_NAMES[kind]}"].numpy()
        np.testing.assert_allclose(sums, expected, rtol=0.025, err_msg=name)  # BF16 rounds the inputs: 0.0103


def test_types_and_bytes_are_those_that_llama_cpp_makes_with_the_same_matrix(tmp_path: Path) -> None:
    from llama_cpp import llama_cpp as lib

    checkpoint = write_checkpoint(tmp_path / "m", shape=Shape(9, 256, 256, 8, 2, 32))
    file = matrix_of(checkpoint, tmp_path)
    (f32,) = convert(checkpoint, tmp_path, quants="f32")
    matrix = read_imatrix(file)
    values = {name.encode(): matrix.importance(name) for name in matrix.sums}
    entries = [
        lib.llama_model_imatrix_data(name, v.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), len(v))
        for name, v in values.items()
    ]
    table = (lib.llama_model_imatrix_data * (len(entries) + 1))(*entries)
    small = [quant for quant in QUANTS if quant not in ("f32", "f16", "bf16")]
    for quant, path in zip(small, convert(checkpoint, tmp_path, quants=small, imatrix_file=file), strict=True):
        other = tmp_path / "llama-cpp.gguf"
        params = lib.llama_model_quantize_default_params()
        params.ftype, params.nthread, params.imatrix = SCHEMES[quant].file_type, 2, table
        assert lib.llama_model_quantize(os.fsencode(f32), os.fsencode(other), params) == 0
        ours, theirs = gguf_bytes(path), gguf_bytes(other)
        assert {name: kind for name, (kind, _) in ours.items()} == {name: kind for name, (kind, _) in theirs.items()}
        assert not [name for name in ours if ours[name] != theirs[name]], quant


def test_the_keys_are_those_of_llama_cpp(checkpoint: Callable[..., Path], texts: Path, tmp_path: Path) -> None:
    (path,) = convert(checkpoint("embed"), tmp_path, quants="q4_0", imatrix=texts)
    keys = gguf_keys(path)
    found = {key.removeprefix("quantize.imatrix."): keys[key] for key in keys if key.startswith("quantize.imatrix.")}
    n_chunks = found.pop("chunks_count")
    assert n_chunks >= 2
    name = "embed.imatrix.gguf"
    assert found == {"file": name, "dataset": "texts.txt", "entries_count": 21}
    assert gguf_keys(tmp_path / name) == {
        "general.type": "imatrix",
        "imatrix.datasets": ["texts.txt"],
        "imatrix.chunk_count": n_chunks,
        "imatrix.chunk_size": 512,
    }
    (again,) = convert(checkpoint("embed"), tmp_path / "b", quants="q4_0", imatrix_file=tmp_path / name)
    assert gguf_bytes(again) == gguf_bytes(path), "a matrix that is read is the one that was measured"


def test_the_texts_of_the_package_are_many_and_in_many_scripts() -> None:
    passages = read_texts(["auto"]).passages
    letters = "".join(passage.document for passage in passages)
    assert len(passages) >= 90
    assert all(
        any(first <= letter <= last for letter in letters)
        for first, last in ("az", "一龯", "ぁん", "가힣", "ءي", "अह", "ая")
    )


def test_a_weight_that_counts_is_kept_at_the_cost_of_others(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", shape=Shape(2, 256, 256, 4, 2, 64))
    file, small = matrix_of(checkpoint, tmp_path), ["q4_k_m", "iq4_nl", "q4_0", "iq4_xs", "q3_k_m", "iq3_m"]
    matrix, source = read_imatrix(file), Source.read(checkpoint, None)
    plain, weighted = (
        convert(checkpoint, tmp_path / n, quants=small, **kw) for n, kw in (("a", {}), ("b", {"imatrix_file": file}))
    )
    for quant, *paths in zip(small, plain, weighted, strict=True):
        for tensor in source.tensors:
            if tensor.name.startswith("blk.1.attn_q."):
                errors = [
                    loss(path, tensor.name, tensor.rows.read(0, 999), matrix.importance(tensor.name)) for path in paths
                ]
                assert errors[1] < errors[0], quant


def loss(path: Path, name: str, original: np.ndarray, importance: np.ndarray | None) -> float:
    """Returns the squared error of a tensor in a file, each column as it counts."""
    (tensor,) = (tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == name)
    return float((importance * (gguf.dequantize(tensor.data, tensor.tensor_type) - original) ** 2).sum())


def test_verify_notices_one_damaged_byte_in_a_weighted_file(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", shape=K_QUANT)
    file = matrix_of(checkpoint, tmp_path)
    (path,) = convert(checkpoint, tmp_path, quants="q4_k_m", imatrix_file=file)
    source = Source.read(checkpoint, None)
    plan = make_plan(source.tensors, source.config, "q4_k_m", weighted=True)
    plan = with_importance(plan, read_imatrix(file).importance)
    digests = write_gguf(tmp_path / "again", {"general.architecture": "qwen3"}, plan, lambda _: None)
    verify(path, plan, "embed", digests, lambda _: None)
    (start,) = (t.data_offset for t in gguf.GGUFReader(path).tensors if t.name == "blk.1.ffn_up.weight")
    damaged = bytearray(path.read_bytes())
    damaged[start + 1000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ConversionError, match=r"blk\.1\.ffn_up"):
        verify(path, plan, "embed", digests, lambda _: None)


def change(name: str, values: Any) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.update({name: np.array(values, np.float32)})


FIRST = "blk.0.attn_q.weight"
UNFIT: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], dict[str, Any], str]] = {
    "another width": (change(f"{FIRST}.in_sum2", [1.0] * 32), {}, "32 columns.*64 are due.*another model"),
    "fewer blocks": (
        lambda a: [a.pop(name) for name in [*a] if name.startswith("blk.2.")],
        {},
        "lacks blk.2.*another model",
    ),
    "more blocks": (
        lambda a: a.update({name.replace("blk.2.", "blk.3."): values for name, values in [*a.items()]}),
        {},
        "has blk.3.*another model",
    ),
    "nan": (change(f"{FIRST}.in_sum2", [np.nan] * 64), {}, "NaN, Inf or negative"),
    "infinite": (change(f"{FIRST}.in_sum2", [np.inf] * 64), {}, "NaN, Inf or negative"),
    "negative": (change(f"{FIRST}.in_sum2", [-1.0] * 64), {}, "NaN, Inf or negative"),
    "silent": (change(f"{FIRST}.in_sum2", [0.0] * 64), {}, "nothing but zeros"),
    "no tokens": (change(f"{FIRST}.counts", [0]), {}, "over 0 tokens; at least 1024"),
    "few tokens": (change(f"{FIRST}.counts", [512]), {}, "over 512 tokens; at least 1024"),
    "no counts": (lambda a: a.pop(f"{FIRST}.counts"), {}, "no pairs of F32 tensors"),
    "nothing in it": (lambda a: a.clear(), {}, "no pair of F32 tensors"),
    "a model": (lambda a: None, {"type": "model"}, "of the type 'model'"),
    "no chunks": (lambda a: None, {"chunk_count": None}, "lacks the number imatrix.chunk_count"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_matrix_that_cannot_be_used_is_refused(checkpoint: Callable[..., Path], tmp_path: Path, name: str) -> None:
    damage, keys, sentence = UNFIT[name]
    good = gguf.GGUFReader(matrix_of(checkpoint("embed"), tmp_path)).tensors
    arrays = {tensor.name: np.array(tensor.data) for tensor in good}
    damage(arrays)
    file = write_matrix(tmp_path / "bad.gguf", arrays, **keys)
    with pytest.raises(ConversionError, match=sentence):
        convert(checkpoint("embed"), tmp_path / "out", quants="q4_0", imatrix_file=file)
    assert not (tmp_path / "out").exists()


FILES: dict[str, tuple[str, bytes | None, str]] = {
    "missing": ("none.gguf", None, "no such file"),
    "text": ("a.gguf", b"some text", "is no importance matrix. This is no GGUF"),
    "empty": ("a.gguf", b"", "is no importance matrix. The file is empty"),
    "cut short": ("a.gguf", b"GGUF\x03\0\0\0", "The file ends inside"),
    "llama.cpp's older format": ("a.dat", b"\x15\0\0\0", "older format is not read.*llama-imatrix"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_matrix_is_refused(checkpoint: Callable[..., Path], tmp_path: Path, name: str) -> None:
    file, content, sentence = FILES[name]
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ConversionError, match=sentence):
        convert(checkpoint("embed"), tmp_path / "out", imatrix_file=tmp_path / file)
    assert not (tmp_path / "out").exists()


TEXTS: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "cannot be read: No such file"),
    "empty": (b" \n\n \t\n", "is empty"),
    "binary": (b"GGUF\x03\0\0\0\0", "is binary, or not in UTF-8"),
    "latin-1": ("Käse".encode("latin-1"), "is binary, or not in UTF-8"),
    "too few": (b"one line\n\nanother", "the texts have .* tokens .* at least 1024"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_say_too_little_are_refused(checkpoint: Callable[..., Path], tmp_path: Path, name: str) -> None:
    content, sentence = TEXTS[name]
    if content is not None:
        (tmp_path / "texts.txt").write_bytes(content)
    with pytest.raises(ConversionError, match=sentence):
        convert(checkpoint("embed"), tmp_path / "out", imatrix=[tmp_path / "texts.txt"])
    assert not list((tmp_path / "out").glob("*")), "nothing is left"


def test_a_matrix_that_exists_is_replaced_only_when_told(
    checkpoint: Callable[..., Path], texts: Path, tmp_path: Path
) -> None:
    place = tmp_path / "embed.imatrix.gguf"
    place.write_text("precious")
    with pytest.raises(ConversionError, match=r"embed\.imatrix\.gguf' exists"):
        convert(checkpoint("embed"), tmp_path, imatrix=texts)
    assert place.read_text() == "precious"


def qsift_convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    command = [sys.executable, "-m", "qsift", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_texts_and_a_matrix_exclude_each_other(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pass one"):
        convert(checkpoint("embed"), tmp_path / "out", imatrix="auto", imatrix_file="m.gguf")
    result = qsift_convert(checkpoint("embed"), tmp_path / "out", "--imatrix", "auto", "--imatrix-file", "m")
    assert result.returncode == 2
    assert "Pass one of them" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_takes_several_texts(checkpoint: Callable[..., Path], texts: Path, tmp_path: Path) -> None:
    other = tmp_path / "more.txt"
    other.write_text("Only one line.\n", "utf-8")
    out = tmp_path / "out"
    result = qsift_convert(checkpoint("embed"), out, "--quant", "q4_0", "--imatrix", texts, "--imatrix", other)
    assert result.returncode == 0, result.stderr
    assert read_imatrix(tmp_path / "out" / "embed.imatrix.gguf").datasets == ("texts.txt", "more.txt")
