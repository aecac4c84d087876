"""The application: models, endpoints and what stands around them, put together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from . import ollama, openai, rerank, status, tei
from .batcher import ClosedError, Compute, QueueFullError
from .error_responses import ProblemError, answer, dialect_of, problem_of
from .gate import DOCS_ASSETS, Gate
from .lanes import ClientGoneError, EmbeddingLane, Lanes, RerankLane
from .metrics import Metrics
from .settings import ServerOptions
from qsift import __version__
from qsift.embedder import Embedder
from qsift.errors import QsiftError
from qsift.reranker import Reranker

logger = logging.getLogger("qsift.server")


def create_app(
    embedder: tuple[str, Embedder] | None = None,
    reranker: tuple[str, Reranker] | None = None,
    *,
    options: ServerOptions | None = None,
) -> Gate:
    """Returns an ASGI application that serves models, warm and ready; at its end it finishes what it took.

    Args:
        embedder: a name, by which requests may ask for it, and the model; or None.
        reranker: likewise; one of the two is needed. The caller closes both, after the shutdown.
        options: limits and security; None takes the defaults.

    Raises:
        ValueError: neither model.
    """
    if embedder is None and reranker is None:
        raise ValueError("A server needs an embedding model, a reranker, or both; neither was given.")
    options, metrics, compute = options or ServerOptions(), Metrics(), Compute()
    lanes = Lanes(
        EmbeddingLane(embedder[1], embedder[0], options, metrics, compute) if embedder else None,
        RerankLane(reranker[1], reranker[0], options, metrics, compute) if reranker else None,
    )
    for lane in lanes.all:
        lane.warm()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for lane in lanes.all:
            lane.batcher.close()

    app = FastAPIOffline(
        title="qsift",
        version=__version__,
        summary="Qwen3-Embedding and Qwen3-Reranker behind the APIs of OpenAI, Cohere, Jina, TEI and Ollama.",
        lifespan=lifespan,
        redoc_url=None,
        static_url=DOCS_ASSETS,
    )
    for module in (openai, rerank, tei, ollama, status):
        app.include_router(module.router)
    for kind in _FORESEEN:
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(Exception, _on_error)
    gate = Gate(app, options, metrics)
    app.state.lanes, app.state.metrics, app.state.gate = lanes, metrics, gate
    return gate


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
    if error.status_code == 404:
        return ProblemError("no endpoint", "There is no endpoint of this path; /docs lists them.")
    if error.status_code == 405:
        return ProblemError("no method", f"This endpoint does not take {request.method}; /docs says what it takes.")
    return error
