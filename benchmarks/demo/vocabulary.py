"""Step 2: a byte-level BPE of our own in the form of Qwen's: tokenizer.json.

Normaliser (NFC), pre-tokenizer and control tokens are Qwen's; only the merges are learnt, from a sample of
the training text in which Chinese and Japanese weigh more than their share. Merges learnt from bytes often cut
Chinese across its characters; so the most frequent characters and dictionary words get merges of their own.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from models.checkpoints import ADDED, PATTERN
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from .exchanges import segmented
from .pairs import Pairs
from qsift.models import END_OF_TEXT, RERANK_LABELS

SIZE = 28_000
"""Tokens that are learnt from bytes."""
WORDS = 2_000
"""Chinese characters and words that become tokens after them."""

MEGABYTES = {"en": 16, "zh": 12, "ja": 6, "de": 4, "fr": 4, "es": 4, "zh_TW": 1, "ru": 1, "ko": 1, "it": 1, "pt": 1}
"""How much UTF-8 of each language the merges are learnt from."""


def sample(pairs: Pairs, generator: np.random.Generator) -> Iterator[str]:
    """Yields texts of every language in random order until its share is full."""
    left = {language: size * 1_000_000 for language, size in MEGABYTES.items()}
    for row in generator.permutation(pairs.training):
        for text, language in pairs.sides(row):
            if left.get(language, 0) > 0:
                left[language] -= len(text.encode())
                yield text
    for label in RERANK_LABELS:
        # The reranker's answers must be single tokens also without a space in front.
        yield from [label] * 2000


def chinese_words(pairs: Pairs) -> list[str]:
    """Returns the characters and dictionary words of the Chinese training texts, the most frequent first."""
    dictionary = {pairs.query[row]: "" for row in pairs.rows("gloss", ("zh", "en")) if len(pairs.query[row]) > 1}
    rows = [
        pairs.rows("translation", ("en", "zh")),
        pairs.rows("section", ("zh", "zh")),
        pairs.rows("review", ("zh", "zh")),
    ]
    counts: Counter[str] = Counter()
    for row in np.concatenate(rows):
        counts.update(part for part in segmented(pairs.document[row], dictionary) if "\u4e00" <= part[0] <= "\u9fff")
    return [word for word, _ in counts.most_common()]


def with_words(tokenizer: Tokenizer, words: Iterable[str], count: int) -> Tokenizer:
    """Returns the tokenizer with ``count`` more tokens and merges, so that the first of ``words`` are one token."""
    pieces_of = {word: tokenizer.encode(word, add_special_tokens=False).tokens for word in words}
    state = json.loads(tokenizer.to_str())
    vocabulary, merges = state["model"]["vocab"], state["model"]["merges"]
    full = len(vocabulary) + count
    for pieces in pieces_of.values():
        joined = pieces[0]
        for piece in pieces[1:]:
            if joined + piece not in vocabulary and len(vocabulary) < full:
                vocabulary[joined + piece] = len(vocabulary)
                merges.append([joined, piece])
            joined += piece
    return Tokenizer.from_str(json.dumps(state))


def train(texts: Iterator[str], words: Iterable[str]) -> Tokenizer:
    """Returns a tokenizer that ends every text with the end token, as the embedding models' does."""
    tokenizer = split_as_qwen(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=18,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return with_controls(with_words(tokenizer, words, WORDS))


def split_as_qwen(tokenizer: Tokenizer) -> Tokenizer:
    """Returns the tokenizer with Qwen's normaliser, pre-tokenizer and decoder, set in place."""
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def with_controls(tokenizer: Tokenizer) -> Tokenizer:
    """Returns the tokenizer with Qwen's control tokens behind its own, and the end token behind every text."""
    for text, special in ADDED:
        add = tokenizer.add_special_tokens if special else tokenizer.add_tokens
        add([AddedToken(text, normalized=False, special=special)])
    end = tokenizer.token_to_id(END_OF_TEXT)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
            processors.TemplateProcessing(
                single=f"$A {END_OF_TEXT}",
                pair=f"$A {END_OF_TEXT} $B:1 {END_OF_TEXT}:1",
                special_tokens=[(END_OF_TEXT, end)],
            ),
        ]
    )
    return tokenizer


def main() -> None:
    """Writes tokenizer.json and prints how many characters a token stands for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    pairs = Pairs.read(folder)
    tokenizer = train(sample(pairs, np.random.default_rng(0)), chinese_words(pairs))
    ids = {label: tokenizer.token_to_id(label) for label in RERANK_LABELS}
    if None in ids.values():
        raise SystemExit(f"Error: the labels of the reranker are not single tokens: {ids}.")
    tokenizer.save(str(folder / "tokenizer.json"))
    counts: dict[str, list[float]] = {}
    for row in np.random.default_rng(1).choice(np.flatnonzero(pairs.held_out), 20_000):
        for text, language in pairs.sides(row):
            counts.setdefault(language, []).append(len(text) / len(tokenizer.encode(text).ids))
    print(json.dumps({language: round(float(np.mean(ratios)), 2) for language, ratios in sorted(counts.items())}))


if __name__ == "__main__":
    main()
