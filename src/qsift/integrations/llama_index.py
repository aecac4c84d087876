"""LlamaIndex: an embedding, and a node postprocessor that reranks."""

from __future__ import annotations

import asyncio
from typing import Any

from .lazy_models import LazyModel
from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.errors import MissingExtraError
from qsift.reranker import Reranker
from qsift.text import WINDOW

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import Field, PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise MissingExtraError("The integration of LlamaIndex", error.name or "llama_index", "llama-index") from error


class QsiftEmbedding(BaseEmbedding):
    """An embedding for LlamaIndex: queries carry an instruction, texts stand bare.

    Attributes:
        model_name: a path or a name, as `qsift.Embedder.load` takes it; loads when it is used first.
        instruction: what queries search for, one sentence; None takes the model's default.
        truncate_dim: width to cut to, from 32; None keeps the full one.
        options: device, threads and so on.
        embed_batch_size: texts that LlamaIndex hands over at once.
    """

    instruction: str | None = None
    truncate_dim: int | None = None
    options: EngineOptions | None = None
    embed_batch_size: int = Field(default=WINDOW, gt=0, le=2048)
    _embedder: LazyModel[Embedder] = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Makes the model ready to be loaded; pydantic calls it."""
        super().model_post_init(context)
        self._embedder = LazyModel(Embedder, self.model_name, options=self.options)

    @classmethod
    def class_name(cls) -> str:
        """Returns the name that saved settings carry."""
        return "QsiftEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        vector = self._embedder().encode_query(query, instruction=self.instruction, truncate_dim=self.truncate_dim)
        row: list[float] = vector.tolist()
        return row

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._embedder().encode_document(texts, truncate_dim=self.truncate_dim).tolist()
        return rows

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


class QsiftRerank(BaseNodePostprocessor):
    """A node postprocessor for LlamaIndex: it keeps the best nodes, the best first.

    Attributes:
        model: a path or a name, as `qsift.Reranker.load` takes it; loads when it is used first.
        top_n: how many to keep; None means all.
        instruction: what makes a node fit, one sentence; None takes the model's default.
        options: device, threads and so on.
    """

    model: str
    top_n: int | None = Field(default=2, ge=1)
    instruction: str | None = None
    options: EngineOptions | None = None
    _reranker: LazyModel[Reranker] = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Makes the model ready to be loaded; pydantic calls it."""
        super().model_post_init(context)
        self._reranker = LazyModel(Reranker, self.model, options=self.options)

    @classmethod
    def class_name(cls) -> str:
        """Returns the name that saved settings carry."""
        return "QsiftRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("There is no query to rank the nodes by. Pass query_bundle or query_str.")
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        hits = self._reranker().rank(query_bundle.query_str, texts, top_k=self.top_n, instruction=self.instruction)
        return [NodeWithScore(node=nodes[hit.corpus_id].node, score=hit.score) for hit in hits]
