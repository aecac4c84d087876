"""What a server says of itself: ``/health``, ``/v1/models``, ``/metrics``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from .error_responses import ProblemError, documented
from .lanes import EmbeddingLane, RerankLane
from .metrics import CONTENT_TYPE
from .off_loop import json_response
from .request_bodies import described
from qsift import __version__

router = APIRouter(tags=["Status"])

_MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by", "task", "max_model_len", "status"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
        "task": {"enum": ["embed", "rerank"]},
        "max_model_len": {"type": "integer", "description": "Tokens of a text, at most."},
        "dimensions": {"type": "integer", "description": "Full width of the vectors."},
        "status": {
            "type": "object",
            "description": "Whether it is in memory, as llama-server says it.",
            "required": ["value"],
            "properties": {"value": {"enum": ["loaded", "loading", "unloaded"]}},
        },
    },
}
_MODELS = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
}
_VERSION = {"type": "object", "required": ["version"], "properties": {"version": {"type": "string"}}}
_AUTH = {"type": "object", "required": ["auth"], "properties": {"auth": {"type": "boolean"}}}
_HEALTH = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}


@router.get("/health", summary="Whether it is ready", **described("Taking requests.", _HEALTH, "openai"))
async def health(request: Request) -> Response:
    """Answers 200 while requests are taken; no key is needed."""
    state = request.app.state
    if state.gate.is_draining or not all(lane.is_alive for lane in state.lanes.all):
        raise ProblemError("not ready", "The server is shutting down.", retry_after=1)
    return await json_response({"status": "ok"})


@router.get("/", summary="Whether it is there", response_class=PlainTextResponse)
@router.get("/ping", summary="Whether it is there", response_class=PlainTextResponse)
async def there(_: Request) -> Response:
    """Answers 200 as long as the server runs."""
    return PlainTextResponse("qsift is running. /docs says what it answers.\n")


@router.get("/version", summary="The version", **described("qsift's version.", _VERSION, "openai"))
async def version(_: Request) -> Response:
    """Says which version of qsift this is."""
    return await json_response({"version": __version__})


@router.get("/v1/cluster/auth", summary="Whether a key is needed", **described("Whether it is.", _AUTH, "openai"))
async def auth(request: Request) -> Response:
    """Says whether requests need a key, which Xinference's clients ask before they send theirs."""
    return await json_response({"auth": bool(request.app.state.gate.options.api_keys)})


@router.get("/v1/models", summary="The models", **described("The models.", _MODELS, "openai"))
async def models(request: Request) -> Response:
    """Lists the models, and then each further name with the model that it means."""
    lanes = request.app.state.lanes
    data = [_facts(lane) for lane in lanes.all]
    data += [_facts(lanes.named(name)) | {"id": name} for name in lanes.aliases]
    return await json_response({"object": "list", "data": data})


@router.get("/v1/models/{name:path}", summary="A model", **described("The model.", _MODEL, "openai"))
async def model(request: Request, name: str) -> Response:
    """Describes one of the models."""
    return await json_response(_facts(request.app.state.lanes.named(name)) | {"id": name})


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    responses={
        200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented("openai"),
    },
)
async def metrics(request: Request) -> Response:
    """Shows requests, tokens, queues, batches and latencies."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE)


def _facts(lane: EmbeddingLane | RerankLane) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": lane.name,
        "object": "model",
        "created": lane.created,
        "owned_by": "qsift",
        "task": lane.file.task,
        "max_model_len": lane.max_tokens,
        "status": {"value": lane.status},
        # As Xinference describes a model.
        "model_name": lane.name,
        "model_ability": [],
        "model_format": "gguf",
        "max_tokens": lane.max_tokens,
        "context_length": lane.max_tokens,
    }
    if isinstance(lane, EmbeddingLane):
        return facts | {"model_type": "embedding", "dimensions": lane.file.width}
    return facts | {"model_type": "rerank"}
