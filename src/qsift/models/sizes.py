"""How large a model is: to download, on disk, in memory. Arithmetic over its shape; no file is touched.

Weights are counted by the rules that a conversion writes by (`weights`, `quants`), so they are exact to the byte.
What stands before them in the file is the vocabulary, which all released models share, and some keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from .quants import SCHEMES, encoded_bytes
from .specs import ModelSpec, Shape, Task
from .weights import weights

_ALIGNMENT = 32
_KEYS = 2600
"""Keys of a GGUF that are no vocabulary, give or take a few hundred bytes: names, tags and licence differ."""

_TOKENS = 151_669
_VOCABULARY = 5_921_399
"""Texts, types and merges of Qwen3's vocabulary in a GGUF. Measured."""
_TOKEN = 23
"""Bytes of one of the last tokens, which the oldest released checkpoints lack."""
TOKENIZER_JSON = 11_423_705
"""tokenizer.json of the released checkpoints."""


def weight_bytes(model: Shape, quant: str, task: Task) -> int:
    """Returns the size of a GGUF's weights, padding included: exactly what `convert` writes behind the header.

    Args:
        model: the sizes, such as a ModelSpec.
        quant: a name from `quants.SCHEMES`.
        task: a reranker has a head of two rows.
    """
    return sum(_padded(nbytes) for _, _, nbytes in typed_weights(model, quant, task))


def typed_weights(model: Shape, quant: str, task: Task) -> Iterator[tuple[str, str, int]]:
    """Yields (name, type, bytes without padding) of a GGUF's weights in the order of its file."""
    scheme = SCHEMES[quant]
    for weight in weights(model, task):
        type_name = scheme.type_of(weight.name, weight.shape, model)
        yield weight.name, type_name, encoded_bytes(weight.shape, type_name)


def gguf_bytes(model: ModelSpec, quant: str) -> int:
    """Returns the size of the file that `convert` makes of a released model, within a few hundred bytes."""
    names = sum(4 + 8 + len(w.name) + 8 * len(w.shape) + 4 + 8 for w in weights(model, model.task))
    vocabulary = _VOCABULARY - _TOKEN * (_TOKENS - model.vocab_size)
    return _padded(_KEYS + vocabulary + names) + weight_bytes(model, quant, model.task)


def checkpoint_bytes(model: ModelSpec) -> int:
    """Returns the size of a released checkpoint, BF16 weights and tokenizer, within 0.1 %."""
    count = sum(prod(weight.shape) for weight in weights(model))
    if model.task == "rerank" and not model.tie_word_embeddings:
        count += model.vocab_size * model.hidden_size  # the embedding models come without a head
    return 2 * count + TOKENIZER_JSON


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
