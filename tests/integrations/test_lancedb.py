"""LanceDB's registry, tables that remember the function, its three kinds of queries, and equality with the library."""

from __future__ import annotations

from pathlib import Path

import lancedb
import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector

from qsift import Embedder, EngineOptions, Reranker
from qsift.integrations.lancedb import QsiftEmbeddingFunction, QsiftReranker

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures.", "一个查看图片的程序", "A viewer of a view."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one table, "notes", made through the registry and closed."""
    folder = tmp_path_factory.mktemp("lance")
    options = EngineOptions(device="cpu")
    function = get_registry().get("qsift").create(name="demo-embedding", truncate_dim=64, options=options)
    assert isinstance(function, QsiftEmbeddingFunction)

    class Note(LanceModel):
        text: str = function.SourceField()
        vector: Vector(function.ndims()) = function.VectorField()

    table = lancedb.connect(folder).create_table("notes", schema=Note)
    table.add([{"text": text} for text in TEXTS])
    table.create_fts_index("text")
    return folder


def test_a_table_that_is_opened_again_embeds_queries_with_and_texts_without_an_instruction(folder: Path) -> None:
    table = lancedb.connect(folder).open_table("notes")
    with Embedder.load("demo-embedding") as embedder:
        documents = embedder.encode_document(TEXTS, truncate_dim=64)
        query = embedder.encode_query("image viewer", truncate_dim=64)
    rows = table.to_arrow()
    assert rows["text"].to_pylist() == TEXTS and np.array_equal(np.float32(rows["vector"].to_pylist()), documents)
    found = table.search("image viewer", vector_column_name="vector").limit(4).to_list()
    distances = {row["text"]: row["_distance"] for row in found}
    expected = ((documents - query) ** 2).sum(axis=1)
    assert np.allclose([distances[text] for text in TEXTS], expected, atol=1e-5)
    kept = table.embedding_functions["vector"].function
    assert (kept.name, kept.truncate_dim, kept.options) == ("demo-embedding", 64, EngineOptions(device="cpu"))


@pytest.mark.parametrize("kind", ["vector", "fts", "hybrid"])
@pytest.mark.parametrize("return_score", ["relevance", "all"])
def test_each_kind_of_query_is_sorted_by_the_librarys_scores(folder: Path, kind: str, return_score: str) -> None:
    table = lancedb.connect(folder).open_table("notes")
    reranker = QsiftReranker("demo-reranker", return_score=return_score)
    rows = table.search("a viewer", query_type=kind).limit(4).rerank(reranker).to_list()
    with Reranker.load("demo-reranker") as judge:
        hits = judge.rank("a viewer", [row["text"] for row in rows])
    assert [(row["text"], row["_relevance_score"]) for row in rows] == [(hit.text, hit.score) for hit in hits]
    assert len({row["text"] for row in rows}) == len(rows) >= 1
    first_stage = {"vector": "_distance", "fts": "_score", "hybrid": "_score"}[kind]
    assert (first_stage in rows[0]) == (return_score == "all")


def test_a_query_that_finds_nothing_gives_nothing(folder: Path) -> None:
    table = lancedb.connect(folder).open_table("notes")
    found = table.search("zebra", query_type="fts").limit(4).rerank(QsiftReranker("demo-reranker")).to_list()
    assert found == []


def test_a_column_that_is_not_there_gets_a_sentence(folder: Path) -> None:
    table = lancedb.connect(folder).open_table("notes")
    query = table.search("a viewer", query_type="fts").rerank(QsiftReranker("demo-reranker", column="body"))
    with pytest.raises(ValueError, match="no column 'body' to rank by; they have 'text'"):
        query.to_list()
