"""Passages by a real model's own tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from texts import SENTENCES

from qsift import Document, Embedder, Splitter

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("max_tokens", "overlap"), [(16, 0), (64, 16), (256, 32)])
def test_passages_keep_the_limit_of_the_model_and_lose_nothing(
    gguf: Callable[..., Path], max_tokens: int, overlap: int
) -> None:
    text = "\n".join([*SENTENCES, "x" * 500, "中" * 300, "e\u0301" * 300, (ROOT / "README.md").read_text("utf-8")])
    with Embedder.load(gguf("embed-real-vocab")) as embedder:
        splitter = Splitter(embedder.token_count, max_tokens=max_tokens, overlap=overlap)
        passages = list(splitter.split(Document.of_text(text, "source", kind="markdown")))
        assert max(embedder.token_count(passage.text) for passage in passages) <= max_tokens
    lines = text.split("\n")
    assert all(p.text in "\n".join(lines[p.line - 1 : p.end_line]) for p in passages)
    found = {word for passage in passages for word in passage.text.split()}
    if overlap:  # then the limit also has room for each of the words
        assert found >= {word for word in text.split() if len(word) < 16}
    else:
        assert "".join("".join(passage.text.split()) for passage in passages) == "".join(text.split())
