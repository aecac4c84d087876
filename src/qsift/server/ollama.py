"""Ollama's embeddings: ``POST /api/embed``."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from .error_responses import documented
from .off_loop import json_response, number_list
from .request_bodies import Instruction, Shape, documented_body, read

router = APIRouter(tags=["Ollama"])


class OllamaEmbedRequest(Shape):
    """Ollama's fields, and an instruction; ``options`` and ``keep_alive`` have nothing to decide here."""

    input: str | list[str] = Field(description="A text, or a list of texts.")
    model: str | None = None
    truncate: bool | None = Field(None, description="Whether texts that are too long are cut (null too), or refused.")
    dimensions: int | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None
    instruction: Instruction = None


_RESPONSE = {
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


@router.post(
    "/api/embed",
    summary="Embed texts",
    responses={
        200: {"description": "The vectors.", "content": {"application/json": {"schema": _RESPONSE}}},
        **documented("ollama"),
    },
    openapi_extra=documented_body(OllamaEmbedRequest),
)
async def embed(request: Request) -> Response:
    """Embeds texts. Without ``instruction`` they are documents."""
    started = time.monotonic_ns()
    body = await read(request, OllamaEmbedRequest)
    # Ollama knows a model without a tag as its ":latest".
    lane = request.app.state.lanes.embedder(body.model and body.model.removesuffix(":latest"))
    result = await lane.embed(
        request,
        [body.input] if isinstance(body.input, str) else body.input,
        **lane.prompt(None, None, body.instruction),
        dimensions=body.dimensions or None,  # Ollama's clients send 0 for none
        max_tokens=None if body.truncate is False else lane.max_tokens,
    )
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
