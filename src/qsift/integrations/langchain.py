"""LangChain: embeddings, a cross-encoder, and a document compressor that reranks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .lazy_models import LazyModel
from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.errors import MissingExtraError
from qsift.reranker import Reranker

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.cross_encoders import BaseCrossEncoder
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from pydantic import ConfigDict, Field, PrivateAttr
except ImportError as error:
    raise MissingExtraError("The integration of LangChain", error.name or "langchain_core", "langchain") from error


class QsiftEmbeddings(Embeddings):
    """Embeddings for LangChain: queries carry an instruction, documents stand bare.

    The asynchronous methods run in a thread, so an event loop goes on; calls take turns on the model.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Embedder,
        *,
        instruction: str | None = None,
        truncate_dim: int | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        """Takes the settings; the model loads when it is used first.

        Args:
            model: a path, a name, or a loaded `qsift.Embedder`.
            instruction: what queries search for, one sentence; None takes the model's default.
            truncate_dim: width to cut to, from 32; None keeps the full one.
            options: device, threads and so on, where the model is not loaded yet.
        """
        self.instruction = instruction
        self.truncate_dim = truncate_dim
        self._embedder = LazyModel(Embedder, model, options=options)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Returns a vector of length 1 for each text, in their order.

        Raises:
            TypeError, ValueError: as `qsift.Embedder.encode`.
            QsiftError: the model cannot be loaded or run.
        """
        rows: list[list[float]] = self._embedder().encode_document(texts, truncate_dim=self.truncate_dim).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Returns the vector of a query, behind the instruction; raises as `embed_documents`."""
        vector = self._embedder().encode_query(text, instruction=self.instruction, truncate_dim=self.truncate_dim)
        row: list[float] = vector.tolist()
        return row


class QsiftCrossEncoder(BaseCrossEncoder):
    """A cross-encoder for LangChain, such as its CrossEncoderReranker takes."""

    def __init__(
        self,
        model: str | os.PathLike[str] | Reranker,
        *,
        instruction: str | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        """Takes the settings; the model loads when it is used first.

        Args:
            model: a path, a name, or a loaded `qsift.Reranker`.
            instruction: what makes a document fit, one sentence; None takes the model's default.
            options: device, threads and so on, where the model is not loaded yet.
        """
        self.instruction = instruction
        self._reranker = LazyModel(Reranker, model, options=options)

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Returns P(yes), 0..1, for each (query, document) pair, in their order.

        Raises:
            TypeError, ValueError: as `qsift.Reranker.predict`.
            QsiftError: the model cannot be loaded or run.
        """
        scores: list[float] = self._reranker().predict(list(text_pairs), instruction=self.instruction).tolist()
        return scores


class QsiftRerank(BaseDocumentCompressor):
    """A document compressor for LangChain: it keeps the best documents, the best first.

    Attributes:
        model: a path, a name, or a loaded `qsift.Reranker`.
        top_n: how many to keep; None means all.
        instruction: what makes a document fit, one sentence; None takes the model's default.
        options: device, threads and so on, where the model is not loaded yet.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: str | os.PathLike[str] | Reranker
    top_n: int | None = Field(default=3, ge=1)
    instruction: str | None = None
    options: EngineOptions | None = None
    _reranker: LazyModel[Reranker] = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Makes the model ready to be loaded; pydantic calls it."""
        super().model_post_init(context)
        self._reranker = LazyModel(Reranker, self.model, options=self.options)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Returns copies of the best documents, with P(yes) in their metadata as "relevance_score".

        Raises:
            TypeError, ValueError: as `qsift.Reranker.rank`.
            QsiftError: the model cannot be loaded or run.
        """
        texts = [document.page_content for document in documents]
        hits = self._reranker().rank(query, texts, top_k=self.top_n, instruction=self.instruction)
        return [_scored(documents[hit.corpus_id], hit.score) for hit in hits]


def _scored(document: Document, score: float) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
