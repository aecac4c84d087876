"""Scores as vLLM has them: ``POST /score``. Its other endpoints are those of OpenAI, Cohere and `tokens`."""

from __future__ import annotations

import time
import uuid
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from .error_responses import ProblemError
from .fields import ScoreFields
from .off_loop import json_response
from .request_bodies import described, read

router = APIRouter(tags=["vLLM"])

Texts = str | list[str]
_SIDES = (("queries", "documents"), ("data_1", "data_2"), ("text_1", "text_2"))


class ScoreRequest(ScoreFields):
    """vLLM's fields: queries and documents under one of three pairs of names."""

    queries: Texts | None = Field(None, description="A query, or a list of as many as there are documents.")
    documents: Texts | None = Field(None, description="A document, or a list.")
    data_1: Texts | None = Field(None, description="As queries.")
    data_2: Texts | None = Field(None, description="As documents.")
    text_1: Texts | None = Field(None, description="As queries.")
    text_2: Texts | None = Field(None, description="As documents.")

    @property
    def sides(self) -> tuple[str | list[str], list[str]]:
        """The query, or the queries, and the documents."""
        given = [(getattr(self, left), getattr(self, right)) for left, right in _SIDES]
        found = [sides for sides in given if sides != (None, None)]
        if len(found) != 1 or None in found[0]:
            sentence = "'queries' and 'documents' are needed, under these names or as text_1 and text_2."
            raise ProblemError("invalid", sentence, param="queries")
        queries, documents = found[0]
        return queries, [documents] if isinstance(documents, str) else documents


_RESPONSE = {
    "type": "object",
    "required": ["id", "object", "created", "model", "data", "usage"],
    "properties": {"data": {"type": "array", "items": {"type": "object", "required": ["index", "object", "score"]}}},
}


@router.post(
    "/score",
    summary="Score pairs",
    **described("A score for each pair.", _RESPONSE, "openai", body=ScoreRequest),
)
async def score(request: Request) -> Response:
    """Returns P(yes) of each pair, in their order."""
    body = await read(request, ScoreRequest)
    lane = request.app.state.lanes.reranker(body.model)
    result = await lane.score(request, *body.sides, **body.asked())
    content: dict[str, Any] = {
        "id": f"score-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": body.model or lane.name,
        "data": [{"index": index, "object": "score", "score": float(one)} for index, one in enumerate(result.scores)],
        "usage": {"prompt_tokens": result.n_tokens, "total_tokens": result.n_tokens},
    }
    return await json_response(content)
