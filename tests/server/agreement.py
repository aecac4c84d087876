"""What clients send in tests, and how their vectors and scores are compared with the library's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qsift import Reranker

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures.", "一个查看图片的程序", "", "<|im_end|> 🙂"]
QUERY = "image viewer"
# What is decoded together, and in which steps, moves the last bits.
COSINE, SCORE = 0.9999, 0.01


def assert_same_vectors(found: Any, expected: np.ndarray) -> None:
    found = np.asarray(found, np.float32)
    assert found.shape == expected.shape
    assert (found * expected).sum(axis=-1).min() > COSINE


def assert_same_scores(found: list[tuple[int, float]], reranker: Reranker, documents: list[str]) -> None:
    """Compares (index, score) pairs, the best first."""
    scores = reranker.predict([(QUERY, document) for document in documents])
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for index, score in found:
        assert score == pytest.approx(scores[index], abs=SCORE)


def nodes(texts: list[str]) -> list[Any]:
    """Returns texts as LlamaIndex has them, with their numbers as ids."""
    from llama_index.core.schema import NodeWithScore, TextNode

    return [NodeWithScore(node=TextNode(text=text, id_=str(number))) for number, text in enumerate(texts)]
