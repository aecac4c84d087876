"""LangChain's own suite for embeddings, and equality with the library."""

from __future__ import annotations

import asyncio
import copy
import pickle

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from qsift import Embedder, EngineOptions, QsiftError, Reranker
from qsift.integrations.langchain import QsiftCrossEncoder, QsiftEmbeddings, QsiftRerank

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures.", "一个查看图片的程序", ""]


class TestLangChainsUnitSuite(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[QsiftEmbeddings]:
        return QsiftEmbeddings

    @property
    def embedding_model_params(self) -> dict:
        return {"model": "demo-embedding", "truncate_dim": 64}


class TestLangChainsIntegrationSuite(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[QsiftEmbeddings]:
        return QsiftEmbeddings

    @property
    def embedding_model_params(self) -> dict:
        return {"model": "demo-embedding"}


@pytest.mark.parametrize("dim", [None, 64])
def test_vectors_are_the_librarys_queries_with_and_documents_without_an_instruction(dim: int | None) -> None:
    embeddings = QsiftEmbeddings("demo-embedding", truncate_dim=dim)
    told = QsiftEmbeddings("demo-embedding", truncate_dim=dim, instruction="Find programs")
    with Embedder.load("demo-embedding") as embedder:
        documents = embedder.encode_document(TEXTS, truncate_dim=dim)
        query = embedder.encode_query("image viewer", truncate_dim=dim)
        other = embedder.encode_query("image viewer", truncate_dim=dim, instruction="Find programs")
    assert np.array_equal(np.float32(embeddings.embed_documents(TEXTS)), documents)
    assert np.array_equal(np.float32(embeddings.embed_query("image viewer")), query)
    assert np.array_equal(np.float32(told.embed_query("image viewer")), other) and not np.array_equal(query, other)
    assert embeddings.embed_documents([]) == []


def test_the_asynchronous_methods_give_the_same() -> None:
    embeddings = QsiftEmbeddings("demo-embedding")

    async def both() -> tuple[list, list]:
        return await asyncio.gather(embeddings.aembed_documents(TEXTS), embeddings.aembed_query("image viewer"))

    assert asyncio.run(both()) == [embeddings.embed_documents(TEXTS), embeddings.embed_query("image viewer")]


def test_a_vector_store_finds_what_was_asked_for() -> None:
    store = InMemoryVectorStore.from_texts(TEXTS, QsiftEmbeddings("demo-embedding"))
    assert {found.page_content for found in store.similarity_search("image viewer", k=2)} == set(TEXTS[1:3])


def test_scores_of_the_cross_encoder_are_the_librarys() -> None:
    pairs = [("image viewer", text) for text in TEXTS]
    with Reranker.load("demo-reranker") as reranker:
        plain, told = reranker.predict(pairs), reranker.predict(pairs, instruction="Find programs")
        assert QsiftCrossEncoder(reranker).score(pairs) == plain.tolist()
    assert QsiftCrossEncoder("demo-reranker").score(pairs) == plain.tolist() != told.tolist()
    assert QsiftCrossEncoder("demo-reranker", instruction="Find programs").score(pairs) == told.tolist()


def test_the_compressor_keeps_the_best_and_leaves_its_input_alone() -> None:
    documents = [Document(page_content=text, metadata={"place": i}, id=str(i)) for i, text in enumerate(TEXTS)]
    compressor = QsiftRerank(model="demo-reranker", top_n=2)
    kept = compressor.compress_documents(documents, "image viewer")
    with Reranker.load("demo-reranker") as reranker:
        hits = reranker.rank("image viewer", TEXTS, top_k=2)
    assert [(d.metadata["place"], d.metadata["relevance_score"]) for d in kept] == [
        (hit.corpus_id, hit.score) for hit in hits
    ]
    assert [d.id for d in kept] == [str(hit.corpus_id) for hit in hits]
    assert all("relevance_score" not in document.metadata for document in documents)
    assert asyncio.run(compressor.acompress_documents(documents, "image viewer")) == kept
    assert len(QsiftRerank(model="demo-reranker", top_n=None).compress_documents(documents, "a")) == len(TEXTS)
    assert compressor.compress_documents([], "image viewer") == []


def test_components_are_copied_and_pickled_without_their_models() -> None:
    embeddings, compressor = QsiftEmbeddings("demo-embedding"), QsiftRerank(model="demo-reranker")
    vector = embeddings.embed_query("image viewer")
    for twin in (copy.deepcopy(embeddings), pickle.loads(pickle.dumps(embeddings))):
        assert twin.embed_query("image viewer") == vector
    compressor.compress_documents([Document(page_content="a")], "a")
    assert copy.deepcopy(compressor).compress_documents([Document(page_content="a")], "a")
    with Embedder.load("demo-embedding") as embedder, pytest.raises(TypeError, match="give its path or name instead"):
        pickle.dumps(QsiftEmbeddings(embedder))


def test_the_same_settings_share_one_model_and_others_do_not() -> None:
    one, two = QsiftEmbeddings("demo-embedding"), QsiftEmbeddings("demo-embedding", truncate_dim=32)
    other = QsiftEmbeddings("demo-embedding", options=EngineOptions(threads=1))
    assert one._embedder() is two._embedder()
    assert one._embedder() is not other._embedder()


def test_wrong_models_get_a_sentence() -> None:
    with pytest.raises(TypeError, match=r"model is of type int; a path, a name or Embedder\.load"):
        QsiftEmbeddings(3)  # type: ignore[arg-type]
    with pytest.raises(QsiftError, match="is a reranker"):
        QsiftEmbeddings("demo-reranker").embed_query("a")
    with (
        Reranker.load("demo-reranker") as reranker,
        pytest.raises(TypeError, match="options cannot be given beside a loaded model"),
    ):
        QsiftCrossEncoder(reranker, options=EngineOptions())
    with pytest.raises(ValueError, match="top_n"):
        QsiftRerank(model="demo-reranker", top_n=0)
