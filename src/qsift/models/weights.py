"""Which weights a Qwen3 has: RULES. Names on the left are transformers', on the right llama.cpp's.

Shapes are torch's, in the field names of config.json. This file knows neither values nor types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .specs import Shape, Task

RULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("embed_tokens.weight", "token_embd.weight", ("vocab_size", "hidden_size")),
    ("layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", ("hidden_size",)),
    ("layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", ("q_rows", "hidden_size")),
    ("layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", ("kv_rows", "hidden_size")),
    ("layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", ("kv_rows", "hidden_size")),
    ("layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", ("head_dim",)),
    ("layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", ("head_dim",)),
    ("layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", ("hidden_size", "q_rows")),
    ("layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", ("hidden_size",)),
    ("layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", ("intermediate_size", "hidden_size")),
    ("layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", ("intermediate_size", "hidden_size")),
    ("layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", ("hidden_size", "intermediate_size")),
    ("norm.weight", "output_norm.weight", ("hidden_size",)),
)
"""(name in the checkpoint, name in the GGUF, shape); a rule with {} holds for every layer."""

HEAD_WEIGHT = "cls.output.weight"
"""The name in a GGUF of a reranker's head: a row for yes and a row for no."""


@dataclass(frozen=True)
class Weight:
    """One weight of a model.

    Attributes:
        source: its name in a checkpoint, without "model."; empty for the rerank head, which is cut out of another.
        name: its name in a GGUF.
        shape: as torch has it.
    """

    source: str
    name: str
    shape: tuple[int, ...]


def weights(model: Shape, task: Task = "embed") -> Iterator[Weight]:
    """Yields the weights of a model's GGUF in the order of its file: layer by layer, a reranker's head last."""
    sizes = {
        "q_rows": model.num_attention_heads * model.head_dim,
        "kv_rows": model.num_key_value_heads * model.head_dim,
    }
    first, *blocks, last = (
        Weight(source, name, tuple(sizes[size] if size in sizes else getattr(model, size) for size in shape))
        for source, name, shape in RULES
    )
    yield first
    for layer in range(model.num_hidden_layers):
        for block in blocks:
            yield Weight(block.source.format(layer), block.name.format(layer), block.shape)
    yield last
    if task == "rerank":
        yield Weight("", HEAD_WEIGHT, (2, model.hidden_size))
