"""Embedding as text-embeddings-inference has it: ``POST /embed`` and ``/similarity``."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import Field

from .error_responses import ProblemError, documented
from .lanes import EmbeddingLane
from .off_loop import json_response, number_list
from .request_bodies import Instruction, PromptName, Shape, TokenId, documented_body, read
from qsift.text import similarity as cosines_of

router = APIRouter(tags=["TEI"])

_Right = Annotated[str, Field(pattern="^(?i:right)$", description="Texts are cut at their end.")]
_NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}}


class Parameters(Shape):
    """What is said beside the texts."""

    truncate: bool | None = None
    truncation_direction: _Right = "Right"
    prompt_name: PromptName = None
    instruction: Instruction = None

    def prompt(self, lane: EmbeddingLane) -> dict[str, Any]:
        """Returns the arguments of `EmbeddingLane.embed`."""
        return {
            **lane.prompt(None, self.prompt_name, self.instruction),
            "max_tokens": lane.max_tokens if self.truncate else None,
        }


class EmbedRequest(Parameters):
    """TEI's fields, and an instruction."""

    inputs: str | list[str] | list[TokenId] | list[list[TokenId]] = Field(
        description="A text, a list of texts, the token ids of a text, or a list of such."
    )
    normalize: bool = True
    dimensions: int | None = None


class SimilarityInputs(Shape):
    """One text and those that it is compared with."""

    source_sentence: str
    sentences: list[str]


class SimilarityRequest(Shape):
    """TEI's fields."""

    inputs: SimilarityInputs
    parameters: Parameters | None = None


def _documented(schema: dict[str, Any], shape: type[Shape], answer: str) -> dict[str, Any]:
    return {
        "responses": {
            200: {"description": answer, "content": {"application/json": {"schema": schema}}},
            **documented("tei"),
        },
        "openapi_extra": documented_body(shape),
    }


@router.post(
    "/embed", summary="Embed texts", **_documented({"type": "array", "items": _NUMBERS}, EmbedRequest, "The vectors.")
)
async def embed(request: Request) -> Response:
    """Embeds texts or token ids. Without ``prompt_name`` or ``instruction`` they are documents."""
    body = await read(request, EmbedRequest)
    lane = request.app.state.lanes.embedder(None)
    given = body.inputs
    if given == []:
        raise ProblemError("invalid", "'inputs' is an empty list; one text at least is needed.", param="inputs")
    texts = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    result = await lane.embed(request, texts, dimensions=body.dimensions, normalize=body.normalize, **body.prompt(lane))
    return await json_response(lambda: [number_list(row) for row in result.vectors], result.vectors.size)


@router.post("/similarity", summary="Compare texts", **_documented(_NUMBERS, SimilarityRequest, "The cosines."))
async def similarity(request: Request) -> Response:
    """Returns the cosine of ``source_sentence`` with each of ``sentences``, all embedded alike."""
    body = await read(request, SimilarityRequest)
    lane = request.app.state.lanes.embedder(None)
    if not body.inputs.sentences:
        raise ProblemError("invalid", "'sentences' is an empty list; one text at least is needed.", param="inputs")
    texts = [body.inputs.source_sentence, *body.inputs.sentences]
    result = await lane.embed(request, texts, **(body.parameters or Parameters()).prompt(lane))
    cosines = cosines_of(result.vectors[:1], result.vectors[1:])[0]
    return await json_response(number_list(np.ascontiguousarray(cosines)))
