"""The texts that are measured, seeded: the same on every machine and in every peer.

Every word is one token of Qwen's vocabulary with its space and without it, so a text of n words is n
tokens, and its ids are known without a tokenizer. ``ids`` end with the end token, as the model wants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from models.checkpoints import tokenizer_json
from numpy.typing import NDArray

END_OF_TEXT = 151643
"""The id of <|endoftext|> in the released vocabulary."""

_WORD = re.compile(r"[a-z]{3,12}")
_SPACE = "Ġ"  # how byte-level BPE spells a space


@dataclass(frozen=True)
class Texts:
    """Texts to embed.

    Attributes:
        texts: as a user would pass them.
        ids: their token ids with the end token, (n,) int32 each.
    """

    texts: list[str]
    ids: list[NDArray[np.int32]]

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts together."""
        return sum(len(ids) for ids in self.ids)


@dataclass(frozen=True)
class Pairs:
    """One query and the documents to judge."""

    query: str
    documents: list[str]


@cache
def _words() -> list[tuple[str, int, int]]:
    """Returns (word, id at the start of a text, id behind a space)."""
    ids = json.loads(tokenizer_json("real", end_token=True))["model"]["vocab"]
    words = sorted(token for token in ids if _WORD.fullmatch(token) and _SPACE + token in ids)
    return [(word, ids[word], ids[_SPACE + word]) for word in words]


def _texts(lengths: NDArray[np.int64], generator: np.random.Generator) -> Texts:
    words, texts, ids = _words(), [], []
    for length in lengths:
        chosen = [words[i] for i in generator.integers(0, len(words), length - 1)]
        texts.append(" ".join(word for word, _, _ in chosen))
        numbers = [first if i == 0 else behind for i, (_, first, behind) in enumerate(chosen)]
        ids.append(np.array([*numbers, END_OF_TEXT], np.int32))
    return Texts(texts, ids)


def texts_of(lengths: Sequence[int], seed: int = 0) -> Texts:
    """Returns texts of these lengths in tokens, end token included."""
    return _texts(np.array(lengths, np.int64), np.random.default_rng(seed))


def u128() -> Texts:
    """Returns 16 texts of 128 tokens each."""
    return _texts(np.full(16, 128), np.random.default_rng(128))


def mix() -> Texts:
    """Returns 64 texts of lognormal length (σ 0.8), 110 tokens in the mean, at most 383, in random order."""
    generator = np.random.default_rng(64)
    lengths = np.exp(generator.normal(0, 0.8, 64))
    # Clipping pulls the mean down, so the scale is found by a few steps instead of by a formula.
    scale = 110 / lengths.mean()
    for _ in range(50):
        scale *= 110 / np.clip(lengths * scale, 4, 383).mean()
    return _texts(np.clip(np.round(lengths * scale), 4, 383).astype(np.int64), generator)


def single33() -> Texts:
    """Returns one text of 33 tokens."""
    return _texts(np.full(1, 33), np.random.default_rng(33))


def of_length(length: int) -> Texts:
    """Returns texts of this many tokens, 2,048 tokens together, but at least one text."""
    return _texts(np.full(max(1, 2048 // length), length), np.random.default_rng(length))


def documents(count: int, shortest: int, longest: int, seed: int) -> Pairs:
    """Returns a query of 12 words and documents of so many words."""
    generator = np.random.default_rng(seed)
    found = _texts(generator.integers(shortest + 1, longest + 2, count), generator).texts
    return Pairs(_texts(np.array([13]), generator).texts[0], found)


EMBED: dict[str, Callable[[], Texts]] = {
    "u128": u128,
    "mix": mix,
    "single33": single33,
    **{f"n{length}": partial(of_length, length) for length in (16, 64, 256, 1024, 2048, 4096, 8192)},
}
"""Workloads to embed, by name; n256 are texts of 256 tokens each."""
RERANK: dict[str, Callable[[], Pairs]] = {
    "rerank32": partial(documents, 32, 90, 150, seed=32),
    **{f"rerank{count}": partial(documents, count, 130, 170, seed=count) for count in (10, 50, 100)},
}
"""Workloads to rerank, by name; the number is how many documents."""
