"""Reranking as Cohere, Jina, Voyage, vLLM, llama-server, infinity, Xinference and TEI have it, who share their paths.

The fields of a request tell whose answer it gets: TEI's has ``texts``, Voyage's ``top_k`` or ``truncation``.
"""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import Field

from .error_responses import ProblemError
from .fields import Flag, ScoreFields
from .off_loop import json_response
from .request_bodies import described, read

router = APIRouter(tags=["Rerank"])

Documents = list[str | dict[str, Any]]
_ABOUT_DOCUMENTS = "A list of texts, or of objects with the text in 'text', or in the fields of 'rank_fields'."


class RerankRequest(ScoreFields):
    """The fields of all of them; which are given tells the dialect."""

    query: str | dict[str, str] = Field(description="A text, or an object with a 'text'.")
    documents: Documents | None = Field(None, description=_ABOUT_DOCUMENTS)
    texts: list[str] | None = Field(None, description="TEI's documents; its answer is a bare list.")
    top_n: int | None = Field(None, ge=1, description="How many are returned, the best ones; without it all.")
    top_k: int | None = Field(None, ge=1, description="Voyage's top_n; its answer has 'data' instead of 'results'.")
    return_documents: Flag | None = Field(None, description="Whether documents come back.")
    return_text: Flag | None = Field(None, description="The same, for TEI.")
    rank_fields: list[str] | None = None

    @property
    def query_text(self) -> str:
        """The query's text."""
        if isinstance(self.query, str):
            return self.query
        if "text" not in self.query:
            raise ProblemError("invalid", "'query' is an object without a 'text'.", param="query")
        return self.query["text"]

    @property
    def is_voyages(self) -> bool:
        """Whether Voyage's client asks, which always says these two."""
        return bool({"top_k", "truncation"} & self.model_fields_set)


_RESULTS = {
    "type": "object",
    "required": ["id", "object", "model", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "list"},
        "model": {"type": "string"},
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "relevance_score"],
                "properties": {
                    "index": {"type": "integer"},
                    "relevance_score": {"type": "number"},
                    "document": {"type": ["object", "string"]},
                },
            },
        },
        "data": {"type": "array"},
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
_DESCRIBED = described(
    "The documents, the best first.", {"anyOf": [_RESULTS, _TEI_RESULTS]}, "cohere", "tei", body=RerankRequest
)


@router.post("/rerank", summary="Rank documents (all dialects)", **_DESCRIBED)
@router.post("/v1/rerank", summary="Rank documents (all dialects)", **_DESCRIBED)
@router.post("/reranking", summary="Rank documents (llama-server)", **_DESCRIBED)
async def rerank_v1(request: Request) -> Response:
    """Ranks documents for a query; scores are P(yes)."""
    return await rank(request, await read(request, RerankRequest), "1")


@router.post("/v2/rerank", summary="Rank documents (Cohere v2)", **_DESCRIBED)
async def rerank_v2(request: Request) -> Response:
    """Ranks documents for a query; scores are P(yes)."""
    return await rank(request, await read(request, RerankRequest), "2")


async def rank(request: Request, body: RerankRequest, version: str, *, as_text: bool = False) -> Response:
    """Returns the documents of a request, the best first.

    Args:
        request, body: what came.
        version: of Cohere's API.
        as_text: whether documents always come back, as bare texts.
    """
    if body.texts is not None and body.documents is None:
        request.state.dialect = "tei"
        return await _rank_texts(request, body, body.texts)
    if body.documents is None or body.texts is not None:
        raise ProblemError("invalid", "One of 'documents' and 'texts' is needed.", param="documents")
    lane = request.app.state.lanes.reranker(body.model)
    texts = [_text(document, index, body.rank_fields) for index, document in enumerate(body.documents)]
    top_n = body.one_of("top_n", "top_k")
    result = await lane.score(request, body.query_text, texts, **body.asked())
    hits = []
    for index in order(result.scores)[:top_n]:
        hit: dict[str, Any] = {"index": int(index), "relevance_score": float(result.scores[index])}
        if body.return_documents or as_text:
            document = body.documents[index]
            as_object = {"text": document} if isinstance(document, str) else document
            hit["document"] = texts[index] if body.is_voyages or as_text else as_object
        hits.append(hit)
    content = {
        "id": str(uuid.uuid4()),
        "object": "list",
        "model": body.model or lane.name,
        "data" if body.is_voyages else "results": hits,
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": result.n_tokens, "output_tokens": 0},
        },
        "usage": {"prompt_tokens": result.n_tokens, "total_tokens": result.n_tokens},
    }
    return await json_response(content, len(await request.body()) if body.return_documents or as_text else 0)


async def _rank_texts(request: Request, body: RerankRequest, texts: list[str]) -> Response:
    lane = request.app.state.lanes.reranker(body.model)
    result = await lane.score(request, body.query_text, texts, **body.asked(cut_by_default=False))
    best = order(result.scores)[: body.one_of("top_n", "top_k")]
    hits: list[dict[str, Any]] = [{"index": int(i), "score": float(result.scores[i])} for i in best]
    has_text = body.one_of("return_text", "return_documents")
    if has_text:
        hits = [{**hit, "text": texts[hit["index"]]} for hit in hits]
    return await json_response(hits, len(await request.body()) if has_text else 0)


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
