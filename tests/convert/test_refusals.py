"""What is refused, in which words, and that a refusal writes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import TINY, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from independent import change_json, change_tensors

from qsift.convert import QUANTS, convert
from qsift.errors import ConversionError

Damage = Callable[[Path], object]


def config(**values: Any) -> Damage:
    return lambda folder: change_json(folder / "config.json", lambda c: c.update(values))


def without(name: str) -> Damage:
    return lambda folder: change_json(folder / "config.json", lambda c: c.pop(name))


def tokenizer(change: Callable[[Any], object]) -> Damage:
    return lambda folder: change_json(folder / "tokenizer.json", change)


def weights(change: Callable[[Any], object]) -> Damage:
    return lambda folder: change_tensors(folder / "model.safetensors", change)


def text(name: str, content: str) -> Damage:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, "utf-8")

    return write


def both(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 100)


def longer(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")


def bits(name: str, pattern: int) -> Damage:
    """Sets the third weight of a BF16 tensor to a bit pattern."""

    def change(tensors: Any) -> None:
        kind, shape, data = tensors[name]
        tensors[name] = (kind, shape, data[:4] + pattern.to_bytes(2, "little") + data[6:])

    return weights(change)


def pop_token(text: str) -> Callable[[Any], object]:
    return lambda t: t["model"]["vocab"].pop(text)


def pooling(**modes: bool) -> Damage:
    return text("1_Pooling/config.json", json.dumps(modes))


def modules(*kinds: str) -> Damage:
    return text(
        "modules.json", json.dumps([{"path": f"{i}_{kind}", "type": f"x.{kind}"} for i, kind in enumerate(kinds)])
    )


Q = "layers.1.self_attn.q_proj.weight"
LAST = TINY.num_hidden_layers - 1

REFUSED: dict[str, tuple[Damage, str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "found no safetensors file"),
    "shards without an index": (
        lambda f: (f / "model.safetensors").rename(f / "model-00001-of-00002.safetensors"),
        "no index",
    ),
    "pickle": (pickled, "can run any code.*safe_serialization"),
    "broken config": (text("config.json", '{"a": '), r"config\.json is not JSON"),
    "config is a list": (text("config.json", "[]"), r"config\.json holds a list"),
    "broken tokenizer": (text("tokenizer.json", "nothing"), r"tokenizer\.json is not JSON"),
    "broken modules": (text("modules.json", "{"), r"modules\.json is not JSON"),
    "modules are no list": (text("modules.json", "{}"), "not a list of modules"),
    "qwen2": (config(architectures=["Qwen2ForCausalLM"], model_type="qwen2"), "Qwen2ForCausalLM"),
    "qwen3 moe": (config(architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe"), "Qwen3MoeForCausalLM"),
    "vl": (config(architectures=["Qwen3VLForConditionalGeneration"], model_type="qwen3_vl"), "Qwen3VL"),
    "bert": (config(architectures=["BertModel"], model_type="bert"), "BertModel"),
    "no architecture": (without("architectures"), "architecture None"),
    "no heads": (config(num_attention_heads=0), "num_attention_heads in config.json is 0"),
    "a size as text": (config(hidden_size="64"), "hidden_size in config.json is '64'"),
    "a size as truth": (config(head_dim=True), "head_dim in config.json is True"),
    "a giant size": (config(intermediate_size=1 << 40), "intermediate_size"),
    "no vocab size": (without("vocab_size"), "vocab_size in config.json is missing"),
    "heads do not divide": (config(num_attention_heads=3), "3 attention heads over 2"),
    "odd head": (config(head_dim=15), "even number"),
    "epsilon": (config(rms_norm_eps=-1), "rms_norm_eps in config.json is -1"),
    "theta": (config(rope_theta=None), "rope_theta in config.json is None"),
    "giant theta": (config(rope_theta=10**400), "rope_theta"),
    "tied as text": (config(tie_word_embeddings="no"), "tie_word_embeddings"),
    "yarn": (config(rope_scaling={"type": "yarn", "factor": 4.0}), "'yarn'"),
    "yarn, as transformers 5 writes it": (
        config(rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}),
        "'yarn'",
    ),
    "bias": (config(attention_bias=True), "attention_bias"),
    "sliding window": (config(use_sliding_window=True), "sliding-window"),
    "sliding layers": (config(layer_types=["full_attention", "sliding_attention"]), "sliding-window"),
    "both directions": (config(is_causal=False), "both directions"),
    "gelu": (config(hidden_act="gelu"), "'gelu'"),
    "gptq": (config(quantization_config={"bits": 4}), "quantised already"),
    "missing tensor": (weights(lambda t: t.pop(Q)), f"1 tensors are missing: {Q}"),
    "surplus tensor": (weights(lambda t: t.update({"layers.1.x.bias": ("F32", [1], bytes(4))})), r"layers\.1\.x\.bias"),
    "a layer too many": (config(num_hidden_layers=LAST), rf"no place in a Qwen3 of {LAST} layers"),
    "a layer too few": (config(num_hidden_layers=LAST + 2), rf"layers\.{LAST + 1}\.input_layernorm"),
    "wrong width": (config(intermediate_size=128), "mlp.gate_proj.weight has the shape"),
    "transposed": (
        weights(lambda t: t.update({"layers.0.mlp.up_proj.weight": ("BF16", [64, 96], bytes(64 * 96 * 2))})),
        r"\(64, 96\); \(96, 64\) follows",
    ),
    "a name twice": (weights(lambda t: t.update({f"model.{Q}": t[Q]})), "stands in the checkpoint twice"),
    "fp8": (weights(lambda t: t.update({Q: ("F8_E4M3", [64, 64], bytes(64 * 64))})), "are F8_E4M3"),
    "int8": (weights(lambda t: t.update({Q: ("I8", [64, 64], bytes(64 * 64))})), "are I8"),
    "double": (weights(lambda t: t.update({Q: ("F64", [64, 64], bytes(64 * 64 * 8))})), "are F64"),
    "truncated": (truncated, "was cut short, is damaged"),
    "longer": (longer, "is damaged.*file not fully covered"),
    "empty": (text("model.safetensors", ""), "has 0 bytes and was cut short"),
    "a page of html": (text("model.safetensors", "<html>not found, sorry</html>"), "is no safetensors"),
    "nan": (bits(Q, 0x7FC1), f"{'blk.1.attn_q.weight'}: there are NaN or Inf"),
    "minus infinity": (bits("norm.weight", 0xFF80), "output_norm.weight: there are NaN or Inf"),
    "too large for a block's F16 scale": (bits(Q, 0x7F00), "do not fit q8_0"),
    "normaliser": (tokenizer(lambda t: t.update(normalizer={"type": "NFKC"})), "normaliser.*NFKC"),
    "no normaliser": (tokenizer(lambda t: t.update(normalizer=None)), "normaliser.*nothing"),
    "pre-tokenizer": (
        tokenizer(lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"\p{N}{1,3}|\p{L}+"})),
        "pre-tokenizer",
    ),
    "space in front": (
        tokenizer(lambda t: t["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True)),
        "pre-tokenizer",
    ),
    "no pre-tokenizer": (tokenizer(lambda t: t.update(pre_tokenizer=None)), "pre-tokenizer"),
    "unigram": (tokenizer(lambda t: t.update(model={"type": "Unigram", "vocab": []})), "'Unigram'"),
    "wordpiece": (tokenizer(lambda t: t["model"].update(continuing_subword_prefix="##")), "continuing_subword_prefix"),
    "byte fallback": (tokenizer(lambda t: t["model"].update(byte_fallback=True)), "byte_fallback"),
    "no merges": (tokenizer(lambda t: t["model"].pop("merges")), "no merges"),
    "broken merge": (tokenizer(lambda t: t["model"]["merges"].append("only")), "joins no two tokens"),
    "merge of strangers": (tokenizer(lambda t: t["model"]["merges"].append(["zz", "yy"])), "joins no two tokens"),
    "no end token": (tokenizer(lambda t: t["added_tokens"].pop(0)), r"no token '<\|endoftext\|>'"),
    "a byte missing": (
        tokenizer(lambda t: (t["model"]["vocab"].pop("!"), t["model"].update(merges=[]))),
        "no token '!'",
    ),
    "an id twice": (tokenizer(lambda t: t["added_tokens"][1].update(id=3)), "gives the id 3 to"),
    "a token twice": (tokenizer(lambda t: t["added_tokens"][1].update(content="yes")), "two ids to one token"),
    "an id as text": (tokenizer(lambda t: t["added_tokens"][1].update(id="3")), "without a text or an id"),
    "vocabulary too large": (config(vocab_size=280), "beyond vocab_size"),
    "mean pooling": (pooling(pooling_mode_mean_tokens=True, pooling_mode_lasttoken=False), "mean_tokens"),
    "two poolings": (pooling(pooling_mode_cls_token=True, pooling_mode_lasttoken=True), "cls_token and lasttoken"),
    "no pooling file": (lambda f: shutil.rmtree(f / "1_Pooling"), "1_Pooling/config.json is missing"),
    "dense": (modules("Transformer", "Dense"), "'Dense'"),
    "no evidence": (lambda f: (f / "modules.json").unlink(), "--task embed or --task rerank"),
    "modules that say nothing": (modules("Transformer", "Normalize"), "--task embed or --task rerank"),
    "modules that contradict": (
        both(modules("Transformer", "Pooling", "LogitScore"), pooling(pooling_mode_lasttoken=True)),
        "contradictory",
    ),
}


@pytest.mark.parametrize(("damage", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_in_one_sentence_and_nothing_is_written(tmp_path: Path, damage: Damage, words: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    damage(checkpoint)
    with pytest.raises(ConversionError, match=words) as refusal:
        convert(checkpoint, tmp_path / "out")
    assert all(problem.endswith(".") and problem.count("\n") == 0 for problem in refusal.value.problems)
    assert not (tmp_path / "out").exists()


SHARDED: dict[str, tuple[Damage, str]] = {
    "absent shard": (lambda f: (f / "model-00002-of-00003.safetensors").unlink(), "files that are not there"),
    "shard elsewhere": (
        lambda f: change_json(
            f / "model.safetensors.index.json", lambda i: i["weight_map"].update({Q: "../m/x.safetensors"})
        ),
        "files that are not there",
    ),
    "wrong place": (
        lambda f: change_json(
            f / "model.safetensors.index.json",
            lambda i: i["weight_map"].update({"norm.weight": "model-00001-of-00003.safetensors"}),
        ),
        "disagree about norm.weight",
    ),
    "not in the index": (
        lambda f: change_json(f / "model.safetensors.index.json", lambda i: i["weight_map"].pop(Q)),
        f"disagree about {Q}",
    ),
    "no map": (text("model.safetensors.index.json", "{}"), "no weight_map"),
    "broken index": (text("model.safetensors.index.json", "{"), "index.json is not JSON"),
    "truncated shard": (
        lambda f: os.truncate(f / "model-00003-of-00003.safetensors", 5000),
        "model-00003-of-00003.safetensors .*cut short",
    ),
    "a tensor in two shards": (
        lambda f: shutil.copy(f / "model-00001-of-00003.safetensors", f / "model-00002-of-00003.safetensors"),
        "and in another shard",
    ),
}


@pytest.mark.parametrize(("damage", "words"), SHARDED.values(), ids=SHARDED.keys())
def test_shards_that_do_not_fit_are_refused(tmp_path: Path, damage: Damage, words: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", shards=3)
    damage(checkpoint)
    with pytest.raises(ConversionError, match=words):
        convert(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def untie_the_score(folder: Path) -> None:
    change_tensors(
        folder / "model.safetensors", lambda t: t.update({"lm_head.weight": ("BF16", [294, 64], bytes(37632))})
    )


RERANKERS: dict[str, tuple[dict, Damage, str]] = {
    "untied without a head": ({"tied": False, "head": False}, lambda f: None, "lm_head.weight is missing"),
    "head of another shape": (
        {},
        weights(lambda t: t.update({"lm_head.weight": ("BF16", [2, 64], bytes(256))})),
        r"lm_head.weight has the shape \(2, 64\)",
    ),
    "tied with another head": ({}, untie_the_score, "the two differ"),
    "a score token that is none": (
        {},
        text("1_LogitScore/config.json", '{"true_token_id": null, "false_token_id": 1}'),
        "compares the tokens None and 1",
    ),
    "no word yes": (
        {},
        tokenizer(lambda t: (t["model"]["vocab"].pop("yes"), t["model"].update(merges=[]))),
        "no token 'yes'",
    ),
    "infinite head": ({"tied": False}, bits("lm_head.weight", 0x7F80), None),
}


@pytest.mark.parametrize(("layout", "damage", "words"), RERANKERS.values(), ids=RERANKERS.keys())
def test_rerankers_without_a_right_head_are_refused(
    tmp_path: Path, layout: dict, damage: Damage, words: str | None
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", task="rerank", **layout)
    damage(checkpoint)
    if words is None:  # only the rows that score are looked at: this one is not among them
        assert convert(checkpoint, tmp_path / "out")
        return
    with pytest.raises(ConversionError, match=words):
        convert(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("written", "said"), [("embed", "rerank"), ("rerank", "embed")])
def test_a_task_that_contradicts_the_evidence_is_refused(tmp_path: Path, written: Any, said: Any) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", task=written)
    with pytest.raises(ConversionError, match=f"says '{written}'; --task says '{said}'"):
        convert(checkpoint, tmp_path / "out", task=said)


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    (checkpoint / "modules.json").unlink()
    tokenizer(lambda t: t.update(normalizer=None, pre_tokenizer=None))(checkpoint)
    weights(lambda t: (t.pop(Q), t.pop("norm.weight"), t.update({"odd": ("F32", [1], bytes(4))})))(checkpoint)
    with pytest.raises(ConversionError) as refusal:
        convert(checkpoint, tmp_path)
    problems = refusal.value.problems
    for words in ("normaliser", "pre-tokenizer", "2 tensors are missing", "odd", "--task"):
        assert sum(words in problem for problem in problems) == 1, words
    assert len(problems) == 5
    assert all(problem in str(refusal.value) for problem in problems)


def test_f16_is_refused_where_a_weight_would_become_infinite(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    bits(Q, int(np.float32(70000).view(np.uint32) >> 16))(checkpoint)
    with pytest.raises(ConversionError, match=r"blk\.1\.attn_q\.weight: weights up to 69632 do not fit f16"):
        convert(checkpoint, tmp_path / "out", quants=["bf16", "f16"])
    assert not (tmp_path / "out").exists()
    assert convert(checkpoint, tmp_path / "out", quants=["bf16", "f32"])


@pytest.mark.parametrize("quants", ["q3_k", ["q8_0", "q9"], [], ""])
def test_an_unknown_quant_is_the_callers_mistake_and_lists_the_known(tmp_path: Path, quants: Any) -> None:
    with pytest.raises(ValueError, match=", ".join(QUANTS)):
        convert(tmp_path, quants=quants)


def test_an_unknown_task_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="embed, rerank"):
        convert(tmp_path, task="classify")  # type: ignore[arg-type]


def test_a_folder_that_is_not_there_and_a_gguf_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConversionError, match="no such folder"):
        convert(tmp_path / "nowhere")
    with pytest.raises(ConversionError, match="already"):
        convert(tmp_path / "x.gguf")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damaged_byte_in_a_header_escapes_as_another_error(tmp_path_factory: Any, data: st.DataObject) -> None:
    good = tmp_path_factory.getbasetemp() / "header-fuzz" / "m"
    if not good.exists():
        write_checkpoint(good)
    name = data.draw(st.sampled_from(["model.safetensors", "config.json", "modules.json"]))
    original = (good / name).read_bytes()
    place = data.draw(st.integers(0, min(len(original), 4000) - 1))
    damaged = bytearray(original)
    damaged[place] = data.draw(st.integers(0, 255))
    (good / name).write_bytes(damaged)
    try:
        convert(good, good.parent / "out", force=True)
    except ConversionError as error:
        assert error.problems
    finally:
        (good / name).write_bytes(original)


ODD = (
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    10**400,
    "",
    "x",
    "\ud800",
    [],
    [1],
    ["x"],
    [[]],
    {},
    {"x": 1},
    {"type": []},
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Returns the path of every value inside a JSON value; of long lists and objects, the first few and the last."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    chosen = items if len(items) < 30 else [*items[:2], items[-1]]
    return [p for key, inner in chosen for p in ((*path, key), *places(inner, (*path, key)))]


@pytest.mark.parametrize("task", ["embed", "rerank"])
def test_a_module_in_a_place_that_no_file_system_has_is_a_module_without_settings(tmp_path: Path, task: str) -> None:
    folder = write_checkpoint(tmp_path / "m", task=task)
    change_json(folder / "modules.json", lambda modules: [module.update(path="1" * 5000) for module in modules])
    if task == "embed":
        with pytest.raises(ConversionError, match="names the pooling in"):
            convert(folder, tmp_path)
    else:
        assert convert(folder, tmp_path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_odd_value_in_a_json_file_escapes_as_another_error(tmp_path_factory: Any, data: st.DataObject) -> None:
    good = tmp_path_factory.getbasetemp() / "json-fuzz" / "m"
    if not good.exists():
        write_checkpoint(good, task="rerank", shards=2)
        modules("Transformer", "LogitScore")(good)
        text("1_LogitScore/config.json", '{"true_token_id": 262, "false_token_id": 263}')(good)
        text("config_sentence_transformers.json", '{"prompts": {"query": "x"}}')(good)
        config(id2label={"0": "yes", "1": "no"}, rope_scaling={"rope_type": "default"}, layer_types=["full_attention"])(
            good
        )
    name = data.draw(st.sampled_from(sorted(str(p.relative_to(good)) for p in good.rglob("*.json"))))
    original = (good / name).read_text("utf-8")
    value = json.loads(original)
    path = data.draw(st.sampled_from(places(value)))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(st.sampled_from(ODD))
    (good / name).write_text(json.dumps(value), "utf-8")
    try:
        convert(good, good.parent / "out", force=True)
    except ConversionError as error:
        assert error.problems
    finally:
        (good / name).write_text(original, "utf-8")
