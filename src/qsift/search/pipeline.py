"""Two-stage search: the embedder sifts, the reranker sorts.

    with Embedder.load(…) as embedder, Reranker.load(…) as reranker:
        passages = PassageList.of(find_documents(["notes"], on_skip=print), embedder)
        for hit in SearchPipeline(embedder, reranker, passages).search("a question"):
            print(hit.score, hit.passage.source, hit.passage.line)

The first stage is an index on disk (`SearchIndex`) or passages in memory (`PassageList`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from .progress import OnProgress, counting
from .ranking import ORDERS, Candidate, Order, odds
from qsift.documents import Document, OnBatch, OnSkip, Passage, Splitter
from qsift.embedder import Embedder
from qsift.errors import DocumentError
from qsift.reranker import Reranker
from qsift.text import Vectors

CANDIDATES = 50
"""Passages that the first stage hands to the second."""
_BATCH = 1024


@dataclass(frozen=True)
class SearchHit:
    """A passage that was found.

    Attributes:
        passage: what it says and where it stands.
        score: P(yes) of the reranker, 0..1; None where there is no second stage.
        similarity: cosine with the query, -1..1.
        rank: its place after the first stage, from 1.
    """

    passage: Passage
    score: float | None
    similarity: float
    rank: int


class FirstStage(Protocol):
    """What finds candidates: a `SearchIndex` or a `PassageList`."""

    def search(self, query_vector: Any, query_text: str, *, candidates: int) -> list[Candidate]:
        """Returns the passages for a query, the best first; may take options beside."""


class PassageList:
    """Passages and their vectors in memory, all of which are looked at: 4 bytes for each entry of a vector."""

    def __init__(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Takes passages and an (n, dim) float32 array with a unit row for each; `of` makes both."""
        self.passages = list(passages)
        self._vectors = vectors

    @classmethod
    def of(
        cls,
        documents: Iterable[Document],
        embedder: Embedder,
        *,
        splitter: Splitter | None = None,
        on_skip: OnSkip | None = None,
        on_batch: OnBatch | None = None,
        on_progress: OnProgress | None = None,
    ) -> PassageList:
        """Returns the passages of documents.

        Args:
            documents: read one at a time.
            embedder: what makes the vectors.
            splitter: how documents are cut; None takes 256 tokens with an overlap of 32.
            on_skip: is told source and reason of a document that cannot be read; None raises its DocumentError.
            on_batch: is told the passages of each batch once they are embedded.
            on_progress: is told after each decode call how many passages are embedded, and how many are cut so far.

        Raises:
            DocumentError: a document cannot be read, and ``on_skip`` is None.
            EngineError: from the engine.
        """
        splitter = splitter or Splitter(embedder.token_count)
        source = _split(documents, splitter, on_skip)
        passages: list[Passage] = []
        parts = [np.empty((0, embedder.width), np.float32)]
        while batch := list(islice(source, _BATCH)):
            texts = list(dict.fromkeys(passage.text for passage in batch))
            count = counting(on_progress, len(passages), len(passages) + len(batch))
            if count:  # what needs no embedding
                count(len(batch) - len(texts))
            parts.append(embedder.encode_document([passage.text for passage in batch], on_progress=count))
            passages += batch
            if on_batch:
                on_batch(batch)
        return cls(passages, np.concatenate(parts))

    def search(self, query_vector: Any, query_text: str, *, candidates: int = CANDIDATES) -> list[Candidate]:
        """Returns the passages of largest cosine, the best first, earlier ones first where it is the same.

        Args:
            query_vector: (dim,), from `Embedder.encode_query`.
            query_text: not used here: there are no words to look up.
            candidates: how many at most.
        """
        cosines = self._vectors @ np.asarray(query_vector, np.float32)
        best = np.argsort(-cosines, kind="stable")[:candidates]
        return [
            Candidate(self.passages[i], float(cosines[i]), rank=rank, vector_rank=rank, text_rank=None)
            for rank, i in enumerate(best.tolist(), 1)
        ]


def _split(documents: Iterable[Document], splitter: Splitter, on_skip: OnSkip | None) -> Iterator[Passage]:
    for document in documents:
        try:
            passages = list(splitter.split(document))
        except DocumentError as error:
            if on_skip is None:
                raise
            on_skip(error.source, error.reason)
        else:
            yield from passages


class SearchPipeline:
    """Both stages behind one call. The caller closes the models and the index.

    Attributes:
        embedder: makes the query's vector.
        reranker: sorts the candidates; None leaves them as the first stage found them.
        first_stage: finds the candidates.
    """

    def __init__(self, embedder: Embedder, reranker: Reranker | None, first_stage: FirstStage) -> None:
        """Keeps the parts."""
        self.embedder = embedder
        self.reranker = reranker
        self.first_stage = first_stage

    def search(
        self,
        query: str,
        *,
        top_k: int = 10,
        candidates: int = CANDIDATES,
        min_score: float | None = None,
        order: Order = "both",
        query_instruction: str | None = None,
        rerank_instruction: str | None = None,
        **options: Any,
    ) -> list[SearchHit]:
        """Returns the passages that answer a query, the best first.

        Args:
            query: what is searched for.
            top_k: how many at most.
            candidates: how many the first stage finds for the second.
            min_score: leaves out what the reranker gives less, 0..1; None keeps all.
            order: "both" weighs the reranker's odds, P(yes) / P(no), with what the first stage thought of a
                passage, 1 / (1 + rank); "score" goes by P(yes) alone.
            query_instruction: of the embedder, one sentence; None takes the model's.
            rerank_instruction: of the reranker, one sentence; None takes the model's.
            **options: of the first stage, see `SearchIndex.search`: ``mode``, ``where``, ``coarse_dim``.

        Raises:
            TypeError, ValueError: no text, a number out of range, an unknown order, ``min_score`` without a reranker.
            SearchIndexError, EngineError: from the stages.
        """
        if top_k < 1 or candidates < 1:
            raise ValueError(f"top_k is {top_k} and candidates is {candidates}; at least 1 is needed.")
        if min_score is not None and self.reranker is None:
            raise ValueError("min_score is a score of the reranker, and there is none. Leave it out.")
        if order not in ORDERS:
            raise ValueError(f"order is {order!r}; allowed are {', '.join(ORDERS)}.")
        if not isinstance(query, str):
            raise TypeError(f"The query is of type {type(query).__name__}; a str is needed.")
        if not query.strip():
            raise ValueError("The query is empty. Say what to search for.")
        vector = self.embedder.encode_query(query, instruction=query_instruction)
        found = self.first_stage.search(vector, query, candidates=candidates, **options)
        if self.reranker is None:
            return [SearchHit(item.passage, None, item.similarity, item.rank) for item in found[:top_k]]
        scores = self.reranker.predict([(query, item.passage.text) for item in found], instruction=rerank_instruction)
        hits = ranked(found, scores, order)
        return [hit for hit in hits if min_score is None or (hit.score or 0.0) >= min_score][:top_k]


def ranked(candidates: Sequence[Candidate], scores: Any, order: Order = "both") -> list[SearchHit]:
    """Returns a hit for each candidate, the best first.

    Args:
        candidates: what the first stage found.
        scores: P(yes) of each, (n,) in 0..1.
        order: as `SearchPipeline.search`.
    """
    hits = [
        SearchHit(item.passage, float(score), item.similarity, item.rank)
        for item, score in zip(candidates, scores, strict=True)
    ]

    def merit(hit: SearchHit) -> float:
        score = hit.score or 0.0
        return odds(score, hit.rank) if order == "both" else score

    return sorted(hits, key=merit, reverse=True)
