"""What a caller gets who drives the engine itself: the ids that encode and rank would have decoded."""

from __future__ import annotations

import numpy as np
import pytest
from stub import CONTROL, StubEngine, StubTokenizer, model_file

from qsift import Embedder, InputTooLongError, Reranker

TEXTS = ["a text", "", "another, longer text"]
END = CONTROL["<|endoftext|>"]


@pytest.fixture
def embedder() -> Embedder:
    return Embedder(StubEngine(), StubTokenizer(), model_file("embed", n_vocab=305))


@pytest.fixture
def reranker() -> Reranker:
    return Reranker(StubEngine(width=2), StubTokenizer(), model_file("rerank"))


@pytest.mark.parametrize("instruction", [None, "Find it"])
@pytest.mark.parametrize("dim", [None, 32])
def test_preparing_decoding_and_finishing_is_encoding(
    embedder: Embedder, instruction: str | None, dim: int | None
) -> None:
    encoded = embedder.prepare(TEXTS, instruction=instruction)
    rows = embedder.engine.decode([item.ids for item in encoded])
    expected = embedder.encode(TEXTS, instruction=instruction, truncate_dim=dim)
    assert np.array_equal(embedder.finish(rows, truncate_dim=dim), expected)
    assert [len(item.ids) for item in encoded] == [embedder.token_count(t, instruction=instruction) for t in TEXTS]


@pytest.mark.parametrize("instruction", [None, "Find it"])
def test_ids_stand_where_their_text_would(embedder: Embedder, instruction: str | None) -> None:
    ids = [StubTokenizer().encode(text, control_tokens=False) for text in TEXTS]
    with_end = [np.append(each, np.int32(END)) for each in ids]
    expected = embedder.prepare(TEXTS, instruction=instruction)
    for given in (ids, with_end):
        found = embedder.prepare(given, instruction=instruction)
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one.ids, other.ids) and one.stems == other.stems


def test_ids_outside_of_the_vocabulary_are_named(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="Text 1 holds the token id 305; this model's ids go from 0 to 304"):
        embedder.prepare([np.array([1, 2], np.int32), np.array([3, 305], np.int32)])
    with pytest.raises(ValueError, match="token id -1"):
        embedder.prepare([np.array([-1], np.int32)])


def test_tokens_joined_are_the_text(embedder: Embedder) -> None:
    for text in TEXTS:
        tokens = embedder.tokens(embedder.tokenize(text))
        assert b"".join(token.piece for token in tokens).decode() == text
        assert not any(token.is_control for token in tokens), "control tokens in a text are letters"
    (*_, last) = embedder.tokens(embedder.token_ids("a text"))
    assert (last.id, last.piece, last.is_control) == (END, b"<|endoftext|>", True)
    with pytest.raises(ValueError, match="The list holds the token id 305; this model's ids go from 0 to 304"):
        embedder.tokens([1, 305])
    assert embedder.tokens([]) == []


def test_ids_end_with_the_end_token_or_not(embedder: Embedder) -> None:
    assert embedder.ends(embedder.token_ids("a text"))
    assert not embedder.ends(embedder.tokenize("a text")) and not embedder.ends(np.empty(0, np.int32))


def test_long_ids_are_cut_or_refused_like_texts(embedder: Embedder) -> None:
    ids = np.arange(60, dtype=np.int32)
    (cut,) = embedder.prepare([ids], max_tokens=10)
    assert cut.ids.tolist() == [*range(9), END] and cut.n_tokens == 61
    with pytest.raises(InputTooLongError, match="Text 0 is 61 tokens long"):
        embedder.prepare([ids], max_tokens=10, truncate=False)


def test_preparing_decoding_and_finishing_is_ranking(reranker: Reranker) -> None:
    encoded = reranker.prepare("a query", TEXTS)
    rows = reranker.engine.decode([item.ids for item in encoded])
    pairs = [("a query", text) for text in TEXTS]
    for raw in (False, True):
        assert np.array_equal(reranker.finish(rows, raw_scores=raw), reranker.predict(pairs, raw_scores=raw))


def test_a_limit_for_documents_counts_nothing_but_the_document(reranker: Reranker) -> None:
    cut, whole = reranker.prepare("a query", ["d" * 50, "d" * 7], max_document_tokens=8)
    # The space before the document is its first token here.
    assert cut.ids.tolist() == whole.ids.tolist() and cut.n_tokens > len(cut.ids)
    with pytest.raises(InputTooLongError, match="Document 1"):
        reranker.prepare("a query", ["short", "d" * 50], max_document_tokens=8, truncate=False)
    with pytest.raises(ValueError, match="max_document_tokens is 0; the smallest allowed is 1"):
        reranker.prepare("a query", ["a"], max_document_tokens=0)


def test_each_document_may_have_a_query_of_its_own(reranker: Reranker) -> None:
    queries, documents = ["one", "another, longer"], ["d" * 50, "d" * 7]
    found = reranker.prepare(queries, documents, max_document_tokens=8)
    for item, query, document in zip(found, queries, documents, strict=True):
        (alone,) = reranker.prepare(query, [document], max_document_tokens=8)
        assert np.array_equal(item.ids, alone.ids) and item.n_tokens == alone.n_tokens
    with pytest.raises(ValueError, match="There are 2 queries for 3 documents; one is needed, or as many"):
        reranker.prepare(queries, ["a"] * 3)
    with pytest.raises(InputTooLongError, match="Document 1 is"):
        reranker.prepare(queries, ["a", "d" * 50], max_document_tokens=8, truncate=False)
