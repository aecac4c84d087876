"""Haystack: embedders of texts and of documents, and a ranker.

A saved pipeline that holds them loads with ``allowed_modules=["qsift.integrations.haystack"]``: Haystack makes
only components of modules that it was told to trust.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, TypeVar

from .lazy_models import LazyModel
from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.errors import MissingExtraError
from qsift.reranker import Reranker

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError as error:
    raise MissingExtraError("The integration of Haystack", error.name or "haystack", "haystack") from error

Self = TypeVar("Self", bound="_Component")


class _Component:
    """What pipelines ask of every component: to load its model, to be saved and to be restored."""

    _saved: tuple[str, ...]
    model: str
    options: EngineOptions | None
    _lazy: LazyModel[Any]

    def warm_up(self) -> None:
        """Loads the model; the first run does it too."""
        self._lazy()

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings, as pipelines save them."""
        options = None if self.options is None else asdict(self.options)
        settings = {name: getattr(self, name) for name in self._saved}
        saved: dict[str, Any] = default_to_dict(self, model=self.model, options=options, **settings)
        return saved

    @classmethod
    def from_dict(cls: type[Self], data: dict[str, Any]) -> Self:
        """Returns the component that `to_dict` described."""
        settings = dict(data.get("init_parameters", {}))
        if settings.get("options") is not None:
            settings["options"] = EngineOptions(**settings["options"])
        made: Self = default_from_dict(cls, {**data, "init_parameters": settings})
        return made


@component
class QsiftTextEmbedder(_Component):
    """Embeds a query, behind an instruction."""

    _saved = ("instruction", "truncate_dim")

    def __init__(
        self,
        model: str,
        *,
        instruction: str | None = None,
        truncate_dim: int | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        """Takes the settings.

        Args:
            model: a path or a name, as `qsift.Embedder.load` takes it.
            instruction: what queries search for, one sentence; None takes the model's default.
            truncate_dim: width to cut to, from 32; None keeps the full one.
            options: device, threads and so on.
        """
        self.model, self.instruction, self.truncate_dim, self.options = model, instruction, truncate_dim, options
        self._lazy = LazyModel(Embedder, model, options=options)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """Returns the query's vector under "embedding".

        Raises:
            TypeError, ValueError: not a text.
            QsiftError: the model cannot be loaded or run.
        """
        if not isinstance(text, str):
            raise TypeError(
                f"text is of type {type(text).__name__}; a str is needed. QsiftDocumentEmbedder takes lists."
            )
        vector = self._lazy().encode_query(text, instruction=self.instruction, truncate_dim=self.truncate_dim)
        return {"embedding": vector.tolist()}


@component
class QsiftDocumentEmbedder(_Component):
    """Embeds documents, bare, all of them in one call."""

    _saved = ("truncate_dim", "meta_fields_to_embed", "embedding_separator", "progress_bar")

    def __init__(
        self,
        model: str,
        *,
        truncate_dim: int | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        progress_bar: bool = False,
        options: EngineOptions | None = None,
    ) -> None:
        """Takes the settings.

        Args:
            model: a path or a name, as `qsift.Embedder.load` takes it.
            truncate_dim: width to cut to, from 32; None keeps the full one.
            meta_fields_to_embed: fields of a document's meta that are put before its content.
            embedding_separator: what stands between them.
            progress_bar: whether to draw one on stderr.
            options: device, threads and so on.
        """
        self.model, self.truncate_dim, self.options = model, truncate_dim, options
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator
        self.progress_bar = progress_bar
        self._lazy = LazyModel(Embedder, model, options=options)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Returns copies of the documents with their vectors, under "documents".

        Raises:
            TypeError, ValueError: not a list of documents, or a text that cannot be one.
            QsiftError: the model cannot be loaded or run.
        """
        texts = _texts(documents, self.meta_fields_to_embed, self.embedding_separator)
        rows = self._lazy().encode_document(texts, truncate_dim=self.truncate_dim, show_progress_bar=self.progress_bar)
        embedded = zip(documents, rows.tolist(), strict=True)
        return {"documents": [replace(document, embedding=row) for document, row in embedded]}


@component
class QsiftRanker(_Component):
    """Ranks documents by how well they answer a query."""

    _saved = ("top_k", "instruction", "meta_fields_to_embed", "embedding_separator")

    def __init__(
        self,
        model: str,
        *,
        top_k: int | None = 10,
        instruction: str | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        options: EngineOptions | None = None,
    ) -> None:
        """Takes the settings.

        Args:
            model: a path or a name, as `qsift.Reranker.load` takes it.
            top_k: how many documents to keep; None means all.
            instruction: what makes a document fit, one sentence; None takes the model's default.
            meta_fields_to_embed: fields of a document's meta that are put before its content.
            embedding_separator: what stands between them.
            options: device, threads and so on.
        """
        self.model, self.top_k, self.instruction, self.options = model, top_k, instruction, options
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator
        self._lazy = LazyModel(Reranker, model, options=options)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Returns copies of the best documents under "documents", the best first, P(yes) as their score.

        Args:
            query: what was asked.
            documents: what was found.
            top_k: how many to keep; None takes the constructor's.

        Raises:
            TypeError, ValueError: not a list of documents, not a text, ``top_k`` below 1.
            QsiftError: the model cannot be loaded or run.
        """
        texts = _texts(documents, self.meta_fields_to_embed, self.embedding_separator)
        top_k = self.top_k if top_k is None else top_k
        hits = self._lazy().rank(query, texts, top_k=top_k, instruction=self.instruction)
        return {"documents": [replace(documents[hit.corpus_id], score=hit.score) for hit in hits]}


def _texts(documents: Any, fields: list[str], separator: str) -> list[str]:
    """Returns the text of each document, chosen fields of its meta before its content."""
    if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
        raise TypeError("documents must be a list of haystack.Document; QsiftTextEmbedder takes a str.")
    return [
        separator.join([*(str(d.meta[field]) for field in fields if d.meta.get(field) is not None), d.content or ""])
        for d in documents
    ]
