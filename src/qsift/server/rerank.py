"""Reranking as Cohere, Jina and TEI have it: ``POST /v1/rerank``, ``/v2/rerank`` and ``/rerank``."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import Field

from .error_responses import ProblemError, documented
from .off_loop import json_response
from .request_bodies import Instruction, Shape, documented_body, read

router = APIRouter(tags=["Rerank"])

Documents = list[str | dict[str, Any]]
_ABOUT_DOCUMENTS = "A list of texts, or of objects with the text in 'text', or in the fields of 'rank_fields'."


class RerankRequest(Shape):
    """The fields of Cohere and Jina, and an instruction."""

    query: str
    documents: Documents = Field(description=_ABOUT_DOCUMENTS)
    model: str | None = None
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = Field(None, ge=1, description="Tokens to cut longer documents to.")
    rank_fields: list[str] | None = None
    instruction: Instruction = None


class BareRerankRequest(RerankRequest):
    """The same, or TEI's fields: ``texts`` instead of ``documents``."""

    documents: Documents | None = Field(None, description=_ABOUT_DOCUMENTS)  # type: ignore[assignment]
    texts: list[str] | None = None
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool = False
    truncation_direction: Annotated[str, Field(pattern="^(?i:right)$")] = "Right"


_RESULTS = {
    "type": "object",
    "required": ["id", "model", "results", "meta", "usage"],
    "properties": {
        "id": {"type": "string"},
        "model": {"type": "string"},
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "relevance_score"],
                "properties": {
                    "index": {"type": "integer"},
                    "relevance_score": {"type": "number"},
                    "document": {"type": "object"},
                },
            },
        },
        "meta": {"type": "object"},
        "usage": {"type": "object"},
    },
}
_TEI_RESULTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["index", "score"],
        "properties": {"index": {"type": "integer"}, "score": {"type": "number"}, "text": {"type": "string"}},
    },
}


def _documented(*schemas: dict[str, Any], bare: bool = False) -> dict[str, Any]:
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    answer = {"description": "The documents, the best first.", "content": {"application/json": {"schema": schema}}}
    return {
        "responses": {200: answer, **documented(*(("cohere", "tei") if bare else ("cohere",)))},
        "openapi_extra": documented_body(BareRerankRequest if bare else RerankRequest),
    }


@router.post("/v1/rerank", summary="Rank documents (Cohere v1, Jina)", **_documented(_RESULTS))
async def rerank_v1(request: Request) -> Response:
    """Ranks documents for a query; scores are P(yes)."""
    return await _rerank(request, await read(request, RerankRequest), "1")


@router.post("/v2/rerank", summary="Rank documents (Cohere v2)", **_documented(_RESULTS))
async def rerank_v2(request: Request) -> Response:
    """Ranks documents for a query; scores are P(yes)."""
    return await _rerank(request, await read(request, RerankRequest), "2")


@router.post("/rerank", summary="Rank documents (TEI, Jina)", **_documented(_RESULTS, _TEI_RESULTS, bare=True))
async def rerank(request: Request) -> Response:
    """Ranks documents for a query: TEI's answer for ``texts``, that of ``/v1/rerank`` for ``documents``."""
    body = await read(request, BareRerankRequest)
    if body.texts is not None and body.documents is None:
        request.state.dialect = "tei"
        return await _rerank_texts(request, body, body.texts)
    if body.documents is None or body.texts is not None:
        raise ProblemError("invalid", "One of 'documents' and 'texts' is needed.", param="documents")
    return await _rerank(request, body, "1")


async def _rerank(request: Request, body: RerankRequest, version: str) -> Response:
    lane = request.app.state.lanes.reranker(body.model)
    result = await lane.score(
        request,
        body.query,
        [_text(document, index, body.rank_fields) for index, document in enumerate(body.documents)],
        instruction=body.instruction,
        max_document_tokens=body.max_tokens_per_doc,
    )
    results = []
    for index in order(result.scores)[: body.top_n]:
        hit: dict[str, Any] = {"index": int(index), "relevance_score": float(result.scores[index])}
        if body.return_documents:
            document = body.documents[index]
            hit["document"] = {"text": document} if isinstance(document, str) else document
        results.append(hit)
    return await json_response(
        {
            "id": str(uuid.uuid4()),
            "model": lane.name,
            "results": results,
            "meta": {"api_version": {"version": version}, "billed_units": {"search_units": 1}},
            "usage": {"prompt_tokens": result.n_tokens, "total_tokens": result.n_tokens},
        },
        len(await request.body()) if body.return_documents else 0,
    )


async def _rerank_texts(request: Request, body: BareRerankRequest, texts: list[str]) -> Response:
    lane = request.app.state.lanes.reranker(body.model)
    result = await lane.score(
        request,
        body.query,
        texts,
        instruction=body.instruction,
        raw_scores=body.raw_scores,
        truncate=body.truncate,
    )
    hits: list[dict[str, Any]] = [{"index": int(i), "score": float(result.scores[i])} for i in order(result.scores)]
    if body.return_text:
        hits = [{**hit, "text": texts[hit["index"]]} for hit in hits]
    return await json_response(hits, len(await request.body()) if body.return_text else 0)


def order(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Returns positions, the best score first; equal scores keep their order, as `Reranker.rank` has it."""
    return np.argsort(-scores, kind="stable")


def _text(document: str | dict[str, Any], index: int, fields: list[str] | None) -> str:
    if isinstance(document, str):
        return document
    found = [document[name] for name in fields or ["text"] if name in document]
    if not found or not all(isinstance(value, str) for value in found):
        wanted = " or ".join(map(repr, fields or ["text"]))
        raise ProblemError(
            "invalid", f"Document {index} is an object without a text in {wanted}. Add it, or name 'rank_fields'.",
            param="documents",
        )  # fmt: skip
    return "\n".join(found)
