"""Static facts of the released models.

Nothing here decides how a checkpoint is read (sizes come from its config.json, ids from its
tokenizer); the table serves what has no file to look at: names, help texts, and the one property
that a GGUF cannot show, namely whether its model had an output head of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["embed", "rerank"]
TASKS: tuple[Task, ...] = ("embed", "rerank")

MIN_DIM = 32
"""The smallest width that the embedding models were trained for (Matryoshka)."""


@dataclass(frozen=True)
class ModelSpec:
    """One released model; fields are named as in its config.json where they stand there.

    Attributes:
        name: qsift's name, in lower case.
        repo: repository of the official checkpoint.
        task: "embed" or "rerank".
        num_hidden_layers, hidden_size, intermediate_size, num_attention_heads,
            num_key_value_heads, head_dim: the shape.
        tie_word_embeddings: False where the output head is a matrix of its own.
    """

    name: str
    repo: str
    task: Task
    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    tie_word_embeddings: bool


def _family(size: str, shape: tuple[int, int, int, int], *, tied: bool) -> tuple[ModelSpec, ModelSpec]:
    layers, width, ffn, heads = shape

    def spec(kind: str, task: Task) -> ModelSpec:
        repo = f"Qwen/Qwen3-{kind}-{size}"
        return ModelSpec(repo.split("/")[1].lower(), repo, task, layers, width, ffn, heads, 8, 128, tied)

    return spec("Embedding", "embed"), spec("Reranker", "rerank")


SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        *_family("0.6B", (28, 1024, 3072, 16), tied=True),
        *_family("4B", (36, 2560, 9728, 32), tied=True),
        *_family("8B", (36, 4096, 12288, 32), tied=False),
    )
}
"""The six released models by name. Source: their config.json on the hub."""
