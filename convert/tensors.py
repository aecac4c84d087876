"""RULES: which tensor of a checkpoint becomes which tensor of a GGUF, and in what shape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from qsift.specs import Task

from .checkpoint import Checkpoint, StoredTensor
from .config import ModelConfig
from .quantize import encoded_size, type_for
from .vocab import Vocabulary

# Checkpoint name, GGUF name, shape in names of ModelConfig or of _derived. {} is the layer.
RULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("embed_tokens.weight", "token_embd.weight", ("vocab_size", "hidden_size")),
    ("layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", ("hidden_size",)),
    ("layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", ("q_rows", "hidden_size")),
    ("layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", ("kv_rows", "hidden_size")),
    ("layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", ("kv_rows", "hidden_size")),
    ("layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", ("hidden_size", "q_rows")),
    ("layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", ("head_dim",)),
    ("layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", ("head_dim",)),
    ("layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", ("hidden_size",)),
    ("layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", ("intermediate_size", "hidden_size")),
    ("layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", ("intermediate_size", "hidden_size")),
    ("layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", ("hidden_size", "intermediate_size")),
    ("norm.weight", "output_norm.weight", ("hidden_size",)),
)
_HEAD = "lm_head.weight"
_FLOATS = ("BF16", "F16", "F32")


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the output.

    Attributes:
        name: in the GGUF.
        source: where its numbers are.
        picked: the rows of the source to take; None means all.
        type_name: such as "Q8_0".
    """

    name: str
    source: StoredTensor
    picked: tuple[int, ...] | None
    type_name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Slowest dimension first."""
        return self.source.shape if self.picked is None else (len(self.picked), *self.source.shape[1:])

    @property
    def n_elements(self) -> int:
        """The number of weights."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in the file, without padding."""
        return encoded_size(self.type_name, self.n_elements)

    def chunks(self, n_elements: int) -> Iterator[NDArray[np.float32]]:
        """Yields the rows in order, about ``n_elements`` weights at a time."""
        if self.picked is not None:
            yield np.concatenate([self.source.rows(row, row + 1) for row in self.picked])
            return
        step = max(1, n_elements // self.source.shape[-1])
        for start in range(0, self.source.n_rows, step):
            yield self.source.rows(start, min(start + step, self.source.n_rows))


def plan_tensors(
    source: Checkpoint, config: ModelConfig, vocabulary: Vocabulary, task: Task, quant: str, problems: list[str]
) -> list[PlannedTensor]:
    """Returns the output's tensors in file order; adds every problem to ``problems``.

    Args:
        source: the checkpoint.
        config: its sizes.
        vocabulary: its tokens, for the ids of yes and no.
        task: what the output is for; a reranker gets a head of two rows.
        quant: a name from `quantize.QUANTS`.
        problems: where to put what is missing, surplus, misshapen or of a foreign type.
    """
    before = len(problems)
    expected = _expected(config)
    # A tensor called "model.x" and one called "x" are the same one, from a base or a causal model class.
    stored = {re.sub(r"^model\.", "", name): tensor for name, tensor in source.tensors.items()}
    if len(stored) < len(source.tensors):
        problems.append("Some tensors are there twice, with and without the prefix 'model.'.")
    _check_names(stored, expected, problems)
    for name, (_, shape) in {**expected, _HEAD: ("", expected["embed_tokens.weight"][1])}.items():
        tensor = stored.get(name)
        if tensor and tensor.shape != shape:
            problems.append(f"{tensor.name} has the shape {tensor.shape}; config.json makes it {shape}.")
        if tensor and tensor.dtype not in _FLOATS:
            problems.append(f"{tensor.name} is stored as {tensor.dtype}; {', '.join(_FLOATS)} can be converted.")
    head = stored.get("embed_tokens.weight") if config.tie_word_embeddings else stored.get(_HEAD)
    if task == "rerank" and head is None and "embed_tokens.weight" in stored:
        problems.append(
            f"{_HEAD} is missing. The model is not tied (tie_word_embeddings is false), so a reranker's scores "
            "come from that matrix alone; take the checkpoint that has it."
        )
    if len(problems) > before:
        return []
    layers = config.num_hidden_layers
    plan = [
        PlannedTensor(target, stored[name], None, type_for(quant, target, shape, layers))
        for name, (target, shape) in expected.items()
    ]
    if task == "rerank" and head is not None:
        rows = (vocabulary.ids["yes"], vocabulary.ids["no"])
        plan.append(PlannedTensor("cls.output.weight", head, rows, "F32"))
    return plan


def _expected(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Returns GGUF name and shape by checkpoint name, in file order."""
    sizes = {
        **vars(config),
        "q_rows": config.num_attention_heads * config.head_dim,
        "kv_rows": config.num_key_value_heads * config.head_dim,
    }
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for layer in range(config.num_hidden_layers):
        for name, target, shape in RULES:
            if layer == 0 or "{}" in name:
                expected[name.format(layer)] = (target.format(layer), tuple(sizes[size] for size in shape))
    return expected


def _check_names(
    stored: dict[str, StoredTensor], expected: dict[str, tuple[str, tuple[int, ...]]], problems: list[str]
) -> None:
    missing = [name for name in expected if name not in stored]
    surplus = [tensor.name for name, tensor in stored.items() if name not in expected and name != _HEAD]
    for kind, names in (("missing", missing), ("not part of a Qwen3 model of this config", surplus)):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            problems.append(f"{len(names)} tensors are {kind}: {', '.join(names[:5])}{more}.")
