"""LlamaIndex's round trips, and equality with the library."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import NodeWithScore, TextNode

from qsift import Embedder, EngineOptions, Reranker
from qsift.integrations.llama_index import QsiftEmbedding, QsiftRerank

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures.", "一个查看图片的程序"]
NODES = [TextNode(text=text, id_=str(i)) for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("dim", [None, 64])
def test_vectors_are_the_librarys_queries_with_and_texts_without_an_instruction(dim: int | None) -> None:
    embedding = QsiftEmbedding(model_name="demo-embedding", truncate_dim=dim, instruction="Find programs")
    with Embedder.load("demo-embedding") as embedder:
        texts = embedder.encode_document(TEXTS, truncate_dim=dim)
        query = embedder.encode_query("image viewer", truncate_dim=dim, instruction="Find programs")
        default = embedder.encode_query("image viewer", truncate_dim=dim)
    assert np.array_equal(np.float32(embedding.get_text_embedding_batch(TEXTS)), texts)
    assert np.array_equal(np.float32(embedding.get_text_embedding(TEXTS[0])), texts[0])
    assert np.array_equal(np.float32(embedding.get_query_embedding("image viewer")), query)
    plain = QsiftEmbedding(model_name="demo-embedding", truncate_dim=dim)
    assert np.array_equal(np.float32(plain.get_query_embedding("image viewer")), default)


def test_the_asynchronous_methods_give_the_same() -> None:
    embedding = QsiftEmbedding(model_name="demo-embedding")

    async def all_three() -> list:
        return await asyncio.gather(
            embedding.aget_text_embedding_batch(TEXTS),
            embedding.aget_text_embedding(TEXTS[0]),
            embedding.aget_query_embedding("image viewer"),
        )

    batch, text, query = asyncio.run(all_three())
    assert batch == embedding.get_text_embedding_batch(TEXTS) and text == batch[0]
    assert query == embedding.get_query_embedding("image viewer") != embedding.get_text_embedding("image viewer")


def test_settings_survive_dict_json_and_pickle() -> None:
    options = EngineOptions(device="cpu", threads=1)
    embedding = QsiftEmbedding(model_name="demo-embedding", truncate_dim=64, instruction="Find", options=options)
    vector = embedding.get_query_embedding("image viewer")
    twins = [
        QsiftEmbedding.from_dict(embedding.to_dict()),
        QsiftEmbedding.from_json(embedding.to_json()),
        pickle.loads(pickle.dumps(embedding)),
    ]
    for twin in twins:
        assert twin.options == options and twin.get_query_embedding("image viewer") == vector
    rerank = QsiftRerank(model="demo-reranker", top_n=1, instruction="Find", options=options)
    assert rerank.postprocess_nodes([NodeWithScore(node=node) for node in NODES], query_str="image viewer")
    for twin in (QsiftRerank.from_dict(rerank.to_dict()), pickle.loads(pickle.dumps(rerank))):
        assert (twin.model, twin.top_n, twin.instruction, twin.options) == ("demo-reranker", 1, "Find", options)
        assert twin.postprocess_nodes([NodeWithScore(node=node) for node in NODES], query_str="image viewer")


def test_an_index_and_a_pipeline_take_it() -> None:
    embedding = QsiftEmbedding(model_name="demo-embedding")
    index = VectorStoreIndex(NODES, embed_model=embedding)
    found = index.as_retriever(similarity_top_k=2).retrieve("image viewer")
    assert {node.text for node in found} == set(TEXTS[1:])
    embedded = IngestionPipeline(transformations=[embedding]).run(nodes=NODES)
    assert [node.embedding for node in embedded] == embedding.get_text_embedding_batch(TEXTS)


def test_the_postprocessor_keeps_the_best_with_the_librarys_scores() -> None:
    nodes = [NodeWithScore(node=node, score=0.5) for node in NODES]
    with Reranker.load("demo-reranker") as reranker:
        hits = reranker.rank("image viewer", TEXTS, top_k=2)
    kept = QsiftRerank(model="demo-reranker", top_n=2).postprocess_nodes(nodes, query_str="image viewer")
    assert [(node.node_id, node.score) for node in kept] == [(str(hit.corpus_id), hit.score) for hit in hits]
    assert all(node.score == 0.5 for node in nodes)
    assert len(QsiftRerank(model="demo-reranker", top_n=None).postprocess_nodes(nodes, query_str="a")) == len(nodes)
    assert QsiftRerank(model="demo-reranker").postprocess_nodes([], query_str="a") == []
    with pytest.raises(ValueError, match="There is no query to rank the nodes by"):
        QsiftRerank(model="demo-reranker").postprocess_nodes(nodes)
