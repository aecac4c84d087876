"""Static facts of the released models and of the bundled demo pair.

Nothing here decides how a checkpoint is read (sizes come from its config.json, ids from its
tokenizer); the table serves what has no file to look at: names, help texts, and the one property
that a GGUF cannot show, namely whether its model had an output head of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Task = Literal["embed", "rerank"]
TASKS: tuple[Task, ...] = ("embed", "rerank")

MIN_DIM = 32
"""The smallest width that the embedding models were trained for (Matryoshka)."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a model, all positive, named as in its config.json.

    Attributes:
        num_hidden_layers: number of blocks.
        hidden_size: width of the hidden state.
        intermediate_size: width inside the feed-forward part.
        num_attention_heads, num_key_value_heads: query heads; heads of keys and of values.
        head_dim: width of a head.
        vocab_size: rows of the embedding matrix.
    """

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int


@dataclass(frozen=True)
class ModelSpec(Shape):
    """One model, released or bundled.

    Attributes:
        name: qsift's name, in lower case.
        repo: repository of the official checkpoint; None for a bundled model.
        task: "embed" or "rerank".
        tie_word_embeddings: False where the output head is a matrix of its own.
        context: the longest text that it is made for, in tokens. Source: the model cards; a file may allow more.
        instead_use: for a bundled model, the name of the released one for real work; else None.
    """

    name: str
    repo: str | None
    task: Task
    tie_word_embeddings: bool
    context: int
    instead_use: str | None = None

    @property
    def note(self) -> str | None:
        """What to know before using it; None for a released model."""
        if self.instead_use is None:
            return None
        return f"for trying out and for tests, not for production; for real work use {self.instead_use}"


def _family(
    size: str, shape: tuple[int, int, int, int], vocab_sizes: tuple[int, int], *, tied: bool
) -> tuple[ModelSpec, ModelSpec]:
    def spec(kind: str, task: Task, vocab_size: int) -> ModelSpec:
        repo = f"Qwen/Qwen3-{kind}-{size}"
        name = repo.split("/")[1].lower()
        return ModelSpec(name, repo, task, tied, 32_768, None, **_sizes(*shape, 8, 128, vocab_size))

    return spec("Embedding", "embed", vocab_sizes[0]), spec("Reranker", "rerank", vocab_sizes[1])


def _demo(kind: str, task: Task, layers: int) -> ModelSpec:
    instead = f"qwen3-{kind}-0.6b"
    return ModelSpec(f"demo-{kind}", None, task, True, 2048, instead, **_sizes(layers, 256, 768, 4, 2, 64, 30_026))


def _sizes(*numbers: int) -> dict[str, int]:
    return dict(zip((field.name for field in fields(Shape)), numbers, strict=True))


SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        *_family("0.6B", (28, 1024, 3072, 16), (151_669, 151_669), tied=True),
        *_family("4B", (36, 2560, 9728, 32), (151_665, 151_669), tied=True),
        *_family("8B", (36, 4096, 12288, 32), (151_665, 151_669), tied=False),
        _demo("embedding", "embed", 3),
        _demo("reranker", "rerank", 4),
    )
}
"""The six released models and the bundled demo pair by name. Source: their config.json."""
