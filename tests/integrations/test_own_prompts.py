"""A fine-tune with prompts of its own, through every integration: queries and documents are the library's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from haystack import Document
from mteb.types import PromptType

from qsift import Embedder
from qsift.integrations.columns import Vectors
from qsift.integrations.haystack import QsiftDocumentEmbedder, QsiftTextEmbedder
from qsift.integrations.lancedb import QsiftEmbeddingFunction
from qsift.integrations.langchain import QsiftEmbeddings
from qsift.integrations.llama_index import QsiftEmbedding
from qsift.integrations.mteb import QsiftEncoder
from qsift.integrations.sentence_transformers import QsiftSentenceTransformer

TEXT = "image viewer"


@pytest.fixture(scope="module")
def embedder(fine_tune: Path) -> Iterator[Embedder]:
    with Embedder.load(fine_tune) as embedder:
        yield embedder


@pytest.fixture(scope="module")
def query(embedder: Embedder) -> np.ndarray:
    return embedder.encode_query(TEXT)


@pytest.fixture(scope="module")
def document(embedder: Embedder) -> np.ndarray:
    return embedder.encode_document(TEXT)


def test_frameworks_get_the_models_prompts(fine_tune: Path, query: np.ndarray, document: np.ndarray) -> None:
    name = str(fine_tune)
    langchain, llama, lance = QsiftEmbeddings(name), QsiftEmbedding(model_name=name), QsiftEmbeddingFunction(name=name)
    found = [
        (langchain.embed_query(TEXT), langchain.embed_documents([TEXT])[0]),
        (llama.get_query_embedding(TEXT), llama.get_text_embedding(TEXT)),
        (lance.compute_query_embeddings(TEXT)[0], lance.compute_source_embeddings([TEXT])[0]),
        (
            QsiftTextEmbedder(name).run(TEXT)["embedding"],
            QsiftDocumentEmbedder(name).run([Document(content=TEXT)])["documents"][0].embedding,
        ),
    ]
    for asked, stored in found:
        assert np.allclose(asked, query, atol=1e-6) and np.allclose(stored, document, atol=1e-6)


def test_the_shape_of_a_sentence_transformer_has_the_models_prompts(embedder: Embedder) -> None:
    model = QsiftSentenceTransformer(embedder)
    assert model.prompts == embedder.prompts.texts and model.default_prompt_name == "web"
    assert np.array_equal(model.encode(TEXT), embedder.encode(TEXT, prompt_name="web"))
    assert np.array_equal(model.encode_query(TEXT), embedder.encode_query(TEXT))
    assert np.array_equal(model.encode_document(TEXT), embedder.encode_document(TEXT))
    assert np.array_equal(model.encode(TEXT, prompt=""), embedder.encode(TEXT, prompt=""))


def test_columns_are_documents_queries_or_behind_a_named_prompt(fine_tune: Path, embedder: Embedder) -> None:
    def column(**settings: Any) -> np.ndarray:
        table = Vectors(str(fine_tune), **settings).load(1)(pa.table({"text": [TEXT]}))
        return np.array(table["vector"].to_pylist()[0], np.float32)

    assert np.allclose(column(), embedder.encode_document(TEXT), atol=1e-6)
    assert np.allclose(column(prompt_name="query"), embedder.encode_query(TEXT), atol=1e-6)
    told = embedder.encode(TEXT, prompt_name="web", instruction="Find")
    assert np.allclose(column(prompt_name="web", instruction="Find"), told, atol=1e-6)
    with pytest.raises(ValueError, match="no place for an instruction"):
        column(instruction="Find")


def test_mteb_gets_the_sides_prompts_where_queries_have_no_place_for_a_tasks_instruction(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = QsiftEncoder(embedder)
    monkeypatch.setattr(model, "get_instruction", lambda *_: "The task's own")

    def encode(side: PromptType | None) -> np.ndarray:
        batches = [{"text": [TEXT]}]
        return model.encode(batches, task_metadata=None, hf_split="test", hf_subset="default", prompt_type=side)[0]

    assert np.array_equal(encode(PromptType.query), embedder.encode_query(TEXT))
    assert np.array_equal(encode(PromptType.document), embedder.encode_document(TEXT))
    assert np.array_equal(encode(None), embedder.encode(TEXT))
