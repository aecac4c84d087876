"""Embedding as OpenAI has it, and Jina, Voyage, vLLM and infinity, which share its path: ``POST /v1/embeddings``.

Azure's path has the model's name in it.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from .fields import EmbeddingFields, Shape, TokenIds, VectorType, as_texts, in_type
from .off_loop import base64_text, json_response, number_list
from .request_bodies import described, read

router = APIRouter(tags=["OpenAI"])


class TextObject(Shape):
    """A text as Jina's clients send it."""

    text: str


class EmbeddingsRequest(EmbeddingFields):
    """OpenAI's fields, and those of who shares its path."""

    input: str | list[str] | TokenIds | list[TextObject] = Field(
        description="A text, a list of texts or of objects with a 'text', or token ids where the server takes them."
    )
    encoding_format: Literal["float", "base64"] | None = Field(None, description="base64: of the numbers' bytes.")
    embedding_type: VectorType | Literal["base64"] | None = Field(None, description="Type of the numbers; or base64.")
    output_dtype: VectorType | None = Field(None, description="Type of the numbers.")

    @property
    def texts(self) -> list[Any]:
        """The texts, or token ids."""
        return [item.text if isinstance(item, TextObject) else item for item in as_texts(self.input, "input")]

    @property
    def is_base64(self) -> bool:
        """Whether vectors come as base64."""
        return "base64" in (self.encoding_format, self.embedding_type)

    @property
    def kind(self) -> VectorType:
        """The type of the numbers."""
        kind: VectorType | None = self.one_of("embedding_type", "output_dtype", words={"base64": None})
        return kind or "float"


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


_DESCRIBED = described("The vectors.", _RESPONSE, "openai", body=EmbeddingsRequest)


@router.post("/v1/embeddings", summary="Embed texts (OpenAI, Jina, Voyage, vLLM, infinity)", **_DESCRIBED)
async def embeddings(request: Request) -> Response:
    """Embeds texts. Without ``input_type``, ``task``, ``prompt_name`` or ``instruction`` they are documents."""
    return await _embed(request, await read(request, EmbeddingsRequest))


@router.post("/openai/deployments/{name:path}/embeddings", summary="Embed texts (Azure)", **_DESCRIBED)
async def embeddings_of(request: Request, name: str) -> Response:
    """Embeds texts with the model in the path, as Azure's clients ask for it."""
    body = await read(request, EmbeddingsRequest)
    return await _embed(request, body.model_copy(update={"model": name}))


async def _embed(request: Request, body: EmbeddingsRequest) -> Response:
    lane, kind = request.app.state.lanes.embedder(body.model), body.kind
    result = await lane.embed(request, body.texts, **body.asked(lane))
    to_json = base64_text if body.is_base64 else number_list
    return await json_response(
        lambda: {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": to_json(row)}
                for index, row in enumerate(in_type(result.vectors, kind))
            ],
            "model": body.model or lane.name,
            "usage": {"prompt_tokens": result.n_tokens, "total_tokens": result.n_tokens},
        },
        result.vectors.size,
    )
