"""A model that is served: its names and facts, its place in memory, and the way of a request through it."""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from .batcher import BUDGET, Batcher, Compute
from .error_responses import ProblemError
from .in_turns import InTurns, OnRows
from .metrics import Metrics
from .off_loop import off_loop
from .pool import Pool, Slot
from .settings import DEFAULT_MAX_TOKENS, ServerOptions
from .waiting import unless_gone
from qsift.embedder import Embedder
from qsift.engine import EngineOptions, Token, TokenIds, needed_memory
from qsift.errors import ModelFileError, QsiftError
from qsift.hub import open_model
from qsift.models import Task
from qsift.reranker import Reranker
from qsift.text import Encoded, LoadedModel, check_dim

Rows = NDArray[np.float32]


T = TypeVar("T")
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


@dataclass(frozen=True)
class Shared:
    """What the lanes of a server have in common: limits, figures, cores, memory, and how models are loaded."""

    options: ServerOptions
    metrics: Metrics
    compute: Compute
    pool: Pool
    engine: EngineOptions


class Resident(Generic[Model]):
    """A model in memory, and the thread that drives it."""

    def __init__(self, model: Model, batcher: Batcher, *, is_ours: bool) -> None:
        self.model, self.batcher, self._is_ours = model, batcher, is_ours

    def close(self) -> None:
        """Finishes what was submitted, and frees the model unless it is somebody else's."""
        self.batcher.close()
        if self._is_ours:
            self.model.close()


class _Lane(ABC, Generic[Model]):
    """What both kinds of models have in common.

    Attributes:
        file: the facts of the model's file, which hold whether it is loaded or not.
        name: what it is called in answers.
        names: what requests may call it.
        created: when its file was written, in seconds since 1970.
        max_tokens: the longest text that is taken.
    """

    task: ClassVar[Task]

    def __init__(self, name: str, model: Model | str | os.PathLike[str], shared: Shared) -> None:
        """Serves a model that is loaded, or one that will be at its first use.

        Raises:
            QsiftError: it is no model for this task, or needs more memory than there is.
        """
        self._shared, self._options = shared, shared.options
        self.file = model.file if isinstance(model, LoadedModel) else open_model(model, self.task)
        self.file.require(self.task)
        self.name = public_name(name)
        self.names = {self.name, self.file.name}
        self.created = int(os.path.getmtime(self.file.path))
        self.max_tokens = min(self._options.max_tokens or DEFAULT_MAX_TOKENS, self.file.max_tokens)
        self.slot: Slot[Resident[Model]]
        if isinstance(model, LoadedModel):
            self.slot = Slot(self.name, resident=self._with_batcher(model, is_ours=False))
        else:
            nbytes = needed_memory(self.file, shared.engine, n_tokens=self.max_tokens)
            self.slot = Slot(self.name, nbytes=nbytes, load=self._load)
        shared.pool.add(self.slot)
        shared.metrics.watch(self.name, lambda: self.waiting, lambda: self.slot.resident is not None)

    @abstractmethod
    def _load_model(self, path: str, options: EngineOptions) -> Model: ...

    @property
    def status(self) -> Literal["loaded", "loading", "unloaded"]:
        """Whether the model is in memory."""
        return "loaded" if self.slot.resident else "loading" if self.slot.is_loading else "unloaded"

    @property
    def is_alive(self) -> bool:
        """Whether it takes requests."""
        resident = self.slot.resident
        return not self._shared.pool.is_closed and (resident is None or resident.batcher.is_alive)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many tokens and how many requests wait; tokens are known as soon as the model is loaded."""
        resident = self.slot.resident
        n_tokens, n_requests = resident.batcher.waiting if resident else (0, 0)
        return n_tokens, n_requests + len(self.slot.waiting)

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits that differ between models."""
        return self.file.fingerprint()

    async def tokens(
        self, request: Request, texts: Sequence[str], *, is_whole: bool = False, prompt_name: str | None = None
    ) -> list[list[Token]]:
        """Returns the tokens of texts.

        Args:
            request: whose client waits.
            texts: what to tokenise.
            is_whole: whether an embedding model's prompt and end token stand around each.
            prompt_name: of that prompt; None takes the one for documents.
        """
        self._check_count(texts, "texts")

        def tokenised(model: LoadedModel, text: str) -> list[Token]:
            if is_whole and isinstance(model, Embedder):
                return model.tokens(model.token_ids(text, prompt_name=prompt_name or "document"))
            return model.tokens(model.tokenize(text))

        async with self.resident(request) as resident:
            return await off_loop(sum(map(len, texts)), lambda: [tokenised(resident.model, text) for text in texts])

    async def text_of(self, request: Request, ids: Sequence[int], *, skip_control: bool = False) -> str:
        """Returns the text that token ids are of, without control tokens if they are to be skipped."""

        def joined(model: LoadedModel) -> str:
            tokens = model.tokens(np.asarray(ids, np.int64))
            return b"".join(t.piece for t in tokens if not (skip_control and t.is_control)).decode("utf-8", "replace")

        async with self.resident(request) as resident:
            return await off_loop(len(ids), joined, resident.model)

    def warm(self) -> None:
        """Computes something, if it is loaded, so that the first request finds its memory in place."""
        if self.slot.resident:
            engine = self.slot.resident.model.engine
            engine.decode([np.arange(1, 1 + BUDGET // 4, dtype=np.int32)] * 4)

    def resident(self, request: Request, deadline: float | None = None) -> AbstractAsyncContextManager[Resident[Model]]:
        """Keeps the model loaded for the block, and loads it first where it is not.

        Args:
            request: whose client waits.
            deadline: until when, in monotonic seconds; None takes the server's limit, from now.

        Raises:
            ProblemError: it cannot be loaded, or not in time.
        """

        async def wait(ticket: asyncio.Future[Resident[Model]]) -> Resident[Model]:
            late = (
                f"The model {self.name!r} was not in memory after {self._options.timeout:g} seconds. Try again later."
            )
            try:
                return await self._answer(request, ticket, deadline or self._deadline(), late)
            except QsiftError as error:
                reason = error.reason if isinstance(error, ModelFileError) else str(error)
                sentence = f"The model {self.name!r} cannot be loaded now. {reason}"
                raise ProblemError("not ready", sentence, retry_after=10) from error

        return self._shared.pool.hold(self.slot, wait)

    async def _rows(
        self, request: Request, size: int, prepare: Callable[[Model], list[Encoded]]
    ) -> tuple[Model, Rows, int]:
        """Returns the model, its rows for what ``prepare`` makes of texts of ``size`` characters, and their tokens."""
        deadline = self._deadline()
        async with self.resident(request, deadline) as resident:
            encoded = await off_loop(size, prepare, resident.model)
            n_tokens = sum(len(item.ids) for item in encoded)
            if n_tokens > (most := self._options.max_waiting):
                raise ProblemError(
                    "too large", f"The request has {n_tokens} tokens; {most} are allowed in one. Send it in parts."
                )
            result = asyncio.wrap_future(resident.batcher.submit(encoded, _client(request)))
            late = f"The answer took longer than {self._options.timeout:g} seconds. Send fewer or shorter texts."
            rows = await self._answer(request, result, deadline, late)
        self._shared.metrics.counted(self.name, n_tokens)
        request.state.told = {"texts": len(encoded), "tokens": n_tokens}
        return resident.model, rows, n_tokens

    async def _answer(self, request: Request, result: asyncio.Future[T], deadline: float, late: str) -> T:
        """Returns the result; a client that goes, and a time that is over, take the request out of the queue."""
        try:
            return await unless_gone(request, result, max(deadline - time.monotonic(), 0))
        except TimeoutError:
            raise ProblemError("not ready", late, retry_after=1) from None

    def _deadline(self) -> float:
        return time.monotonic() + self._options.timeout

    def _load(self) -> Resident[Model]:
        model = self._load_model(self.file.path, self._shared.engine)
        if model.file != self.file:
            model.close()
            raise ModelFileError(self.file.path, "It is another model now than when the server started. Start it anew.")
        self._shared.metrics.loaded(self.name)
        return self._with_batcher(model, is_ours=True)

    def _with_batcher(self, model: Model, *, is_ours: bool) -> Resident[Model]:
        batcher = Batcher(
            model.engine,
            compute=self._shared.compute,
            max_waiting=self._options.max_waiting,
            on_turn=self._shared.metrics.on_turn(self.name),
        )
        return Resident(model, batcher, is_ours=is_ours)

    def _check_count(self, texts: Sequence[Any], what: str) -> None:
        if len(texts) > self._options.max_texts:
            raise ProblemError(
                "invalid", f"{len(texts)} {what} are too many for one request; {self._options.max_texts} are allowed."
            )


class EmbeddingLane(_Lane[Embedder]):
    """An embedding model that is served."""

    task = "embed"

    def _load_model(self, path: str, options: EngineOptions) -> Embedder:
        return Embedder.load(path, options=options)

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
        width = check_dim(dimensions, width=self.file.width, min_dim=self.file.min_dim)  # before it is computed
        if not texts:
            return Vectors(np.empty((0, width), np.float32), 0)

        if not self._options.accept_token_ids and any(not isinstance(text, str) for text in texts):
            raise ProblemError("invalid", _NO_TOKEN_IDS, param="input")

        def prepare(model: Embedder) -> list[Encoded]:
            return model.prepare(
                [text if isinstance(text, str) else _token_ids(model, text, index) for index, text in enumerate(texts)],
                instruction=instruction,
                prompt_name=prompt_name,
                max_tokens=min(max_tokens or self.max_tokens, self.max_tokens),
                truncate=max_tokens is not None,
            )

        model, rows, n_tokens = await self._rows(request, sum(map(len, texts)), prepare)
        finish = partial(model.finish, truncate_dim=dimensions, normalize_embeddings=normalize)
        return Vectors(await off_loop(rows.size, finish, rows), n_tokens)

    def in_turns(self, on_rows: OnRows) -> Embedder:
        """Returns the model as it is in memory, whose calls take turns with the requests: for work on a thread.

        Args:
            on_rows: is told how many texts of a call were computed, in small parts; what it raises ends the call.

        Raises:
            ProblemError: the model is not in memory now.
        """
        resident = self.slot.resident
        if resident is None:
            raise ProblemError("not ready", f"The model {self.name!r} is not in memory.", retry_after=10)
        return resident.model.run_by(InTurns(resident.model.engine, resident.batcher, on_rows))

    def prompt(self, given: Mapping[str, str], instruction: str | None) -> dict[str, Any]:
        """Returns the arguments of `embed` for what a request says of its texts; they are documents if it is silent.

        Args:
            given: names of prompts, by the field that says them.
            instruction: a sentence for the prompt.

        Raises:
            ProblemError: it contradicts itself, or the model has no such prompt.
        """
        names = set(given.values())
        if len(names) > 1 or (instruction is not None and "document" in names):
            fields = [*given, *(["instruction"] if instruction is not None else [])]
            raise ProblemError(
                "invalid",
                f"{' and '.join(map(repr, fields))} say different things: documents stand without an instruction. "
                "Give one of them.",
                param=fields[0],
            )
        name = names.pop() if names else "document" if instruction is None else "query"
        try:
            self.file.prompts.before(name=name, instruction=instruction)
        except ValueError as error:
            field = "instruction" if instruction is not None else next(iter(given))
            raise ProblemError("invalid", f"{field!r}: {error}", param=field) from error
        return {"prompt_name": name, "instruction": instruction}


class RerankLane(_Lane[Reranker]):
    """A reranker that is served."""

    task = "rerank"

    def _load_model(self, path: str, options: EngineOptions) -> Reranker:
        return Reranker.load(path, options=options)

    async def score(
        self,
        request: Request,
        query: str | Sequence[str],
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

        def prepare(model: Reranker) -> list[Encoded]:
            return model.prepare(
                query,
                documents,
                instruction=instruction,
                max_tokens=self.max_tokens,
                max_document_tokens=max_document_tokens,
                truncate=truncate,
            )

        # The query is tokenised anew before each document.
        queries = [query] * len(documents) if isinstance(query, str) else query
        size = sum(map(len, documents)) + sum(map(len, queries))
        model, rows, n_tokens = await self._rows(request, size, prepare)
        return Scores(model.finish(rows, raw_scores=raw_scores), n_tokens)


def public_name(name: str) -> str:
    """Returns what a model is called in answers: its name as it was given, or the stem of its file, never a path."""
    if name.lower().endswith(".gguf"):
        return os.path.basename(name)[: -len(".gguf")]
    return os.path.basename(os.path.abspath(name)) if os.path.exists(name) else name


_NO_TOKEN_IDS = (
    "The texts came as token ids. Those of another tokenizer, such as OpenAI's, would give wrong vectors without a "
    "sign, so none are taken. Send texts: LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False, "
    "LibreChat's rag_api with RAG_CHECK_EMBEDDING_CTX_LENGTH=False. If they are this model's own, start the server "
    "with --accept-token-ids."
)


def _token_ids(model: Embedder, ids: Sequence[int], index: int) -> TokenIds:
    found = np.asarray(ids, np.int32)
    if not model.ends(found):
        raise ValueError(
            f"The token ids of text {index} do not end with {model.file.end_token}, this model's end token, so they "
            "are another tokenizer's, or not whole. Send the text."
        )
    return found


def _client(request: Request) -> Hashable:
    return request.state.key, request.client.host if request.client else None
