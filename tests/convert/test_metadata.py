"""What a file says about itself, and that llama.cpp reads it so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import Shape, write_checkpoint
from independent import change_json, gguf_keys

from qsift.convert import convert
from qsift.models.manifest import Manifest
from qsift.models.model_file import ModelFile
from qsift.models.prompts import RELEASED_PROMPTS, RERANK_HEAD, RERANK_TAIL, Prompts

CARD = """---
license: apache-2.0
base_model:
- Qwen/Qwen3-0.6B-Base
tags:
- sentence-transformers
- "text-embeddings-inference"
language: [en]
---
# Model
license: wrong
"""


def ids_of(checkpoint: Path) -> dict[str, int]:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text("utf-8"))
    return tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def test_every_key_of_an_embedding_file(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "Qwen3-Embedding-0.6B", shape=Shape(), vocab_padding=3)
    (checkpoint / "README.md").write_text(CARD)
    (path,) = convert(checkpoint, tmp_path, quants="q6_k")
    keys, ids = gguf_keys(path), ids_of(checkpoint)
    tokens, types = keys.pop("tokenizer.ggml.tokens"), keys.pop("tokenizer.ggml.token_type")
    merges = keys.pop("tokenizer.ggml.merges")
    assert keys.pop("qwen3.attention.layer_norm_rms_epsilon") == pytest.approx(1e-6)
    assert keys == {
        "general.architecture": "qwen3",
        "general.type": "model",
        "general.name": "Qwen3-Embedding-0.6B",
        "general.basename": "Qwen3-Embedding",
        "general.size_label": "0.6B",
        "general.license": "apache-2.0",
        "general.base_model.count": 1,
        "general.base_model.0.name": "Qwen3-0.6B-Base",
        "general.base_model.0.organization": "Qwen",
        "general.base_model.0.repo_url": "https://huggingface.co/Qwen/Qwen3-0.6B-Base",
        "general.tags": ["feature-extraction", "sentence-transformers", "text-embeddings-inference"],
        "general.quantized_by": "qsift",
        "general.file_type": 18,
        "general.quantization_version": 2,
        "qwen3.context_length": 32768,
        "qwen3.embedding_length": 64,
        "qwen3.block_count": 3,
        "qwen3.feed_forward_length": 96,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 16,
        "qwen3.attention.value_length": 16,
        "qwen3.rope.freq_base": 1e6,
        "qwen3.rope.dimension_count": 16,
        "qwen3.pooling_type": 3,
        "qsift.format": 2,
        "qsift.task": "embed",
        "qsift.quant": "q6_k",
        "qsift.prompts": json.dumps({"query": RELEASED_PROMPTS.texts["query"], "document": ""}),
        "qsift.end_token": "<|endoftext|>",
        "qsift.min_dim": 32,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.eos_token_id": ids["<|endoftext|>"],
        "tokenizer.ggml.padding_token_id": ids["<|endoftext|>"],
        "tokenizer.ggml.bos_token_id": ids["<|endoftext|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": True,
    }
    n = len(ids)
    assert tokens == [*sorted(ids, key=ids.__getitem__), f"[PAD{n}]", f"[PAD{n + 1}]", f"[PAD{n + 2}]"]
    ordinary = {"<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"}
    first = ids["<|endoftext|>"]
    assert types == [1] * first + [4 if tokens[i] in ordinary else 3 for i in range(first, n)] + [5] * 3
    given = json.loads((checkpoint / "tokenizer.json").read_text("utf-8"))["model"]["merges"]
    assert merges == [" ".join(pair) for pair in given]


def test_what_a_reranker_says_besides(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", task="rerank")
    (path,) = convert(checkpoint, tmp_path)
    keys, ids = gguf_keys(path), ids_of(checkpoint)
    assert keys["qwen3.pooling_type"] == 4
    assert keys["qwen3.classifier.output_labels"] == ["yes", "no"]
    assert keys["tokenizer.ggml.add_eos_token"] is False
    assert keys["tokenizer.ggml.eos_token_id"] == ids["<|im_end|>"]
    assert keys["qsift.template"] == "card"
    assert keys["general.tags"] == ["text-ranking"]
    assert keys["tokenizer.chat_template.rerank"] == (
        RERANK_HEAD + "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
        "<Query>: {query}\n<Document>: {document}" + RERANK_TAIL
    )


@pytest.mark.parametrize("task", ["embed", "rerank"])
def test_llama_cpp_reads_pooling_template_labels_and_end_token(tmp_path: Path, task: str) -> None:
    from llama_cpp import llama_cpp as lib

    checkpoint = write_checkpoint(tmp_path / "m", task=task)
    (path,) = convert(checkpoint, tmp_path)
    params = lib.llama_model_default_params()
    params.vocab_only = True
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    try:
        vocab = lib.llama_model_get_vocab(model)
        end = "<|endoftext|>" if task == "embed" else "<|im_end|>"
        assert lib.llama_vocab_eos(vocab) == ids_of(checkpoint)[end]
        assert bool(lib.llama_vocab_get_add_eos(vocab)) == (task == "embed")
        assert not lib.llama_vocab_get_add_bos(vocab)
        template = lib.llama_model_chat_template(model, b"rerank")
        assert (template is not None) == (task == "rerank")
        if task == "rerank":
            assert template.decode() == gguf_keys(path)["tokenizer.chat_template.rerank"]
    finally:
        lib.llama_model_free(model)


def test_qsift_reads_its_own_task_widths_and_prompts_back(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", shape=Shape(max_position_embeddings=4096))
    prompts = {"prompts": {"query": "Instruct: Find the recipe\nQuery:", "document": ""}}
    (checkpoint / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    file = ModelFile.open(convert(checkpoint, tmp_path)[0])
    assert (file.task, file.width, file.n_layers, file.max_tokens, file.quant) == ("embed", 64, 3, 4096, "q8_0")
    assert file.manifest == Manifest("embed", "q8_0", Prompts.instructed("Find the recipe"), "<|endoftext|>", 32)


def test_merges_as_texts_and_as_pairs_give_the_same_file(tmp_path: Path) -> None:
    pairs = write_checkpoint(tmp_path / "m")
    (first,) = convert(pairs, tmp_path / "a")

    def join(tokenizer: dict) -> None:
        tokenizer["model"]["merges"] = [" ".join(pair) for pair in tokenizer["model"]["merges"]]

    change_json(pairs / "tokenizer.json", join)
    (second,) = convert(pairs, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_the_task_of_the_caller_stands_in_for_missing_evidence(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", evidence=False)
    assert ModelFile.open(convert(checkpoint, tmp_path / "a", task="embed")[0]).task == "embed"
    assert ModelFile.open(convert(checkpoint, tmp_path / "b", task="rerank")[0]).task == "rerank"


def test_older_and_newer_rope_keys_mean_the_same(tmp_path: Path) -> None:
    files = []
    for nested in (False, True):
        checkpoint = write_checkpoint(tmp_path / str(nested) / "m", rope_parameters=nested)
        files.append(convert(checkpoint, tmp_path / str(nested))[0].read_bytes())
    assert files[0] == files[1]


def test_the_real_vocabulary_is_written_whole(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m", vocab="real", shape=Shape(num_hidden_layers=1))
    (path,) = convert(checkpoint, tmp_path)
    keys, ids = gguf_keys(path), ids_of(checkpoint)
    assert keys["tokenizer.ggml.tokens"] == sorted(ids, key=ids.__getitem__)
    assert len(ids) == 151669
    assert keys["tokenizer.ggml.eos_token_id"] == 151643


def test_the_released_size_is_labelled_from_its_weights_where_the_name_does_not_say() -> None:
    from qsift.convert.metadata import _size_label

    assert [_size_label(n) for n in (595_776_512, 4_021_774_336, 7_567_295_488, 33_400_000, 200_000)] == [
        "0.6B",
        "4B",
        "7.6B",
        "33M",
        "0.2M",
    ]
