"""OpenAI's embeddings: ``POST /v1/embeddings``."""

from __future__ import annotations

import base64
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import Field

from .error_responses import ProblemError, documented
from .off_loop import json_response, number_list
from .request_bodies import Instruction, PromptName, Shape, TokenId, documented_body, read

router = APIRouter(tags=["OpenAI"])


class EmbeddingsRequest(Shape):
    """OpenAI's fields; and what asks for queries, which stand behind an instruction, instead of documents."""

    input: str | list[str] | list[TokenId] | list[list[TokenId]] = Field(
        description="A text, a list of texts, the token ids of a text, or a list of such."
    )
    model: str | None = None
    dimensions: int | None = Field(None, description="Width to cut the vectors to.")
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None
    input_type: Literal["query", "document", "search_query", "search_document"] | None = None
    prompt_name: PromptName = None
    instruction: Instruction = None
    truncate: bool = Field(False, description="Whether texts that are too long are cut, or refused.")
    truncate_prompt_tokens: int | None = Field(None, ge=1, description="Tokens to cut longer texts to.")


_RESPONSE = {
    "type": "object",
    "required": ["object", "data", "model", "usage"],
    "properties": {
        "object": {"const": "list"},
        "model": {"type": "string"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["object", "index", "embedding"],
                "properties": {
                    "object": {"const": "embedding"},
                    "index": {"type": "integer"},
                    "embedding": {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]},
                },
            },
        },
        "usage": {
            "type": "object",
            "required": ["prompt_tokens", "total_tokens"],
            "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
        },
    },
}


@router.post(
    "/v1/embeddings",
    summary="Embed texts",
    responses={
        200: {"description": "The vectors.", "content": {"application/json": {"schema": _RESPONSE}}},
        **documented("openai"),
    },
    openapi_extra=documented_body(EmbeddingsRequest),
)
async def embeddings(request: Request) -> Response:
    """Embeds texts or token ids. Without ``input_type``, ``prompt_name`` or ``instruction`` they are documents."""
    body = await read(request, EmbeddingsRequest)
    lane = request.app.state.lanes.embedder(body.model)
    texts = _texts(body.input)
    max_tokens = body.truncate_prompt_tokens or (lane.max_tokens if body.truncate else None)
    result = await lane.embed(
        request,
        texts,
        **lane.prompt(body.input_type, body.prompt_name, body.instruction),
        dimensions=body.dimensions,
        max_tokens=max_tokens,
    )
    to_json = _base64 if body.encoding_format == "base64" else number_list
    return await json_response(
        lambda: {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": to_json(row)}
                for index, row in enumerate(result.vectors)
            ],
            "model": lane.name,
            "usage": {"prompt_tokens": result.n_tokens, "total_tokens": result.n_tokens},
        },
        result.vectors.size,
    )


def _texts(given: Any) -> list[Any]:
    if given == []:
        raise ProblemError("invalid", "'input' is an empty list; one text at least is needed.", param="input")
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def _base64(row: NDArray[Any]) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
