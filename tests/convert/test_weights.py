"""Every weight of every file, against an independent reading and against llama.cpp's own quantiser."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from checkpoints import K_QUANT, TINY, Shape, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from independent import change_json, change_tensors, checkpoint_arrays, gguf_arrays, gguf_bytes

from qsift.convert import QUANTS, convert
from qsift.convert.ggml import encode
from qsift.convert.gguf_file import decode, write_gguf
from qsift.convert.source import Source
from qsift.convert.verify import BOUNDS, verify, within_bound
from qsift.errors import ConversionError
from qsift.models.quants import BLOCKS, SCHEMES

BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def original_name(name: str) -> str:
    if name == "token_embd.weight":
        return "embed_tokens.weight"
    if name == "output_norm.weight":
        return "norm.weight"
    _, layer, kind, _ = name.split(".")
    return f"layers.{layer}.{BLOCK_NAMES[kind]}.weight"


@pytest.mark.parametrize("task", ["embed", "rerank"])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"prefix": True},
        {"shards": 3},
        {"prefix": True, "shards": 2, "tied": False},
        {"head": True, "tied": False},
        {"dtype": "f16"},
        {"dtype": "f32", "rope_parameters": True},
        {"vocab_padding": 7},
    ],
    ids=str,
)
def test_an_f32_file_holds_exactly_the_checkpoint(tmp_path: Path, task: str, layout: dict) -> None:
    checkpoint = write_checkpoint(tmp_path / "model-x", task=task, **layout)
    (path,) = convert(checkpoint, tmp_path, quants="f32")
    before, after = checkpoint_arrays(checkpoint), gguf_arrays(path)
    head = after.pop("cls.output.weight", None)
    assert {original_name(name) for name in after} == before.keys() - {"lm_head.weight"}
    for name, (kind, values) in after.items():
        assert kind == "F32"
        np.testing.assert_array_equal(values, before[original_name(name)], err_msg=name)
    assert (head is not None) == (task == "rerank")


def test_the_embedding_8b_layout_is_untied_and_has_no_head_at_all(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", tied=False, head=False)
    (path,) = convert(checkpoint, tmp_path, quants="f32")
    assert not {"output.weight", "cls.output.weight"} & gguf_arrays(path).keys()


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_rerank_head_is_the_rows_of_yes_and_no_in_f32_in_every_quant(
    tmp_path: Path, quant: str, tied: bool
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", task="rerank", shape=K_QUANT, tied=tied)
    (path,) = convert(checkpoint, tmp_path, quants=quant)
    ids = json.loads((checkpoint / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    matrix = checkpoint_arrays(checkpoint)["embed_tokens.weight" if tied else "lm_head.weight"]
    kind, rows = gguf_arrays(path)["cls.output.weight"]
    assert kind == "F32"
    np.testing.assert_array_equal(rows, matrix[[ids["yes"], ids["no"]]])


@pytest.mark.parametrize(
    "shape",
    [
        Shape(3, 256, 512, 4, 2, 64),
        Shape(9, 256, 256, 8, 2, 32),
        Shape(17, 256, 256, 4, 1, 64),
        TINY,
        Shape(2, 80, 48, 2, 1, 40),
    ],
    ids=str,
)
def test_types_and_bytes_are_those_that_llama_cpp_makes_of_the_f32_file(tmp_path: Path, shape: Shape) -> None:
    from llama_cpp import llama_cpp as lib

    checkpoint = write_checkpoint(tmp_path / "m", shape=shape)
    f32, *paths = convert(checkpoint, tmp_path, quants=QUANTS)
    for quant, path in zip(QUANTS[1:], paths, strict=True):
        other = tmp_path / "llama-cpp.gguf"
        params = lib.llama_model_quantize_default_params()
        params.ftype, params.nthread = SCHEMES[quant].file_type, 2
        assert lib.llama_model_quantize(os.fsencode(f32), os.fsencode(other), params) == 0
        ours, theirs = gguf_bytes(path), gguf_bytes(other)
        assert {name: kind for name, (kind, _) in ours.items()} == {name: kind for name, (kind, _) in theirs.items()}
        different = [name for name in ours if ours[name] != theirs[name]]
        assert not different, f"{quant}: {different}"


SHARES = st.floats(-4, 4, width=32)


@pytest.mark.parametrize("type_name", BOUNDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_ggml_encodes_lies_within_the_bound_of_its_type(type_name: str, data: st.DataObject) -> None:
    width, nbytes = BLOCKS[type_name]
    seed = data.draw(st.integers(0, 2**32 - 1))
    tail, spread, shift = (data.draw(st.floats(1, 6)), data.draw(st.floats(0, 3)), data.draw(SHARES))
    generator = np.random.default_rng(seed)
    values = generator.standard_t(tail, (16, 512)) * np.exp(generator.standard_normal((16, 32)) * spread).repeat(16, 1)
    exponent = data.draw(st.integers(-16, 0))
    values = np.clip(values + shift, -6e4, 6e4).astype(np.float32) * np.float32(2.0**exponent)
    decoded = decode(encode(values, type_name, 512 // width * nbytes), type_name)
    assert within_bound(values, decoded, type_name)
    # Below that, weights vanish in the rounding of a block's F16 scale.
    if exponent >= -6 and width > 1:
        swapped = values.reshape(-1, width)[::-1].reshape(values.shape)
        assert not within_bound(swapped, decoded, type_name), "blocks in the wrong order passed"


@pytest.mark.parametrize("quant", QUANTS)
def test_verify_notices_one_damaged_byte_in_each_tensor(tmp_path: Path, quant: str) -> None:
    from gguf import GGUFReader

    from qsift.convert.quantize import make_plan

    checkpoint = write_checkpoint(tmp_path / "m", shape=K_QUANT)
    (path,) = convert(checkpoint, tmp_path, quants=quant)
    source = Source.read(checkpoint, None)
    plan = make_plan(source.tensors, source.config, quant)
    digests = write_gguf(tmp_path / "again", {"general.architecture": "qwen3"}, plan, lambda _: None)
    verify(path, plan, "embed", digests, lambda _: None)
    places = {tensor.name: tensor.data_offset for tensor in GGUFReader(path).tensors}
    good = path.read_bytes()
    for item in plan[:: max(1, len(plan) // 6)]:
        start = places[item.name]
        # The first 16 bytes of any block hold a scale or a whole weight.
        damaged = bytearray(good)
        damaged[start : start + 16] = bytes(byte ^ 0x5A for byte in damaged[start : start + 16])
        path.write_bytes(damaged)
        with pytest.raises(ConversionError, match=item.name):
            verify(path, plan, "embed", digests, lambda _: None)


def test_several_quants_of_one_run_equal_the_quants_of_single_runs(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    together = convert(checkpoint, tmp_path / "a", quants=["q8_0", "f16", "q8_0"])
    assert [path.name for path in together] == ["m-Q8_0.gguf", "m-F16.gguf"]
    for path in together:
        (alone,) = convert(checkpoint, tmp_path / "b", quants=path.stem.rpartition("-")[2].lower())
        assert alone.read_bytes() == path.read_bytes()


def score_checkpoint(folder: Path, rows: int, labels: dict | None) -> np.ndarray:
    """Turns a tied checkpoint into a sequence classifier; returns its score.weight."""
    write_checkpoint(folder, task="rerank", evidence=False)
    score = np.random.default_rng(1).standard_normal((rows, TINY.hidden_size)).astype(np.float32)

    def add(tensors: dict) -> None:
        tensors["score.weight"] = ("F32", list(score.shape), score.tobytes())

    def declare(config: dict) -> None:
        config["architectures"] = ["Qwen3ForSequenceClassification"]
        config["id2label"] = labels

    change_tensors(folder / "model.safetensors", add)
    change_json(folder / "config.json", declare)
    return score


def test_a_classifier_with_one_row_scores_against_zero(tmp_path: Path) -> None:
    score = score_checkpoint(tmp_path / "m", 1, {"0": "LABEL_0"})
    (path,) = convert(tmp_path / "m", tmp_path, quants="q8_0")
    rows = gguf_arrays(path)["cls.output.weight"][1]
    np.testing.assert_array_equal(rows, [score[0], np.zeros_like(score[0])])


def test_a_classifier_with_two_rows_is_ordered_by_its_labels(tmp_path: Path) -> None:
    score = score_checkpoint(tmp_path / "m", 2, {"0": "no", "1": "yes"})
    (path,) = convert(tmp_path / "m", tmp_path, quants="q8_0")
    np.testing.assert_array_equal(gguf_arrays(path)["cls.output.weight"][1], score[::-1])


def test_of_two_rows_that_nobody_named_the_second_is_yes(tmp_path: Path) -> None:
    score = score_checkpoint(tmp_path / "m", 2, None)
    (path,) = convert(tmp_path / "m", tmp_path, quants="q8_0")
    np.testing.assert_array_equal(gguf_arrays(path)["cls.output.weight"][1], score[::-1])
