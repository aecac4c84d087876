"""The application: models, endpoints and what stands around them, put together."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from . import cohere, llama_server, ollama, openai, rerank, status, tei, tokens, vllm
from .batcher import ClosedError, Compute, QueueFullError
from .error_responses import ProblemError, answer, dialect_of, not_offered, problem_of
from .gate import DOCS_ASSETS, Gate
from .lanes import EmbeddingLane, RerankLane, Shared, public_name
from .metrics import Metrics
from .names import Lanes
from .pool import Pool
from .settings import MEMORY_SHARE, ServerOptions
from .waiting import ClientGoneError
from qsift import __version__
from qsift.embedder import Embedder
from qsift.engine import EngineOptions, free_memory
from qsift.errors import QsiftError
from qsift.reranker import Reranker
from qsift.text import LoadedModel

logger = logging.getLogger("qsift.server")

_ENDPOINTS = (openai, cohere, rerank, tei, llama_server, vllm, ollama, tokens, status)


def create_app(
    embedders: Mapping[str, Embedder | str | os.PathLike[str]] | None = None,
    rerankers: Mapping[str, Reranker | str | os.PathLike[str]] | None = None,
    *,
    options: ServerOptions | None = None,
    engine: EngineOptions | None = None,
    routers: Iterable[APIRouter] = (),
    open_paths: Iterable[str] = (),
) -> Gate:
    """Returns an ASGI application that serves models; at its end it finishes what it took.

    Args:
        embedders: embedding models by the names that requests may ask for; the first answers those that name none.
            One that is loaded stays the caller's, who closes it after the shutdown. Of a path or a name, as
            `Embedder.load` has them, the file is opened and checked now, and the model is loaded at its first use,
            within ``options.memory``: the least recently used make room. The first one is loaded now, if it fits.
        rerankers: likewise; one model is needed.
        options: limits and security; None takes the defaults.
        engine: how the models are run that are loaded here; None takes the defaults.
        routers: further endpoints, which are asked before the server's own; they find its models in
            ``request.app.state.lanes``, and what they open they close in their own lifespan.
        open_paths: paths of them that may be read without a key.

    Raises:
        ValueError: no model, two of one name, an alias for none of them, or models to load and no way to tell how much
            memory there is.
        EngineMemoryError: a model that needs more memory than all may take.
        QsiftError: as `Embedder.load` and `Reranker.load`, for what is opened or loaded now.
    """
    embedders, rerankers = embedders or {}, rerankers or {}
    if not embedders and not rerankers:
        raise ValueError("A server needs an embedding model, a reranker, or both; neither was given.")
    _check_names([*embedders, *rerankers])
    options, metrics, engine = options or ServerOptions(), Metrics(), engine or EngineOptions()
    models = *embedders.values(), *rerankers.values()
    pool = Pool(math.inf if all(isinstance(model, LoadedModel) for model in models) else _budget(options, engine))
    shared = Shared(options, metrics, Compute(), pool, engine)
    lanes = Lanes(
        options,
        tuple(EmbeddingLane(name, model, shared) for name, model in embedders.items()),
        tuple(RerankLane(name, model, shared) for name, model in rerankers.items()),
    )
    for slot in [lane.slot for lane in lanes.embedding[:1]] + [lane.slot for lane in lanes.reranking[:1]]:
        pool.load_early(slot)
    for lane in lanes.all:
        lane.warm()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await pool.close()

    app = FastAPIOffline(
        title="qsift",
        version=__version__,
        summary="Qwen3-Embedding and Qwen3-Reranker behind the APIs that programs know.",
        lifespan=lifespan,
        redoc_url=None,
        static_url=DOCS_ASSETS,
    )
    app.state.lanes, app.state.metrics = lanes, metrics
    for router in (*routers, *(module.router for module in _ENDPOINTS)):
        app.include_router(router)
    for kind in _FORESEEN:
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(Exception, _on_error)
    app.state.gate = gate = Gate(app, options, metrics, open_paths)
    return gate


def _budget(options: ServerOptions, engine: EngineOptions) -> int:
    """Returns the bytes that models may take."""
    if options.memory is not None:
        return options.memory
    available = free_memory(engine)
    if available is None:
        raise ValueError(
            "How much memory models may take is not known here: this system does not tell, or they run on a GPU. "
            "Give it, as in --memory 12GB or ServerOptions(memory=12 * 10**9)."
        )
    return int(MEMORY_SHARE * available)


def _check_names(given: list[str]) -> None:
    names = [public_name(name) for name in given]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"Two models would be called {name!r}, and requests could not tell them apart. Rename one."
            )


# What is answered without a trace in the log. A mistake of ours among the ValueErrors gets one all the same.
_FORESEEN = (
    *(ProblemError, QsiftError, QueueFullError, ClosedError, ClientGoneError),
    *(TypeError, ValueError, HTTPException),
)


async def _on_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientGoneError):
        return Response(status_code=499)  # which nobody reads
    if isinstance(error, HTTPException):
        error = _routing_problem(request, error)
    problem = problem_of(error)
    if problem.kind == "broken":
        logger.error("A request failed.", exc_info=error)
    return answer(problem, getattr(request.state, "dialect", None) or dialect_of(request.url.path))


def _routing_problem(request: Request, error: HTTPException) -> Exception:
    if error.status_code == 404 and (reason := not_offered(request.url.path)):
        return ProblemError("no endpoint", reason)
    if error.status_code == 404:
        return ProblemError("no endpoint", "There is no endpoint of this path; /docs lists them.")
    if error.status_code == 405:
        return ProblemError("no method", f"This endpoint does not take {request.method}; /docs says what it takes.")
    return error
