"""Ollama's endpoints, and ``/api/rerank``, which front ends call although Ollama has none."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from .fields import EmbeddingFields, ModelField
from .lanes import EmbeddingLane, RerankLane
from .off_loop import json_response, number_list
from .request_bodies import described, read
from .rerank import RerankRequest, rank

router = APIRouter(tags=["Ollama"])

VERSION = "0.12.6"
"""Of Ollama's API that is spoken here; clients compare it with what they need."""


class OllamaEmbedRequest(EmbeddingFields):
    """Ollama's fields."""

    input: str | list[str] = Field(description="A text, or a list of texts.")


class OllamaPromptRequest(EmbeddingFields):
    """Ollama's older fields."""

    prompt: str


class ShowRequest(ModelField):
    """Ollama's fields."""

    name: str | None = Field(None, description="As model.")


_EMBEDDINGS = {
    "type": "object",
    "required": ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"],
    "properties": {
        "model": {"type": "string"},
        "embeddings": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "total_duration": {"type": "integer", "description": "Nanoseconds."},
        "load_duration": {"type": "integer", "description": "Nanoseconds."},
        "prompt_eval_count": {"type": "integer", "description": "Tokens."},
    },
}
_EMBEDDING = {
    "type": "object",
    "required": ["embedding"],
    "properties": {"embedding": {"type": "array", "items": {"type": "number"}}},
}
_MODELS = {"type": "object", "required": ["models"], "properties": {"models": {"type": "array"}}}
_SHOW = {"type": "object", "required": ["details", "model_info", "capabilities"]}
_VERSION = {"type": "object", "required": ["version"], "properties": {"version": {"type": "string"}}}
_RESULTS = {"type": "object", "required": ["model", "results"], "properties": {"results": {"type": "array"}}}


@router.post(
    "/api/embed", summary="Embed texts", **described("The vectors.", _EMBEDDINGS, "ollama", body=OllamaEmbedRequest)
)
async def embed(request: Request) -> Response:
    """Embeds texts. Without ``instruction`` or ``input_type`` they are documents."""
    started = time.monotonic_ns()
    body = await read(request, OllamaEmbedRequest)
    texts = [body.input] if isinstance(body.input, str) else body.input
    lane, result = await _embed(request, body, texts)
    return await json_response(
        lambda: {
            "model": body.model or lane.name,
            "embeddings": [number_list(row) for row in result.vectors],
            "total_duration": time.monotonic_ns() - started,
            "load_duration": 0,
            "prompt_eval_count": result.n_tokens,
        },
        result.vectors.size,
    )


@router.post(
    "/api/embeddings",
    summary="Embed a text",
    **described("The vector.", _EMBEDDING, "ollama", body=OllamaPromptRequest),
)
async def embeddings(request: Request) -> Response:
    """Embeds one text, as older clients ask for it."""
    body = await read(request, OllamaPromptRequest)
    _, result = await _embed(request, body, [body.prompt])
    return await json_response({"embedding": number_list(result.vectors[0])})


async def _embed(request: Request, body: EmbeddingFields, texts: list[str]) -> tuple[EmbeddingLane, Any]:
    lane = request.app.state.lanes.embedder(body.model)
    asked = body.asked(lane, cut_by_default=True)
    asked["dimensions"] = asked["dimensions"] or None  # Ollama's clients send 0 for none
    return lane, await lane.embed(request, texts, **asked)


@router.post(
    "/api/rerank", summary="Rank documents", **described("The best first.", _RESULTS, "ollama", body=RerankRequest)
)
async def rerank(request: Request) -> Response:
    """Ranks documents for a query; they come back as bare texts."""
    return await rank(request, await read(request, RerankRequest), "1", as_text=True)


@router.get("/api/tags", summary="The models", **described("The models.", _MODELS, "ollama"))
async def tags(request: Request) -> Response:
    """Lists the models."""
    return await json_response({"models": [_facts(lane) for lane in request.app.state.lanes.all]})


@router.get("/api/ps", summary="The models in memory", **described("The models.", _MODELS, "ollama"))
async def in_memory(request: Request) -> Response:
    """Lists the models that are loaded."""
    loaded = [lane for lane in request.app.state.lanes.all if lane.status == "loaded"]
    return await json_response({"models": [_facts(lane) for lane in loaded]})


@router.post("/api/show", summary="A model", **described("The model.", _SHOW, "ollama", body=ShowRequest))
async def show(request: Request) -> Response:
    """Describes a model."""
    body = await read(request, ShowRequest)
    lane = request.app.state.lanes.named(body.one_of("model", "name"))
    file, facts = lane.file, _facts(lane)
    about = {
        "general.architecture": "qwen3",
        "general.name": file.name,
        "qwen3.context_length": file.max_tokens,
        "qwen3.embedding_length": file.width,
        "qwen3.block_count": file.n_layers,
    }
    return await json_response(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "license": "",
            "details": facts["details"],
            "model_info": about,
            "capabilities": ["embedding" if isinstance(lane, EmbeddingLane) else "rerank"],
            "modified_at": facts["modified_at"],
        }
    )


@router.get("/api/version", summary="The version", **described("The version.", _VERSION, "ollama"))
async def version(_: Request) -> Response:
    """Says which version of Ollama's API this is."""
    return await json_response({"version": VERSION})


def _facts(lane: EmbeddingLane | RerankLane) -> dict[str, Any]:
    modified = datetime.fromtimestamp(lane.created, timezone.utc).isoformat()
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "qwen3",
        "families": ["qwen3"],
        "parameter_size": "",
        "quantization_level": lane.file.quant.upper(),
    }
    return {
        "name": f"{lane.name}:latest",
        "model": f"{lane.name}:latest",
        "modified_at": modified,
        "size": lane.file.nbytes,
        "size_vram": 0,
        "digest": lane.digest,
        "expires_at": "0001-01-01T00:00:00Z",
        "context_length": lane.max_tokens,
        "details": details,
    }
