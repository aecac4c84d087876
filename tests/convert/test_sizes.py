"""The sizes that are computed from a shape are those of the files that a conversion makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import CHECKPOINTS, TINY, Shape, write_checkpoint

from qsift.convert import QUANTS, convert
from qsift.models.gguf_header import read_header
from qsift.models.quants import SCHEMES
from qsift.models.sizes import TOKENIZER_JSON, checkpoint_bytes, gguf_bytes, weight_bytes
from qsift.models.specs import SPECS, ModelSpec, Task

# Every rule of the mixes has a say in one of these: eighths and thirds of the layers, shared values, rows that
# are no multiple of a block.
SHAPES = (TINY, Shape(17, 256, 512, 8, 2, 64), Shape(9, 256, 256, 2, 1, 128), Shape(2, 80, 48, 2, 1, 40))


def spec_of(shape: Shape, task: Task, *, vocab_size: int, tied: bool = True) -> ModelSpec:
    sizes = {name: value for name, value in vars(shape).items() if name != "max_position_embeddings"}
    return ModelSpec("random", None, task, **sizes, vocab_size=vocab_size, tie_word_embeddings=tied, context=32_768)


@pytest.mark.parametrize("task", ["embed", "rerank"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_are_counted_to_the_byte(tmp_path: Path, shape: Shape, tied: bool, task: Task) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", shape=shape, task=task, tied=tied)
    for quant, path in zip(QUANTS, convert(checkpoint, tmp_path, quants=QUANTS), strict=True):
        header = read_header(path)
        start = min(tensor.offset for tensor in header.tensors.values())
        spec = spec_of(shape, task, vocab_size=header.tensors["token_embd.weight"].shape[-1], tied=tied)
        assert weight_bytes(spec, quant, task) == path.stat().st_size - start, quant


@pytest.mark.parametrize("name", ["embed-real-vocab", "rerank-real-vocab"])
def test_a_file_with_the_real_vocabulary_is_as_large_as_computed(gguf: Callable[..., Path], name: str) -> None:
    made = CHECKPOINTS[name]
    spec = spec_of(made.shape, made.task, vocab_size=151_669)
    assert gguf(name).stat().st_size == pytest.approx(gguf_bytes(spec, "f16"), abs=1000)


@pytest.mark.parametrize("task", ["embed", "rerank"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_checkpoint_weighs_what_was_computed(tmp_path: Path, tied: bool, task: Task) -> None:
    shape = Shape(4, 512, 1024, 8, 2, 64)
    checkpoint = write_checkpoint(
        tmp_path / "m", vocab="real", shape=shape, task=task, tied=tied, head=task == "rerank" and not tied
    )
    weights = (checkpoint / "model.safetensors").stat().st_size
    spec = spec_of(shape, task, vocab_size=151_669, tied=tied)
    assert checkpoint_bytes(spec) - TOKENIZER_JSON == pytest.approx(weights, rel=0.001)


def test_the_released_models_have_the_parameters_that_their_pages_say() -> None:
    pages = {
        "qwen3-embedding-0.6b": 595_776_512,
        "qwen3-embedding-4b": 4_021_774_336,
        "qwen3-embedding-8b": 7_567_295_488,
        "qwen3-reranker-8b": 8_188_548_096,
    }
    for name, count in pages.items():
        assert (checkpoint_bytes(SPECS[name]) - TOKENIZER_JSON) // 2 == count


def test_an_earlier_checkpoint_with_fewer_tokens_is_smaller() -> None:
    spec = SPECS["qwen3-embedding-4b"]
    larger = replace(spec, vocab_size=spec.vocab_size + 4)
    rows = 4 * spec.hidden_size // 32 * 34
    assert gguf_bytes(larger, "q8_0") - gguf_bytes(spec, "q8_0") == pytest.approx(rows + 94, abs=64)


def test_a_smaller_quant_is_a_smaller_file() -> None:
    for spec in SPECS.values():
        if spec.repo:
            sizes = [gguf_bytes(spec, quant) for quant in SCHEMES if quant != "bf16"]
            assert sizes == sorted(sizes, reverse=True), spec.name
