"""Every way in which a GGUF is not a Qwen3 that llama.cpp can run right: a sentence for each.

Every shape is held against the sizes that the keys claim, because llama.cpp divides by those sizes before it
checks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .gguf_header import INT32, STRING, Header
from .manifest import ARCHITECTURE, POOLING_LAST, POOLING_RANK, Manifest
from .prompts import RERANK_LABELS
from .specs import Shape
from .weights import HEAD_WEIGHT, weights

_FLOAT_TYPES = ("F32", "F16", "BF16")


def problems(header: Header) -> Iterator[str]:
    """Yields a sentence for each thing that is wrong, the most telling first."""
    keys = header.keys
    architecture = keys.get("general.architecture")
    if architecture != ARCHITECTURE:
        yield f"Its architecture is {architecture!r}; qsift runs {ARCHITECTURE!r} (Qwen3-Embedding, Qwen3-Reranker)."
        return
    if keys.get("split.count", 0) not in (0, 1):
        yield "It is one part of a model that is split over several files. Merge them with llama-gguf-split --merge."
    yield from _size_problems(keys)
    yield from _vocabulary_problems(header)
    yield from _tensor_problems(header)
    if keys.get("qwen3.pooling_type", POOLING_LAST) not in (0, POOLING_LAST, POOLING_RANK):
        yield (
            f"It asks for pooling type {keys['qwen3.pooling_type']!r}; Qwen3-Embedding takes the last token "
            f"({POOLING_LAST}), Qwen3-Reranker its head ({POOLING_RANK}). It was converted wrongly: convert it again."
        )
    try:
        Manifest.from_keys(keys)
    except ValueError as error:
        yield f"{str(error)[0].upper()}{str(error)[1:]}"


_SIZES = {
    "block_count": 512,
    "embedding_length": 1 << 16,
    "feed_forward_length": 1 << 20,
    "attention.head_count": 1 << 10,
    "attention.head_count_kv": 1 << 10,
    "attention.key_length": 1 << 12,
    "attention.value_length": 1 << 12,
    "context_length": 1 << 24,
}


def _size_problems(keys: Mapping[str, Any]) -> Iterator[str]:
    for name, largest in _SIZES.items():
        value = keys.get(f"qwen3.{name}")
        if type(value) is not int or not 1 <= value <= largest:
            yield f"Its key qwen3.{name} is {value!r}; a number from 1 to {largest} is needed. The header is damaged."
            return
    head_dim, rope = keys["qwen3.attention.key_length"], keys.get("qwen3.rope.dimension_count")
    heads, kv_heads = keys["qwen3.attention.head_count"], keys["qwen3.attention.head_count_kv"]
    if keys["qwen3.attention.value_length"] != head_dim or rope not in (None, head_dim) or head_dim % 2:
        yield "Its attention key, value and rotary sizes disagree. The header is damaged."
    if heads % kv_heads:
        yield f"It claims {heads} query heads over {kv_heads} key heads. The header is damaged."
    epsilon, theta = keys.get("qwen3.attention.layer_norm_rms_epsilon"), keys.get("qwen3.rope.freq_base", 1e6)
    if not (isinstance(epsilon, float) and 0 < epsilon < 1 and isinstance(theta, float) and 1 <= theta < 1e12):
        yield f"Its norm epsilon is {epsilon!r} and its rotary base {theta!r}. The header is damaged."
    if any(key.startswith("qwen3.expert") for key in keys):
        yield "It is a mixture of experts; Qwen3-Embedding and Qwen3-Reranker are not."
    if keys.get("qwen3.rope.scaling.type", "none") not in ("none", "linear", "yarn"):
        yield f"Its rotary scaling is {keys['qwen3.rope.scaling.type']!r}, which llama.cpp does not know."


def _vocabulary_problems(header: Header) -> Iterator[str]:
    keys = header.keys
    model, pre = keys.get("tokenizer.ggml.model"), keys.get("tokenizer.ggml.pre")
    if (model, pre) != ("gpt2", "qwen2"):
        yield (
            f"Its tokenizer is {model!r} with the pre-tokenizer {pre!r}; Qwen3 needs 'gpt2' with 'qwen2'. "
            "It would cut texts into other tokens than the model was trained on: convert it again."
        )
        return
    for key in ("tokens", "merges"):
        if header.element_type(f"tokenizer.ggml.{key}") != STRING:
            yield f"Its key tokenizer.ggml.{key} is not a list of texts. The header is damaged."
            return
    tokens = header.strings("tokenizer.ggml.tokens")
    types = "tokenizer.ggml.token_type"
    if header.element_type(types) != INT32 or len(keys[types]) != len(tokens):
        yield "Its token types do not match its tokens. The header is damaged."
    if len(set(tokens)) != len(tokens) or b"" in tokens:
        yield "Its vocabulary holds a token twice or an empty one. The header is damaged."
    if any(key in keys for key in ("tokenizer.ggml.scores", "tokenizer.ggml.precompiled_charsmap")):
        yield "Its tokenizer carries scores, which byte-level BPE does not have. The header is damaged."
    rows = header.tensors.get("token_embd.weight")
    if rows and rows.shape[-1] != len(tokens):
        yield f"It has {len(tokens)} tokens but {rows.shape[-1]} embedding rows. The file is damaged."


def _tensor_problems(header: Header) -> Iterator[str]:
    expected = _expected_shapes(header)
    missing = [name for name in expected if name not in header.tensors]
    optional = {"output.weight": expected["token_embd.weight"], HEAD_WEIGHT: None, "rope_freqs.weight": None}
    surplus = [name for name in header.tensors if name not in expected and name not in optional]
    if missing or surplus:
        listed = "; ".join(
            f"{kind}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for kind, names in (("missing", missing), ("unknown", surplus))
            if names
        )
        yield f"Its tensors are not those of a Qwen3 model of {header.keys['qwen3.block_count']} blocks ({listed})."
        return
    for name, shape in {**expected, **optional}.items():
        tensor = header.tensors.get(name)
        if tensor and shape and tensor.shape != shape:
            yield f"Its tensor {name} has the shape {tensor.shape}; {shape} is due. The file is damaged."
        if tensor and name.endswith("norm.weight") and tensor.type_name != "F32":
            yield f"Its tensor {name} is {tensor.type_name}; llama.cpp needs F32. Convert it again."
    yield from _head_problems(header)


def _head_problems(header: Header) -> Iterator[str]:
    keys, head = header.keys, header.tensors.get(HEAD_WEIGHT)
    labels = keys.get("qwen3.classifier.output_labels")
    if head is None:
        if keys.get("qwen3.pooling_type") == POOLING_RANK:
            yield (
                f"It says that it is a reranker but has no {HEAD_WEIGHT}, so every score would be near zero. "
                "It was converted wrongly: convert it again with --task rerank."
            )
        return
    if labels is None and head.shape == (keys["qwen3.embedding_length"], 2):
        yield f"It does not name the rows of {HEAD_WEIGHT}, so yes and no could be swapped. Convert it again."
    elif not isinstance(labels, list) or sorted(map(str, labels)) != sorted(RERANK_LABELS):
        yield f"Its scores are labelled {labels!r}; Qwen3-Reranker's are 'yes' and 'no'."
    elif head.shape != (keys["qwen3.embedding_length"], len(labels)) or head.type_name not in (*_FLOAT_TYPES, "Q8_0"):
        yield (
            f"Its {HEAD_WEIGHT} is {head.shape} in {head.type_name}. These two rows decide every score: "
            "they are needed in F32 or nearly so. Convert it again."
        )


def _expected_shapes(header: Header) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a GGUF's weights by name; a GGUF has them the other way round than torch."""
    return {weight.name: weight.shape[::-1] for weight in weights(shape_of(header))}


def shape_of(header: Header) -> Shape:
    """Returns the sizes of a GGUF's model; its keys were checked before."""
    keys = header.keys
    return Shape(
        num_hidden_layers=keys["qwen3.block_count"],
        hidden_size=keys["qwen3.embedding_length"],
        intermediate_size=keys["qwen3.feed_forward_length"],
        num_attention_heads=keys["qwen3.attention.head_count"],
        num_key_value_heads=keys["qwen3.attention.head_count_kv"],
        head_dim=keys["qwen3.attention.key_length"],
        vocab_size=len(keys["tokenizer.ggml.tokens"]),
    )
