"""Makes src/qsift/bench/demo.json, which `qsift verify` holds the bundled pair against: `python -m models.demo_values`.

torch computes them in float32 from the bundled files alone: their weights are dequantised, their vocabulary becomes
a tokenizer.json, and `Reference` reads both as it reads any checkpoint. Run it again when the pair was trained anew.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from .checkpoints import PATTERN
from qsift.bench.published import CARD_DOCUMENTS, CARD_QUERIES, DEMO_VALUES, HELLO, Published
from qsift.bench.reference import Reference
from qsift.hub import BUNDLED
from qsift.models import END_OF_TEXT, HEAD_WEIGHT, RELEASED_PROMPTS, RERANK_TEMPLATES, Shape, weights

SOURCE = "torch, from the bundled file: benchmarks/models/demo_values.py"
_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's enum llama_token_type; <think> is of the second


def write_checkpoint(path: Path, folder: Path) -> Path:
    """Writes what a GGUF holds as a checkpoint in float32; returns ``folder``."""
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {
        one.name: np.asarray(gguf.dequantize(one.data, one.tensor_type), np.float32).reshape(one.shape[::-1])
        for one in reader.tensors
    }
    tokens = keys["tokenizer.ggml.tokens"]
    shape = Shape(
        num_hidden_layers=keys["qwen3.block_count"],
        hidden_size=keys["qwen3.embedding_length"],
        intermediate_size=keys["qwen3.feed_forward_length"],
        num_attention_heads=keys["qwen3.attention.head_count"],
        num_key_value_heads=keys["qwen3.attention.head_count_kv"],
        head_dim=keys["qwen3.attention.key_length"],
        vocab_size=len(tokens),
    )
    found = {one.source: tensors[one.name] for one in weights(shape)}
    if HEAD_WEIGHT in tensors:
        head = found["embed_tokens.weight"].copy()
        head[[tokens.index(label) for label in keys["qwen3.classifier.output_labels"]]] = tensors[HEAD_WEIGHT]
        found["lm_head.weight"] = head
    save_file(found, folder / "model.safetensors")
    config = asdict(shape) | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "hidden_act": "silu",
        "max_position_embeddings": keys["qwen3.context_length"],
        "rms_norm_eps": keys["qwen3.attention.layer_norm_rms_epsilon"],
        "rope_theta": keys["qwen3.rope.freq_base"],
        "tie_word_embeddings": HEAD_WEIGHT not in tensors,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer(tokens, keys["tokenizer.ggml.merges"], keys["tokenizer.ggml.token_type"]).save(
        str(folder / "tokenizer.json")
    )
    return folder


def tokenizer(tokens: list[str], merges: list[str], types: list[int]) -> Tokenizer:
    """Returns Hugging Face's tokenizer over a GGUF's vocabulary; it adds the end token."""
    pairs = [(first, second) for first, second in (merge.split(" ") for merge in merges)]
    made = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, pairs))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    for token, kind in zip(tokens, types, strict=True):
        if kind in (_CONTROL, _USER_DEFINED):
            made.add_tokens([AddedToken(token, normalized=False, special=kind == _CONTROL)])
    end = made.token_to_id(END_OF_TEXT)
    made.post_processor = processors.TemplateProcessing(f"$A {END_OF_TEXT}", None, [(END_OF_TEXT, end)])
    return made


def embedding_values(reference: Reference) -> list[Published]:
    """Returns the cards' cosines, and the first numbers of a document and a query."""

    def vectors(texts: tuple[str, ...], *, instructed: bool = False) -> np.ndarray:
        before = RELEASED_PROMPTS.texts["query" if instructed else "document"]
        return reference.embed([reference.text_ids(before + text) for text in texts])

    cosines = vectors(CARD_QUERIES, instructed=True) @ vectors(CARD_DOCUMENTS).T
    return [
        Published("similarities", rounded(cosines), SOURCE, CARD_QUERIES, CARD_DOCUMENTS),
        Published("document", rounded(vectors((HELLO,))[0, :5]), SOURCE, documents=(HELLO,)),
        Published("query", rounded(vectors((HELLO,), instructed=True)[0, :5]), SOURCE, queries=(HELLO,)),
    ]


def reranker_values(reference: Reference) -> list[Published]:
    """Returns the differences of the cards' two queries with their two documents."""
    prompts = [RERANK_TEMPLATES["card"].prompt(q, d) for q in CARD_QUERIES for d in CARD_DOCUMENTS]
    scores = reference.score([reference.pair_ids(prompt) for prompt in prompts])
    return [Published("differences", rounded(scores), SOURCE, CARD_QUERIES, CARD_DOCUMENTS)]


def rounded(values: np.ndarray) -> tuple[float, ...]:
    """Returns numbers to six digits, in their order."""
    return tuple(round(float(value), 6) for value in values.ravel())


def main() -> None:
    """Writes the values of both models."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, values in (("demo-embedding", embedding_values), ("demo-reranker", reranker_values)):
        with tempfile.TemporaryDirectory() as folder:
            reference = Reference(write_checkpoint(BUNDLED / f"{name}.gguf", Path(folder)))
            found[name] = [asdict(replace(one, rounding=5e-7)) for one in values(reference)]
    DEMO_VALUES.write_text(json.dumps(found, indent=1) + "\n", "utf-8", newline="\n")
    print(DEMO_VALUES.read_text("utf-8"))


if __name__ == "__main__":
    main()
