"""llama-server's endpoints: ``/embedding`` and ``/props``; its others are in `rerank` and `tokens`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from .error_responses import ProblemError
from .fields import EmbeddingFields, TokenIds, as_texts
from .off_loop import json_response, number_list
from .request_bodies import described, read
from qsift import __version__

router = APIRouter(tags=["llama-server"])


class EmbeddingRequest(EmbeddingFields):
    """llama-server's fields."""

    content: str | list[str] | TokenIds | None = Field(None, description="A text, or a list of texts.")
    input: str | list[str] | TokenIds | None = Field(None, description="As content.")

    @property
    def texts(self) -> list[Any]:
        """The texts, or token ids."""
        if self.content is not None and self.input is None:
            return as_texts(self.content, "content")
        if self.input is not None and self.content is None:
            return as_texts(self.input, "input")
        raise ProblemError("invalid", "One of 'content' and 'input' is needed.", param="content")


_VECTORS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["index", "embedding"],
        "properties": {"index": {"type": "integer"}, "embedding": {"type": "array", "items": {"type": "array"}}},
    },
}
_PROPS = {"type": "object", "required": ["default_generation_settings", "total_slots", "model_path"]}


@router.post(
    "/embedding",
    summary="Embed texts",
    **described("The vectors.", _VECTORS, "openai", body=EmbeddingRequest),
)
async def embedding(request: Request) -> Response:
    """Embeds texts; each vector is the only row of a list."""
    body = await read(request, EmbeddingRequest)
    lane = request.app.state.lanes.embedder(body.model)
    result = await lane.embed(request, body.texts, **body.asked(lane))
    return await json_response(
        lambda: [{"index": index, "embedding": [number_list(row)]} for index, row in enumerate(result.vectors)],
        result.vectors.size,
    )


@router.get("/props", summary="What is served", **described("The facts.", _PROPS, "openai"))
async def props(request: Request) -> Response:
    """Describes the server as llama-server does."""
    lane = request.app.state.lanes.named(None)
    return await json_response(
        {
            "default_generation_settings": {"n_ctx": lane.max_tokens, "params": {}},
            "total_slots": 1,
            "model_alias": lane.name,
            "model_path": lane.name,
            "modalities": {"vision": False, "audio": False},
            "chat_template": "",
            "bos_token": "",
            "eos_token": lane.file.end_token,
            "build_info": f"qsift {__version__}",
        }
    )
