"""Errors to answers: one table for the status, one for each dialect's words.

Every sentence is the library's or was written here; an exception that nobody foresaw is answered with
a sentence that says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi.responses import JSONResponse

from .batcher import ClosedError, QueueFullError
from qsift.errors import DocumentError, EngineError, InputTooLongError, NonFiniteError, SearchIndexError

Dialect = Literal["openai", "cohere", "tei", "ollama"]
Kind = Literal[
    "unreadable", "invalid", "too long", "too large", "too slow", "no key", "not allowed", "not found",
    "no endpoint", "no method", "not computable", "busy", "not ready", "broken",
]  # fmt: skip


class ProblemError(Exception):
    """Something that a request is refused for.

    Attributes:
        kind: a row of STATUS.
        param: the field of the request that is wrong, or None.
        retry_after: seconds after which the same request may be answered, or None.
    """

    def __init__(self, kind: Kind, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        self.kind, self.param, self.retry_after = kind, param, retry_after
        super().__init__(message)


# The status of a kind; and where a dialect's own server says something else.
STATUS: Mapping[Kind, int] = {
    "unreadable": 400,
    "invalid": 400,
    "too long": 400,
    "too large": 413,
    "too slow": 408,
    "no key": 401,
    "not allowed": 403,
    "not found": 404,
    "no endpoint": 404,
    "no method": 405,
    "not computable": 422,
    "busy": 429,
    "not ready": 503,
    "broken": 500,
}
_STATUS_OF: Mapping[Dialect, Mapping[Kind, int]] = {
    "openai": {},
    "cohere": {"invalid": 422},
    "tei": {"invalid": 422, "too long": 413},
    "ollama": {},
}

# OpenAI's type and code, TEI's type.
_OPENAI: Mapping[Kind, tuple[str, str | None]] = {
    "too long": ("invalid_request_error", "context_length_exceeded"),
    "no key": ("authentication_error", "invalid_api_key"),
    "not found": ("invalid_request_error", "model_not_found"),
    "busy": ("rate_limit_error", "rate_limit_exceeded"),
    "not ready": ("server_error", None),
    "broken": ("server_error", None),
}
_TEI: Mapping[Kind, str] = {"busy": "Overloaded", "not ready": "Unhealthy", "broken": "Backend", "no key": "Auth"}


@dataclass(frozen=True)
class Problem:
    """An answer that is an error: its kind, its sentence, and what `ProblemError` says of both."""

    kind: Kind
    message: str
    param: str | None = None
    retry_after: float | None = field(default=None)


# The status of the library's errors, the most special first.
_KINDS: tuple[tuple[type[Exception], Kind], ...] = (
    (InputTooLongError, "too long"),
    (NonFiniteError, "not computable"),
    (EngineError, "not ready"),
    (QueueFullError, "busy"),
    (ClosedError, "not ready"),
    (DocumentError, "not found"),
    (SearchIndexError, "not ready"),
)
# Its messages name arguments of the API; here they are fields of JSON.
_WORDS = {"truncate_dim": "'dimensions'", "pass truncate=True": 'send "truncate": true'}


def problem_of(error: Exception) -> Problem:
    """Returns the answer to an exception."""
    if isinstance(error, ProblemError):
        return Problem(error.kind, str(error), error.param, error.retry_after)
    message = str(error)
    for word, ours in _WORDS.items():
        message = message.replace(word, ours)
    for kind_of_error, kind in _KINDS:
        if isinstance(error, kind_of_error):
            return Problem(kind, message, retry_after=getattr(error, "seconds", 1 if kind == "not ready" else None))
    if isinstance(error, TypeError | ValueError) and _is_ours(error):
        return Problem("invalid", message)
    return Problem("broken", "The server failed at this request; its log says how. Nothing of it was computed.")


def answer(problem: Problem, dialect: Dialect) -> JSONResponse:
    """Returns a problem in the words of a dialect."""
    status = _STATUS_OF[dialect].get(problem.kind, STATUS[problem.kind])
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after))
    if problem.kind == "no key":
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(_body(problem, dialect), status, headers)


def _body(problem: Problem, dialect: Dialect) -> dict[str, Any]:
    if dialect in ("openai", "cohere"):
        # These share paths with Jina, Voyage and Xinference, whose clients read "detail".
        kind, code = _OPENAI.get(problem.kind, ("invalid_request_error", None))
        error = {"message": problem.message, "type": kind, "param": problem.param, "code": code}
        return {"error": error, "message": problem.message, "detail": problem.message}
    if dialect == "tei":
        return {"error": problem.message, "error_type": _TEI.get(problem.kind, "Validation")}
    return {"error": problem.message}


_DIALECTS: Mapping[str, Dialect] = {
    "/v1/rerank": "cohere",
    "/v2/rerank": "cohere",
    "/rerank": "cohere",
    "/reranking": "cohere",
    "/v1/embed": "cohere",
    "/v2/embed": "cohere",
    "/": "tei",
    "/embed": "tei",
    "/embed_all": "tei",
    "/embed_sparse": "tei",
    "/predict": "tei",
    "/similarity": "tei",
    "/decode": "tei",
    "/info": "tei",
}

_ONE_VECTOR = "A text has one vector here, read at its end token as the model was trained; {} are not to be had."
_NO_CHAT = "This server embeds and ranks; it writes no text."
_NOT_OFFERED: Mapping[str, str] = {
    "/embed_all": _ONE_VECTOR.format("vectors of each token"),
    "/pooling": _ONE_VECTOR.format("other poolings") + " /v1/embeddings gives it.",
    "/embed_sparse": _ONE_VECTOR.format("sparse vectors"),
    "/predict": "This server classifies nothing; /rerank gives P(yes) of a document for a query.",
    "/v1/chat/completions": _NO_CHAT,
    "/v1/completions": _NO_CHAT,
    "/v1/responses": _NO_CHAT,
    "/api/generate": _NO_CHAT,
    "/api/chat": _NO_CHAT,
    "/api/pull": "Requests choose no models; 'qsift pull' fetches one, and the server is started with it.",
}


def dialect_of(path: str) -> Dialect:
    """Returns the dialect of an endpoint; OpenAI's where no other is known to be spoken."""
    return "ollama" if path.startswith("/api/") else _DIALECTS.get(path, "openai")


def not_offered(path: str) -> str | None:
    """Returns why there is no endpoint of a path that its dialect's own server has; None for any other path."""
    return _NOT_OFFERED.get(path, _NOT_OFFERED.get(path.removeprefix("/v1")))


_SCHEMAS: Mapping[Dialect, dict[str, Any]] = {
    "openai": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    "cohere": {
        "type": "object",
        "required": ["message", "detail"],
        "properties": {"message": {"type": "string"}, "detail": {"type": "string"}},
    },
    "tei": {
        "type": "object",
        "required": ["error", "error_type"],
        "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
    },
    "ollama": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
}
_DESCRIPTIONS = {
    400: "The body cannot be read, or a value in it is not allowed.",
    401: "No API key, or a wrong one.",
    403: "A web page of another origin asked, or the Host header names another machine.",
    404: "No such model.",
    408: "The body did not arrive in time.",
    413: "The body, or a text, is too large.",
    422: "A value is not allowed, or the model gives NaN for a text.",
    429: "Too many tokens wait; Retry-After says when to try again.",
    503: "Not ready, shutting down, or too slow; Retry-After says when to try again.",
}


def documented(*dialects: Dialect) -> dict[int | str, dict[str, Any]]:
    """Returns the errors of an endpoint for its OpenAPI document."""
    schemas = [_SCHEMAS[dialect] for dialect in dialects]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    content = {"application/json": {"schema": schema}}
    return {status: {"description": text, "content": content} for status, text in _DESCRIPTIONS.items()}


def _is_ours(error: Exception) -> bool:
    """Returns whether qsift raised it on purpose, not something that it called by mistake."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("qsift.")
