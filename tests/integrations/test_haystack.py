"""Haystack's round trips through dictionaries and YAML, and equality with the library."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy

from qsift import Embedder, EngineOptions, Reranker
from qsift.integrations.haystack import QsiftDocumentEmbedder, QsiftRanker, QsiftTextEmbedder

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures.", "一个查看图片的程序"]
DOCUMENTS = [Document(content=text, meta={"title": f"Number {i}"}) for i, text in enumerate(TEXTS)]
OPTIONS = EngineOptions(device="cpu", threads=1)


@pytest.mark.parametrize("dim", [None, 64])
def test_vectors_are_the_librarys(dim: int | None) -> None:
    with Embedder.load("demo-embedding") as embedder:
        documents = embedder.encode_document(TEXTS, truncate_dim=dim)
        titled = embedder.encode_document([f"Number {i} | {text}" for i, text in enumerate(TEXTS)], truncate_dim=dim)
        query = embedder.encode_query("image viewer", truncate_dim=dim, instruction="Find programs")
    plain = QsiftDocumentEmbedder("demo-embedding", truncate_dim=dim).run(DOCUMENTS)["documents"]
    assert np.array_equal(np.float32([document.embedding for document in plain]), documents)
    assert all(document.embedding is None for document in DOCUMENTS)
    with_titles = QsiftDocumentEmbedder(
        "demo-embedding", truncate_dim=dim, meta_fields_to_embed=["title", "absent"], embedding_separator=" | "
    )
    assert np.array_equal(np.float32([d.embedding for d in with_titles.run(DOCUMENTS)["documents"]]), titled)
    told = QsiftTextEmbedder("demo-embedding", truncate_dim=dim, instruction="Find programs")
    assert np.array_equal(np.float32(told.run("image viewer")["embedding"]), query)
    assert QsiftDocumentEmbedder("demo-embedding").run([]) == {"documents": []}


def test_the_ranker_gives_the_librarys_order_and_scores() -> None:
    with Reranker.load("demo-reranker") as reranker:
        hits = reranker.rank("image viewer", TEXTS)
    ranker = QsiftRanker("demo-reranker", top_k=2)
    kept = ranker.run("image viewer", DOCUMENTS)["documents"]
    assert [(d.content, d.score) for d in kept] == [(hit.text, hit.score) for hit in hits[:2]]
    assert len(ranker.run("image viewer", DOCUMENTS, top_k=3)["documents"]) == 3
    assert ranker.run("image viewer", []) == {"documents": []}
    assert all(document.score is None for document in DOCUMENTS)


@pytest.mark.parametrize(
    "component",
    [
        QsiftTextEmbedder("demo-embedding", instruction="Find", truncate_dim=64, options=OPTIONS),
        QsiftTextEmbedder("demo-embedding"),
        QsiftDocumentEmbedder("demo-embedding", meta_fields_to_embed=["title"], options=OPTIONS),
        QsiftRanker("demo-reranker", top_k=None, instruction="Find", embedding_separator=" ", options=OPTIONS),
    ],
    ids=lambda component: type(component).__name__,
)
def test_a_component_comes_back_from_its_dictionary(component: object) -> None:
    component.warm_up()
    saved = component.to_dict()
    twin = type(component).from_dict(saved)
    assert twin.to_dict() == saved and twin.options == component.options
    told = {name: value for name, value in vars(component).items() if not name.startswith("_")}
    assert told == {name: value for name, value in vars(twin).items() if not name.startswith("_")}


def pipeline() -> Pipeline:
    made = Pipeline()
    made.add_component("embedder", QsiftTextEmbedder("demo-embedding", options=OPTIONS))
    made.add_component("retriever", InMemoryEmbeddingRetriever(InMemoryDocumentStore(), top_k=3))
    made.add_component("ranker", QsiftRanker("demo-reranker", top_k=2, options=OPTIONS))
    made.connect("embedder.embedding", "retriever.query_embedding")
    made.connect("retriever.documents", "ranker.documents")
    return made


def answer(made: Pipeline) -> list[tuple[str, float]]:
    store = made.get_component("retriever").document_store
    embedded = QsiftDocumentEmbedder("demo-embedding").run(DOCUMENTS)["documents"]
    store.write_documents(embedded, policy=DuplicatePolicy.OVERWRITE)
    found = made.run({"embedder": {"text": "image viewer"}, "ranker": {"query": "image viewer"}})
    return [(document.content, document.score) for document in found["ranker"]["documents"]]


def test_a_pipeline_that_was_saved_as_yaml_answers_alike() -> None:
    made = pipeline()
    restored = Pipeline.loads(made.dumps(), allowed_modules=["qsift.integrations.haystack"])
    assert restored.dumps() == made.dumps()
    assert answer(restored) == answer(made) and {text for text, _ in answer(made)} == set(TEXTS[1:])


def test_an_asynchronous_pipeline_answers_alike() -> None:
    made = pipeline()
    expected = answer(made)
    asked = {"embedder": {"text": "image viewer"}, "ranker": {"query": "image viewer"}}
    found = asyncio.run(made.run_async(asked))
    assert [(document.content, document.score) for document in found["ranker"]["documents"]] == expected


def test_wrong_input_gets_a_sentence() -> None:
    with pytest.raises(TypeError, match="text is of type list; a str is needed"):
        QsiftTextEmbedder("demo-embedding").run(["a"])
    with pytest.raises(TypeError, match=r"documents must be a list of haystack\.Document"):
        QsiftDocumentEmbedder("demo-embedding").run("a")
    with pytest.raises(ValueError, match="top_k is 0"):
        QsiftRanker("demo-reranker").run("a", DOCUMENTS, top_k=0)
