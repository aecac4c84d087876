"""The texts that `qsift bench` measures with: words of the model's own vocabulary, seeded. Pure.

A word that is one token, at the start of a text and behind a space, makes lengths exact: a text of n words
is n tokens and the end token. Models of one vocabulary get the same texts.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np

UNIFORM = (128,) * 16
"""Tokens of the texts of equal length, end token included."""

N_QUERIES = 40
"""Single queries that are timed one by one; enough for a 95th percentile."""

_QUERY_TOKENS = 9
_WORD = re.compile(rb"[a-z]{3,12}")
_SPACE = "Ġ".encode()  # how byte-level BPE spells a space


def ragged(count: int = 32) -> tuple[int, ...]:
    """Returns the tokens of texts of lognormal length (σ 0.8, median 80), 8 to 512, in random order."""
    lengths = np.exp(np.random.default_rng(count).normal(np.log(80), 0.8, count))
    return tuple(np.clip(np.round(lengths), 8, 512).astype(int).tolist())


def words(vocabulary: Sequence[bytes]) -> list[str]:
    """Returns the words that are one token each; single letters where a vocabulary has none.

    Args:
        vocabulary: the tokens as the file spells them.
    """
    known = frozenset(vocabulary)
    found = sorted(token.decode() for token in known if _WORD.fullmatch(token) and _SPACE + token in known)
    return found or list(string.ascii_lowercase)


def make_texts(chosen_from: Sequence[str], lengths: Sequence[int], seed: int) -> list[str]:
    """Returns a text for each length, one word less than that: the end token is the last one."""
    generator = np.random.default_rng(seed)
    picks = (generator.integers(0, len(chosen_from), max(length - 1, 1)) for length in lengths)
    return [" ".join(chosen_from[i] for i in pick) for pick in picks]


def make_queries(chosen_from: Sequence[str], count: int = N_QUERIES) -> list[str]:
    """Returns short queries that differ, of eight words each."""
    return make_texts(chosen_from, [_QUERY_TOKENS] * count, seed=40)
