"""Vectors and scores against torch, for every quant, within bounds that were measured first.

The tiny models exaggerate every error: three wide-awake layers of random weights, with scores
twenty times as steep as a released reranker's. The bounds that matter to users are those of the
0.6B shape, in the last test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from texts import SENTENCES

from qsift import Embedder, EngineOptions, Reranker
from qsift.bench.reference import Reference
from qsift.bench.verify import compare_scores, compare_vectors

# Checkpoint, quant, smallest cosine to torch, largest change of a pairwise similarity.
VECTORS = [
    ("embed", "f32", 0.99999, 0.002),
    ("embed", "f16", 0.99999, 0.002),
    ("embed-prefix-sharded", "f16", 0.99999, 0.002),
    ("embed-untied-f32", "f32", 0.99999, 0.002),
    ("embed-f16", "f16", 0.99999, 0.002),
    ("embed-real-vocab", "f16", 0.99999, 0.002),
    ("embed-wide", "f16", 0.99999, 0.002),
    ("embed-wide", "bf16", 0.9995, 0.01),
    ("embed-wide", "q8_0", 0.996, 0.03),
    ("embed-wide", "q6_k", 0.97, 0.06),
    ("embed-wide", "q5_k_m", 0.92, 0.12),
    ("embed-wide", "q4_k_m", 0.8, 0.2),
    ("embed-wide", "q4_0", 0.8, 0.22),
    ("embed-wide", "iq4_xs", 0.78, 0.22),
    ("embed-wide", "iq4_nl", 0.78, 0.22),
    ("embed-wide", "q3_k_m", 0.75, 0.25),
    ("embed-wide", "iq3_m", 0.7, 0.3),
]
# Checkpoint, quant, largest change of P(yes).
SCORES = [
    ("rerank", "f32", 0.0015),
    ("rerank", "f16", 0.0015),
    ("rerank-untied", "f16", 0.002),
    ("rerank-real-vocab", "f16", 0.002),
    ("rerank-wide", "f16", 0.005),
    ("rerank-wide", "bf16", 0.02),
    ("rerank-wide", "q8_0", 0.04),
    ("rerank-wide", "q6_k", 0.14),
    ("rerank-wide", "q5_k_m", 0.33),
    ("rerank-wide", "q4_k_m", 0.45),
    ("rerank-wide", "q4_0", 0.45),
    ("rerank-wide", "iq4_xs", 0.45),
    ("rerank-wide", "iq4_nl", 0.45),
    ("rerank-wide", "q3_k_m", 0.45),
    ("rerank-wide", "iq3_m", 0.45),
]
PAIRS = [(SENTENCES[i % 5], text) for i, text in enumerate(SENTENCES)]


def check_vectors(embedder: Embedder, reference: Reference, texts: list[str], cosine: float, change: float) -> None:
    """Asserts that ids are the checkpoint's, and vectors and similarities within their bounds of torch's."""
    found = compare_vectors(embedder, reference, texts)
    print(f"smallest cosine {found.min_cosine:.6f}, largest change of a similarity {found.max_change:.5f}")
    assert found.n_other_ids == 0
    assert found.min_cosine >= cosine, f"cosine {found.min_cosine:.6f} on {texts[found.worst][:60]!r}"
    assert found.max_change <= change, f"a similarity moved by {found.max_change:.5f}"


def check_scores(reranker: Reranker, reference: Reference, pairs: list[tuple[str, str]], change: float) -> None:
    """Asserts that ids are the checkpoint's, and P(yes) and the raw difference within their bounds of torch's."""
    found = compare_scores(reranker, reference, pairs)
    print(f"largest change of P(yes) {found.max_change:.6f}, of l_yes - l_no {found.max_raw_change:.5f}")
    assert found.n_other_ids == 0
    assert found.max_change <= change, f"P(yes) moved by {found.max_change:.5f} on {pairs[found.worst]!r}"
    assert found.max_raw_change <= 10 * change, f"l_yes - l_no moved by {found.max_raw_change:.5f}"


@pytest.mark.parametrize(("name", "quant", "cosine", "change"), VECTORS)
def test_vectors_are_torchs(
    checkpoint: Callable[..., Path], gguf: Callable[..., Path], name: str, quant: str, cosine: float, change: float
) -> None:
    with Embedder.load(gguf(name, quant)) as embedder:
        check_vectors(embedder, Reference(checkpoint(name)), SENTENCES, cosine, change)


@pytest.mark.parametrize(("name", "quant", "change"), SCORES)
def test_scores_are_torchs(
    checkpoint: Callable[..., Path], gguf: Callable[..., Path], name: str, quant: str, change: float
) -> None:
    with Reranker.load(gguf(name, quant)) as reranker:
        check_scores(reranker, Reference(checkpoint(name)), PAIRS, change)


def test_a_text_of_20_000_tokens_gives_torchs_vector(
    checkpoint: Callable[..., Path], gguf: Callable[..., Path]
) -> None:
    # Tokens that the tiny vocabulary does not merge, so that characters are tokens.
    text = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(20_000))
    with Embedder.load(gguf("embed")) as embedder:
        assert embedder.token_count(text) > 19_000
        check_vectors(embedder, Reference(checkpoint("embed")), [text, "short"], 0.9999, 0.005)


def test_f32_cache_is_closest_to_torch(checkpoint: Callable[..., Path], gguf: Callable[..., Path]) -> None:
    with Embedder.load(gguf("embed", "f32"), options=EngineOptions(cache_type="f32")) as embedder:
        check_vectors(embedder, Reference(checkpoint("embed")), SENTENCES, 0.999999, 0.0005)


def test_vectors_of_the_0_6b_shape_are_within_the_promised_bounds(
    checkpoint: Callable[..., Path], gguf: Callable[..., Path]
) -> None:
    texts = SENTENCES[::4]
    reference = Reference(checkpoint("embed-0.6b"))
    for quant, cosine, change in (("f16", 0.99999, 0.002), ("bf16", 0.9999, 0.005), ("q8_0", 0.999, 0.01)):
        with Embedder.load(gguf("embed-0.6b", quant)) as embedder:
            check_vectors(embedder, reference, texts, cosine, change)


def test_scores_of_the_0_6b_shape_are_within_the_promised_bounds(
    checkpoint: Callable[..., Path], gguf: Callable[..., Path]
) -> None:
    reference = Reference(checkpoint("rerank-0.6b"))
    # Q8_0 rounds activations too, and each kernel in its own way: 0.0106 with AVX2.
    for quant, change in (("f16", 0.001), ("q8_0", 0.012)):
        with Reranker.load(gguf("rerank-0.6b", quant)) as reranker:
            check_scores(reranker, reference, PAIRS[::4], change)
