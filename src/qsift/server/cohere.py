"""Embedding as Cohere has it: ``POST /v1/embed`` and ``/v2/embed``."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from .error_responses import ProblemError
from .fields import EmbeddingFields, Shape, VectorType, in_type
from .off_loop import base64_text, json_response, number_list
from .request_bodies import described, read

router = APIRouter(tags=["Cohere"])


class Part(Shape):
    """A part of an input."""

    type: Literal["text"]
    text: str


class Input(Shape):
    """An input in parts."""

    content: list[Part]


class CohereEmbedRequest(EmbeddingFields):
    """Cohere's fields."""

    texts: list[str] | None = None
    inputs: list[Input] | None = Field(None, description="Instead of texts: objects whose content is parts of text.")
    embedding_types: list[VectorType | Literal["base64"]] | None = Field(None, description="Types of the numbers.")
    max_tokens: int | None = Field(None, ge=1, description="Tokens to cut longer texts to.")

    @property
    def all_texts(self) -> list[str]:
        """The texts, of either field."""
        if (self.texts is None) == (self.inputs is None):
            raise ProblemError("invalid", "One of 'texts' and 'inputs' is needed.", param="texts")
        if self.texts is not None:
            return self.texts
        return ["".join(part.text for part in item.content) for item in self.inputs or []]


_BY_TYPE = {"type": "object", "additionalProperties": {"type": "array"}}
_RESPONSE = {
    "type": "object",
    "required": ["id", "texts", "embeddings", "meta", "response_type"],
    "properties": {
        "id": {"type": "string"},
        "texts": {"type": "array", "items": {"type": "string"}},
        "embeddings": {"anyOf": [{"type": "array"}, _BY_TYPE]},
        "meta": {"type": "object"},
        "response_type": {"enum": ["embeddings_floats", "embeddings_by_type"]},
    },
}
_DESCRIBED = described("The vectors.", _RESPONSE, "cohere", body=CohereEmbedRequest)


@router.post("/v1/embed", summary="Embed texts (Cohere v1)", **_DESCRIBED)
async def embed_v1(request: Request) -> Response:
    """Embeds texts, which are documents without ``input_type``."""
    return await _embed(request, "1")


@router.post("/v2/embed", summary="Embed texts (Cohere v2)", **_DESCRIBED)
async def embed_v2(request: Request) -> Response:
    """Embeds texts; ``input_type`` is needed, and the vectors come by their type."""
    return await _embed(request, "2")


async def _embed(request: Request, version: Literal["1", "2"]) -> Response:
    body = await read(request, CohereEmbedRequest)
    if version == "2" and {body.input_type, body.task, body.prompt_name, body.instruction} == {None}:
        sentence = "'input_type' is missing; say search_query or search_document."
        raise ProblemError("invalid", sentence, param="input_type")
    lane, texts = request.app.state.lanes.embedder(body.model), body.all_texts
    asked = body.asked(lane, cut_by_default=True)
    if body.max_tokens is not None and asked["max_tokens"] is None:
        raise ProblemError("invalid", "'max_tokens' cuts texts, and 'truncate' is NONE.", param="max_tokens")
    asked["max_tokens"] = body.max_tokens or asked["max_tokens"]
    result = await lane.embed(request, texts, **asked)
    kinds = body.embedding_types or (["float"] if version == "2" else None)

    def in_kind(kind: VectorType | Literal["base64"]) -> list[Any]:
        rows = in_type(result.vectors, "float" if kind == "base64" else kind)
        return [base64_text(row) if kind == "base64" else number_list(row) for row in rows]

    def content() -> dict[str, Any]:
        return {
            "response_type": "embeddings_by_type" if kinds else "embeddings_floats",
            "id": str(uuid.uuid4()),
            "embeddings": {kind: in_kind(kind) for kind in kinds} if kinds else in_kind("float"),
            "texts": texts,
            "meta": {
                "api_version": {"version": version},
                "billed_units": {"input_tokens": result.n_tokens},
                "tokens": {"input_tokens": result.n_tokens},
            },
        }

    return await json_response(content, result.vectors.size + len(await request.body()))
