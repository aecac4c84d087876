"""A GGUF held against the small files of its model: what differs is named, and whether it changes numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as library
import pytest
from checkpoints import write_checkpoint, write_evidence
from gguf_files import rewritten
from independent import change_json

from qsift import ModelFile, ModelFileError
from qsift.convert import convert, differences

CONFIG, TOKENIZER = "config.json", "tokenizer.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("against") / "model", vocab_padding=3)


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return convert(folder, folder.parent, quants="q8_0")[0]


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Path:
    """The model's small files alone, to be changed."""
    for path in (folder / CONFIG, folder / TOKENIZER):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_evidence(tmp_path, "embed", 64)
    return tmp_path


def found(file: Path, model: Path) -> list[tuple[bool, str]]:
    return [(one.changes_numbers, one.sentence) for one in differences(ModelFile.open(file), model)]


def test_a_file_is_the_model_that_it_was_made_from(file: Path, model: Path) -> None:
    assert found(file, model) == []
    assert found(file, write_checkpoint(model / "plain", vocab_padding=3)) == []


@pytest.mark.parametrize(
    ("changes", "changes_numbers", "sentence"),
    [
        ({"rope_theta": 1e4}, True, "Its qwen3.rope.freq_base is 1e+06; the model's is 10000."),
        ({"rms_norm_eps": 2e-6}, True, "Its qwen3.attention.layer_norm_rms_epsilon is 1e-06; the model's is 2e-06."),
        ({"rms_norm_eps": 1.00000001e-6}, None, ""),
        ({"max_position_embeddings": 40960}, True, "Its context is 32768 tokens and the model's 40960"),
        ({"max_position_embeddings": 4096}, False, "Its context is 32768 tokens and the model's 4096"),
        ({"num_hidden_layers": 4}, True, "Its qwen3.block_count is 3; the model's is 4."),
        ({"hidden_size": 32}, True, "Its qwen3.embedding_length is 64; the model's is 32."),
        ({"intermediate_size": 128}, True, "Its qwen3.feed_forward_length is 96; the model's is 128."),
        ({"num_attention_heads": 8}, True, "Its qwen3.attention.head_count is 4; the model's is 8."),
        ({"num_key_value_heads": 4}, True, "Its qwen3.attention.head_count_kv is 2; the model's is 4."),
        ({"head_dim": 32}, True, "Its qwen3.attention.key_length is 16; the model's is 32."),
    ],
)
def test_each_size_and_setting_is_compared(
    file: Path, model: Path, changes: dict[str, Any], changes_numbers: bool | None, sentence: str
) -> None:
    change_json(model / CONFIG, lambda config: config.update(changes))
    if changes_numbers is None:
        assert found(file, model) == [], "a file holds it in single precision"
        return
    [(changed, said)] = found(file, model)
    assert changed is changes_numbers and said.startswith(sentence)


@pytest.mark.parametrize(
    ("change", "changes_numbers", "sentence"),
    [
        ({"qwen3.rope.freq_base": None}, True, "freq_base is 10000, llama.cpp's own where a file gives none"),
        ({"qwen3.rope.scaling.factor": 4.0}, True, "Its qwen3.rope.scaling.factor is 4; the model's positions"),
        ({"qwen3.attention.causal": False}, True, "attention in both directions"),
        ({"qwen3.pooling_type": 0}, False, "It names no pooling; qsift takes the last token"),
        ({"tokenizer.ggml.add_eos_token": False}, False, "(add_eos_token is False instead of True)"),
        ({"tokenizer.ggml.eos_token_id": 270}, False, "(eos_token_id is 270 instead of 268)"),
        ({"tokenizer.ggml.eos_token_id": None}, False, "(eos_token_id is 11 instead of 268)"),
        ({"tokenizer.ggml.padding_token_id": None}, None, ""),
        ({"qsift.prompts": '{"query": "q: "}'}, True, "Its prompt 'query' is 'q: '; the model's is 'Instruct: Given"),
        ({"qsift.end_token": None}, True, "Its texts end with no token; the model's end with '<|endoftext|>'."),
        ({"qsift.format": 1, "qsift.prompts": None, "qsift.end_token": None}, None, ""),
    ],
)
def test_each_key_of_a_file_is_compared(
    file: Path, model: Path, tmp_path: Path, change: dict[str, Any], changes_numbers: bool | None, sentence: str
) -> None:
    if "qwen3.pooling_type" in change:
        change |= dict.fromkeys(("qsift.format", "qsift.task"))
    other = rewritten(file, tmp_path / "other.gguf", change)
    if changes_numbers is None:
        assert found(other, model) == []
        return
    [(changed, said)] = found(other, model)
    assert changed is changes_numbers and sentence in said


def test_prompts_are_compared(file: Path, model: Path) -> None:
    config = {"prompts": {"query": "query: ", "sts": "same: "}, "default_prompt_name": "sts"}
    (model / "config_sentence_transformers.json").write_text(json.dumps(config))
    changed, said = zip(*found(file, model), strict=True)
    assert all(changed) and said[0].endswith("the model's is 'query: '.")
    assert said[1:] == (
        "Its prompt 'sts' is None; the model's is 'same: '.",
        "Its default prompt is None; the model's is 'sts'.",
    )


def test_rows_behind_the_vocabulary_are_padding(file: Path, model: Path) -> None:
    rows = json.loads((model / CONFIG).read_text())["vocab_size"]
    for other in (rows - 3, rows + 5):
        change_json(model / CONFIG, lambda config, other=other: config.update(vocab_size=other))
        [(changed, said)] = found(file, model)
        assert not changed and said == f"It has {rows} rows of tokens and the model {other}; the last ones are padding."


def test_a_token_more_or_less_or_elsewhere_is_no_padding(file: Path, model: Path) -> None:
    def end(tokenizer: Any) -> Any:
        return tokenizer["added_tokens"]

    change_json(model / TOKENIZER, lambda tokenizer: end(tokenizer).append({"id": 294, "content": "<new>"}))
    assert found(file, model)[0] == (
        True,
        "1 token differs from the model's, so texts are read in another way; the first is token 294, '[PAD294]' "
        "instead of '<new>'.",
    )
    change_json(model / TOKENIZER, lambda tokenizer: [end(tokenizer).pop() for _ in range(3)])
    changed, said = found(file, model)[0]
    assert changed and "2 tokens differ" in said and "token 292, '<think>' instead of none" in said


def test_the_order_of_merges_is_compared(file: Path, model: Path) -> None:
    def swap(tokenizer: Any) -> None:
        merges = tokenizer["model"]["merges"]
        merges[1], merges[2] = merges[2], merges[1]

    change_json(model / TOKENIZER, swap)
    [(changed, said)] = found(file, model)
    assert changed and "2 merges differ from the model's" in said and "the first is merge 1, 'th e'" in said


@pytest.mark.parametrize(
    ("token", "kind", "sentence"),
    [
        (269, 1, "the first is token 269, '<|im_start|>', which is letters instead of a control token."),
        (292, 3, "'<think>', which is a control token instead of one token anywhere."),
        (65, 4, "which is one token anywhere instead of letters."),
        (65, 6, "which is a byte instead of letters."),
        (65, 5, None),
    ],
)
def test_types_are_compared_by_what_llama_cpp_makes_of_them(
    file: Path, model: Path, tmp_path: Path, token: int, kind: int, sentence: str | None
) -> None:
    types = library.GGUFReader(file).fields["tokenizer.ggml.token_type"].contents()
    types[token] = kind
    other = rewritten(file, tmp_path / "other.gguf", {"tokenizer.ggml.token_type": types})
    if sentence is None:
        assert found(other, model) == []
        return
    [(changed, said)] = found(other, model)
    assert changed and said.startswith("1 token differs in type") and sentence in said


def test_a_rerankers_head_and_task_are_compared(
    gguf: Callable[..., Path], checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    tied, untied = checkpoint("rerank"), checkpoint("rerank-untied")
    assert found(gguf("rerank"), tied) == []
    headless = rewritten(
        gguf("rerank"),
        tmp_path / "headless.gguf",
        dict.fromkeys(("qsift.format", "qwen3.pooling_type", "qwen3.classifier.output_labels")),
        without="cls.output.weight",
    )
    [(changed, said)] = found(headless, tied)
    assert not changed and "reads yes and no among the logits" in said
    [(changed, said)] = found(headless, untied)
    assert changed and "the model has a head of its own" in said
    changed, said = found(gguf("embed"), tied)[0]
    assert changed and said == "It was made for the task 'embed'; the model's is 'rerank'."


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (CONFIG, None, "config.json is missing in"),
        (TOKENIZER, None, "tokenizer.json is missing in"),
        (CONFIG, b"{", "config.json is not JSON"),
        (TOKENIZER, b"[]", "tokenizer.json holds a list"),
        (CONFIG, b'{"architectures": ["BertModel"], "model_type": "bert"}', "says the architecture 'BertModel'"),
        (TOKENIZER, b'{"model": {"type": "Unigram"}}', "Qwen's is byte-level BPE"),
        ("1_Pooling/config.json", b'{"pooling_mode_cls_token": true}', "is cls_token; Qwen3-Embedding's is lasttoken"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(
    file: Path, model: Path, name: str, content: bytes | None, sentence: str
) -> None:
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    with pytest.raises(ModelFileError, match="It cannot be compared with") as caught:
        found(file, model)
    assert sentence in caught.value.reason
