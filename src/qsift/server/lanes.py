"""A model that is served: its names, its queue, and the way of a request through it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from .batcher import BUDGET, Batcher, Compute
from .error_responses import ProblemError
from .metrics import Metrics
from .off_loop import off_loop
from .settings import DEFAULT_MAX_TOKENS, ServerOptions
from qsift.embedder import Embedder
from qsift.engine import TokenIds
from qsift.reranker import Reranker
from qsift.text import Encoded, LoadedModel

Rows = NDArray[np.float32]


class ClientGoneError(Exception):
    """The client closed the connection before its answer was there."""


Model = TypeVar("Model", bound=LoadedModel)


@dataclass(frozen=True)
class Vectors:
    """Vectors, (n, dim) float32, and the tokens that the model saw of all texts."""

    vectors: NDArray[Any]
    n_tokens: int


@dataclass(frozen=True)
class Scores:
    """Scores, (n,) float32 in the order of the documents, and the tokens that the model saw of all pairs."""

    scores: NDArray[np.float32]
    n_tokens: int


class _Lane(Generic[Model]):
    """What both kinds of models have in common."""

    def __init__(self, model: Model, name: str, options: ServerOptions, metrics: Metrics, compute: Compute) -> None:
        self.model = model
        self.file = model.file
        self.name = public_name(name)
        self.names = {self.name, model.file.name}
        self.max_tokens = min(options.max_tokens or DEFAULT_MAX_TOKENS, model.max_tokens)
        self._options, self._metrics = options, metrics
        self._engine = model.engine
        self.batcher = Batcher(
            model.engine, compute=compute, max_waiting=options.max_waiting, on_turn=metrics.on_turn(self.name)
        )
        metrics.watch(self.name, self.batcher)

    def warm(self) -> None:
        """Computes something, so that the first request finds its memory in place."""
        self._engine.decode([np.arange(1, 1 + BUDGET // 4, dtype=np.int32)] * 4)

    async def _rows(self, request: Request, size: int, prepare: Callable[[], list[Encoded]]) -> tuple[Rows, int]:
        """Returns the engine's rows for what ``prepare`` makes of texts of ``size`` characters, and their tokens."""
        encoded = await off_loop(size, prepare)
        n_tokens = sum(len(item.ids) for item in encoded)
        if n_tokens > (most := self._options.max_waiting):
            raise ProblemError(
                "too large", f"The request has {n_tokens} tokens; {most} are allowed in one. Send it in parts."
            )
        rows = await self._answer(request, self.batcher.submit(encoded, _client(request)))
        self._metrics.counted(self.name, n_tokens)
        request.state.told = {"texts": len(encoded), "tokens": n_tokens}
        return rows, n_tokens

    async def _answer(self, request: Request, future: Future[Rows]) -> Rows:
        """Returns the result; a client that goes, and a time that is over, take the request out of the queue."""
        result: asyncio.Future[Any] = asyncio.wrap_future(future)
        gone: asyncio.Future[Any] = asyncio.ensure_future(_disconnect(request))
        try:
            await asyncio.wait({result, gone}, timeout=self._options.timeout, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                rows: Rows = result.result()
                return rows
            if gone.done():
                raise ClientGoneError
            sentence = f"The answer took longer than {self._options.timeout:g} seconds. Send fewer or shorter texts."
            raise ProblemError("not ready", sentence, retry_after=1)
        finally:
            gone.cancel()
            result.cancel()

    def _check_count(self, texts: Sequence[Any], what: str) -> None:
        if len(texts) > self._options.max_texts:
            raise ProblemError(
                "invalid", f"{len(texts)} {what} are too many for one request; {self._options.max_texts} are allowed."
            )


class EmbeddingLane(_Lane[Embedder]):
    """An embedding model that is served."""

    async def embed(
        self,
        request: Request,
        texts: Sequence[str | Sequence[int]],
        *,
        prompt_name: str = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        max_tokens: int | None = None,
        normalize: bool = True,
    ) -> Vectors:
        """Returns the vectors of texts, or of token ids.

        Args:
            request: whose client waits.
            texts: what to embed.
            prompt_name: which of the model's prompts stands before each.
            instruction: a sentence for that prompt; None leaves its own.
            dimensions: width to cut to; None keeps the full one.
            max_tokens: tokens to cut longer texts to; None refuses those that have more than the server allows.
            normalize: whether rows get length 1.
        """
        self._check_count(texts, "texts")
        self._finish(np.empty((0, self.model.width), np.float32), dimensions, normalize)  # refuses bad ones early
        if not texts:
            return Vectors(np.empty((0, dimensions or self.model.width), np.float32), 0)

        def prepare() -> list[Encoded]:
            return self.model.prepare(
                [text if isinstance(text, str) else _token_ids(text) for text in texts],
                instruction=instruction,
                prompt_name=prompt_name,
                max_tokens=min(max_tokens or self.max_tokens, self.max_tokens),
                truncate=max_tokens is not None,
            )

        rows, n_tokens = await self._rows(request, sum(map(len, texts)), prepare)
        return Vectors(await off_loop(rows.size, self._finish, rows, dimensions, normalize), n_tokens)

    def prompt(self, input_type: str | None, prompt_name: str | None, instruction: str | None) -> dict[str, Any]:
        """Returns the arguments of `embed` for what a request says of its texts; they are documents if it is silent.

        Raises:
            ProblemError: it contradicts itself, or the model has no such prompt.
        """
        names = {name for name in (input_type and input_type.removeprefix("search_"), prompt_name) if name is not None}
        if len(names) > 1 or (instruction is not None and "document" in names):
            raise ProblemError(
                "invalid",
                "'input_type', 'prompt_name' and 'instruction' say different things: documents stand without an "
                "instruction. Give one of the three.",
                param="input_type",
            )
        name = names.pop() if names else "document" if instruction is None else "query"
        try:
            self.model.prompts.before(name=name, instruction=instruction)
        except ValueError as error:
            param = "prompt_name" if instruction is None else "instruction"
            raise ProblemError("invalid", str(error), param=param) from error
        return {"prompt_name": name, "instruction": instruction}

    def _finish(self, rows: Rows, dimensions: int | None, normalize: bool) -> NDArray[Any]:
        return self.model.finish(rows, truncate_dim=dimensions, normalize_embeddings=normalize)


class RerankLane(_Lane[Reranker]):
    """A reranker that is served."""

    async def score(
        self,
        request: Request,
        query: str,
        documents: Sequence[str],
        *,
        instruction: str | None = None,
        max_document_tokens: int | None = None,
        raw_scores: bool = False,
        truncate: bool = True,
    ) -> Scores:
        """Returns the scores of documents for a query; arguments as `Reranker.prepare` and `Reranker.predict`."""
        self._check_count(documents, "documents")
        if not documents:
            raise ProblemError("invalid", "There are no documents to rank; one at least is needed.", param="documents")

        def prepare() -> list[Encoded]:
            return self.model.prepare(
                query,
                documents,
                instruction=instruction,
                max_tokens=self.max_tokens,
                max_document_tokens=max_document_tokens,
                truncate=truncate,
            )

        # The query is tokenised anew before each document.
        size = sum(map(len, documents)) + len(query) * len(documents)
        rows, n_tokens = await self._rows(request, size, prepare)
        return Scores(self.model.finish(rows, raw_scores=raw_scores), n_tokens)


@dataclass(frozen=True)
class Lanes:
    """What a server serves; at least one of the two."""

    embedding: EmbeddingLane | None
    reranking: RerankLane | None

    @property
    def all(self) -> tuple[EmbeddingLane | RerankLane, ...]:
        """Both, or the one that there is."""
        return tuple(lane for lane in (self.embedding, self.reranking) if lane is not None)

    def embedder(self, name: str | None) -> EmbeddingLane:
        """Returns the embedding model that a request names; None means the one that there is.

        Raises:
            ProblemError: there is none of this name.
        """
        if self.embedding is None:
            raise ProblemError("not found", "This server has no embedding model. Start it with --embedding NAME.")
        self._check(name, self.embedding)
        return self.embedding

    def reranker(self, name: str | None) -> RerankLane:
        """Returns the reranker that a request names; see `embedder`."""
        if self.reranking is None:
            raise ProblemError("not found", "This server has no reranker. Start it with --reranker NAME.")
        self._check(name, self.reranking)
        return self.reranking

    def _check(self, name: str | None, lane: _Lane[Any]) -> None:
        if name is not None and name not in lane.names:
            sentence = f"There is no model {name[:200]!r} for this task here. It is {lane.name!r}."
            raise ProblemError("not found", sentence, param="model")


def public_name(name: str) -> str:
    """Returns what a model is called in answers: its name as it was given, or the stem of its file, never a path."""
    if name.lower().endswith(".gguf"):
        return os.path.basename(name)[: -len(".gguf")]
    return os.path.basename(os.path.abspath(name)) if os.path.exists(name) else name


def _token_ids(ids: Sequence[int]) -> TokenIds:
    return np.asarray(ids, np.int32)


def _client(request: Request) -> Hashable:
    return request.state.key, request.client.host if request.client else None


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
