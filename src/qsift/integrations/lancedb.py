"""LanceDB: the embedding function "qsift" in its registry, and a reranker for its queries.

For an index that qsift keeps itself see `qsift.SearchIndex`; this is for tables of one's own. A table
remembers its embedding function: import this module before a table is opened that was made with it.
"""

from __future__ import annotations

from typing import Any

from .lazy_models import LazyModel
from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.errors import MissingExtraError
from qsift.reranker import Reranker

try:
    import pyarrow as pa
    from lancedb.embeddings import EmbeddingFunction, register
    from lancedb.rerankers import Reranker as LanceReranker
    from pydantic import PrivateAttr
except ImportError as error:
    raise MissingExtraError("The integration of LanceDB", error.name or "lancedb", "lancedb") from error


@register("qsift")
class QsiftEmbeddingFunction(EmbeddingFunction):
    """An embedding function for LanceDB: ``get_registry().get("qsift").create(name="qwen3-embedding-0.6b")``.

    Queries carry an instruction, the source column stands bare.

    Attributes:
        name: a path or a name, as `qsift.Embedder.load` takes it; loads when it is used first.
        instruction: what queries search for, one sentence; None takes the model's default.
        truncate_dim: width to cut to, from 32; None keeps the full one.
        options: device, threads and so on.
        max_retries: none: what fails here fails again.
    """

    name: str
    instruction: str | None = None
    truncate_dim: int | None = None
    options: EngineOptions | None = None
    max_retries: int = 0
    _embedder: LazyModel[Embedder] = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Makes the model ready to be loaded; pydantic calls it."""
        super().model_post_init(context)
        self._embedder = LazyModel(Embedder, self.name, options=self.options)

    def safe_model_dump(self) -> dict[str, Any]:
        """Returns the settings as a table's metadata keep them."""
        kept: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return kept

    def ndims(self) -> int:
        """Returns the width of the vectors."""
        return self.truncate_dim or self._embedder().width

    def compute_query_embeddings(self, query: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Returns a list of one (dim,) float32 vector; raises as `qsift.Embedder.encode`."""
        encode = self._embedder().encode_query
        return list(encode([query], instruction=self.instruction, truncate_dim=self.truncate_dim))

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Returns a (dim,) float32 vector for each text; raises as `qsift.Embedder.encode`."""
        found = self.sanitize_input(texts)
        return list(self._embedder().encode_document(list(found), truncate_dim=self.truncate_dim))


class QsiftReranker(LanceReranker):
    """A reranker for LanceDB: ``table.search(query).rerank(QsiftReranker("qwen3-reranker-0.6b"))``.

    Rows come back with P(yes) as "_relevance_score", the best first.
    """

    def __init__(
        self,
        model: str,
        *,
        column: str = "text",
        instruction: str | None = None,
        return_score: str = "relevance",
        options: EngineOptions | None = None,
    ) -> None:
        """Takes the settings; the model loads when it is used first.

        Args:
            model: a path or a name, as `qsift.Reranker.load` takes it.
            column: the column that holds the texts.
            instruction: what makes a text fit, one sentence; None takes the model's default.
            return_score: "relevance", or "all", which keeps the first stage's scores beside it.
            options: device, threads and so on.
        """
        super().__init__(return_score)
        self.column, self.instruction = column, instruction
        self._reranker = LazyModel(Reranker, model, options=options)

    def rerank_vector(self, query: str, vector_results: pa.Table) -> pa.Table:
        """Returns the rows that a vector search found, sorted anew."""
        return self._sorted(query, vector_results)

    def rerank_fts(self, query: str, fts_results: pa.Table) -> pa.Table:
        """Returns the rows that a full-text search found, sorted anew."""
        return self._sorted(query, fts_results)

    def rerank_hybrid(self, query: str, vector_results: pa.Table, fts_results: pa.Table) -> pa.Table:
        """Returns the rows that either search found, each once, sorted anew."""
        if self.score == "all":
            return self._sorted(query, self._merge_and_keep_scores(vector_results, fts_results))
        return self._sorted(query, self.merge_results(vector_results, fts_results))

    def _sorted(self, query: str, found: pa.Table) -> pa.Table:
        if self.column not in found.column_names:
            names = ", ".join(map(repr, found.column_names))
            raise ValueError(f"The rows have no column {self.column!r} to rank by; they have {names}.")
        pairs = [(query, text) for text in found[self.column].to_pylist()]
        scores = self._reranker().predict(pairs, instruction=self.instruction)
        scored = found.append_column("_relevance_score", pa.array(scores, pa.float32()))
        if self.score == "relevance":
            scored = scored.drop_columns([name for name in ("_distance", "_score") if name in scored.column_names])
        return scored.sort_by([("_relevance_score", "descending")])
