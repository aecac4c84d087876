"""text-embeddings-inference's endpoints: ``/embed``, ``/similarity``, ``/decode``, ``/info`` and ``POST /``.

Its ``/rerank`` is in `rerank`, its ``/tokenize`` in `tokens`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import Field

from .error_responses import ProblemError
from .fields import EmbeddingFields, ModelField, Shape, TokenId, TokenIds, as_texts
from .off_loop import json_response, number_list
from .request_bodies import described, read
from .rerank import RerankRequest, rank
from qsift import __version__
from qsift.text import similarity as cosines_of

router = APIRouter(tags=["TEI"])

_NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_VECTORS: dict[str, Any] = {"type": "array", "items": _NUMBERS}


class EmbedRequest(EmbeddingFields):
    """TEI's fields."""

    inputs: str | list[str] | TokenIds = Field(
        description="A text, a list of texts, or token ids where the server takes them."
    )

    @property
    def texts(self) -> list[Any]:
        """The texts, or token ids."""
        return as_texts(self.inputs, "inputs")


class SimilarityInputs(Shape):
    """One text and those that it is compared with."""

    source_sentence: str
    sentences: list[str]


class SimilarityRequest(Shape):
    """TEI's fields."""

    inputs: SimilarityInputs
    parameters: EmbeddingFields | None = None


class DecodeRequest(ModelField):
    """TEI's fields."""

    ids: TokenIds = Field(description="The token ids of a text, or a list of such.")
    skip_special_tokens: bool | None = Field(None, description="Whether control tokens are left out, as without it.")


@router.post("/embed", summary="Embed texts", **described("The vectors.", _VECTORS, "tei", body=EmbedRequest))
async def embed(request: Request) -> Response:
    """Embeds texts. Without ``prompt_name`` or ``instruction`` they are documents."""
    body = await read(request, EmbedRequest)
    lane = request.app.state.lanes.embedder(body.model)
    result = await lane.embed(request, body.texts, **body.asked(lane))
    return await json_response(lambda: [number_list(row) for row in result.vectors], result.vectors.size)


@router.post(
    "/",
    summary="Embed texts, or rank documents",
    **described("As /embed, or as /rerank.", {"type": "array"}, "tei", body=EmbedRequest | RerankRequest),
)
async def embed_or_rank(request: Request) -> Response:
    """Does what the body asks for: texts in ``inputs`` are embedded, ``texts`` are ranked for ``query``."""
    fields = (await read(request, Shape, check=False)).model_extra or {}
    if "query" not in fields:
        return await embed(request)
    return await rank(request, await read(request, RerankRequest), "1")


@router.post(
    "/similarity", summary="Compare texts", **described("The cosines.", _NUMBERS, "tei", body=SimilarityRequest)
)
async def similarity(request: Request) -> Response:
    """Returns the cosine of ``source_sentence`` with each of ``sentences``, all embedded alike."""
    body = await read(request, SimilarityRequest)
    parameters = body.parameters or EmbeddingFields()
    lane = request.app.state.lanes.embedder(parameters.model)
    if not body.inputs.sentences:
        raise ProblemError("invalid", "'sentences' is an empty list; one text at least is needed.", param="inputs")
    texts = [body.inputs.source_sentence, *body.inputs.sentences]
    result = await lane.embed(request, texts, **parameters.asked(lane))
    cosines = cosines_of(result.vectors[:1], result.vectors[1:])[0]
    return await json_response(number_list(np.ascontiguousarray(cosines)))


@router.post(
    "/decode",
    summary="Turn token ids into text",
    **described("The texts.", _TEXTS, "tei", body=DecodeRequest),
)
async def decode(request: Request) -> Response:
    """Returns the texts that token ids are of."""
    body = await read(request, DecodeRequest)
    lane = request.app.state.lanes.named(body.model)
    lists: list[list[TokenId]] = [body.ids] if body.ids and isinstance(body.ids[0], int) else body.ids  # type: ignore[assignment]
    skips = body.skip_special_tokens is not False
    return await json_response([await lane.text_of(request, ids, skip_control=skips) for ids in lists])


_INFO = {"type": "object", "required": ["model_id", "model_type", "max_input_length", "version"]}


@router.get("/info", summary="What is served", **described("The facts.", _INFO, "tei"))
async def info(request: Request) -> Response:
    """Describes the server as TEI does; ``model_type`` names both tasks where it has both."""
    lanes = request.app.state.lanes
    lane, limits = lanes.named(None), request.app.state.gate.options
    types: dict[str, Any] = {}
    if lanes.embedding:
        types["embedding"] = {"pooling": "last_token"}
    if lanes.reranking:
        types["reranker"] = {"id2label": {"0": "yes"}, "label2id": {"yes": 0}}
    return await json_response(
        {
            "model_id": lane.name,
            "model_sha": None,
            "model_dtype": lane.file.quant,
            "model_type": types,
            "max_concurrent_requests": limits.max_waiting,
            "max_input_length": lane.max_tokens,
            "max_batch_tokens": limits.max_waiting,
            "max_batch_requests": None,
            "max_client_batch_size": limits.max_texts,
            "auto_truncate": False,
            "tokenization_workers": 1,
            "version": __version__,
            "sha": None,
            "docker_label": None,
        }
    )
