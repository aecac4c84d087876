"""What a server says of itself: ``/health``, ``/v1/models``, ``/metrics``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from .error_responses import ProblemError, documented
from .lanes import EmbeddingLane, RerankLane
from .metrics import CONTENT_TYPE
from .off_loop import json_response

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
_HEALTH = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}


def _answer(schema: dict[str, Any], text: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": text, "content": {"application/json": {"schema": schema}}}, **documented("openai")}


@router.get("/health", summary="Whether it is ready", responses=_answer(_HEALTH, "Taking requests."))
async def health(request: Request) -> Response:
    """Answers 200 while requests are taken; no key is needed."""
    state = request.app.state
    if state.gate.is_draining or not all(lane.is_alive for lane in state.lanes.all):
        raise ProblemError("not ready", "The server is shutting down.", retry_after=1)
    return await json_response({"status": "ok"})


@router.get("/v1/models", summary="The models", responses=_answer(_MODELS, "The models."))
async def models(request: Request) -> Response:
    """Lists the models that are served, and says which are in memory."""
    return await json_response({"object": "list", "data": [_facts(lane) for lane in request.app.state.lanes.all]})


@router.get("/v1/models/{name:path}", summary="A model", responses=_answer(_MODEL, "The model."))
async def model(request: Request, name: str) -> Response:
    """Describes one of the models."""
    for lane in request.app.state.lanes.all:
        if name in lane.names:
            return await json_response(_facts(lane))
    raise ProblemError("not found", f"There is no model {name[:200]!r} here; GET /v1/models lists them.")


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
    }
    return facts | ({"dimensions": lane.file.width} if isinstance(lane, EmbeddingLane) else {})
