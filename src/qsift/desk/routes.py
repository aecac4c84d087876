"""The desk's endpoints: what its page asks for. Whatever they compute, the server's lanes compute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import Field

from .desk import Desk
from .page import page_router
from .sentences import sentences, utf16_length
from qsift.documents import KINDS, Kind
from qsift.errors import SearchIndexError
from qsift.search import CANDIDATES, Candidate, Filter, SearchHit, ranked
from qsift.server import (
    EmbeddingLane,
    ModelField,
    ProblemError,
    Shape,
    described,
    json_response,
    off_loop,
    read,
    unless_gone,
)
from qsift.text import Precision, normalize, quantize, similarity

_MOST_TEXTS = 40
_PRECISIONS: tuple[Precision, ...] = ("float32", "int8", "binary")


def desk_routers(desk: Desk) -> list[APIRouter]:
    """Returns what `create_app` takes: the page, what its models do, and what its shelves do where there are any.

    As the server starts, shelves of folders are brought up to date; as it ends, jobs are stopped and shelves closed.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.desk = desk
        if desk.shelves:
            desk.update_folders(app.state.lanes.embedder(None))
        yield
        await asyncio.get_running_loop().run_in_executor(None, desk.close)

    return [APIRouter(lifespan=lifespan), page_router(), _models, *([_files] if desk.shelves else [])]


_models = APIRouter(tags=["Desk"])
_files = APIRouter(tags=["Desk"])

_OBJECT: dict[str, Any] = {"type": "object"}


class CompareRequest(ModelField):
    """Texts that are compared with each other."""

    texts: list[str] = Field(min_length=1, max_length=_MOST_TEXTS, description="Texts, as documents.")
    query: str | None = Field(None, description="A text that is compared with them as a query.")
    instruction: str | None = Field(None, description="One sentence that says what the query searches for.")


class PromptRequest(ModelField):
    """A query and a document."""

    query: str
    document: str
    instruction: str | None = Field(None, description="One sentence that says what the query searches for.")


class PassageText(Shape):
    """A passage that was found."""

    text: str = Field(max_length=20_000)
    kind: str = Field("text", description="What kind of document it is from.")


class SentencesRequest(Shape):
    """A query and passages."""

    query: str
    passages: list[PassageText] = Field(min_length=1, max_length=20)


class SearchRequest(Shape):
    """What is searched for, and where."""

    query: str = Field(max_length=4000)
    shelf: int | None = Field(None, description="A shelf's number; without it all are searched.")
    folder: str | None = Field(None, description="Only documents in this folder.")
    kinds: list[str] = Field(default=[], description="Only documents of these kinds.")
    after: float | None = Field(None, description="Only documents changed then or later, in seconds since 1970.")
    before: float | None = Field(None, description="Only documents changed then or earlier.")
    rerank: int = Field(0, ge=0, le=CANDIDATES, description="Candidates of the first stage that the reranker reads.")
    top_k: int = Field(20, ge=1, le=50, description="Passages to return.")


class PlaceRequest(Shape):
    """A place in a document of a shelf."""

    shelf: int
    source: str
    line: int = Field(1, ge=1)


class IndexRequest(Shape):
    """What is to be done to a shelf."""

    shelf: int
    add: str | None = Field(None, description="A file or folder to add; without it the shelf is brought up to date.")


class ShelfRequest(Shape):
    """A shelf."""

    shelf: int


@_models.get("/desk/state", summary="What is on the desk", **described("Models and shelves.", _OBJECT, "openai"))
async def state(request: Request) -> Response:
    """Describes models, indices and what is being indexed."""
    desk, lanes = request.app.state.desk, request.app.state.lanes
    shelves = await _in_thread(desk, desk.facts)
    return await _private(
        {
            "embedding": [_model_facts(lane) for lane in lanes.embedding],
            "reranking": [_model_facts(lane) for lane in lanes.reranking],
            "shelves": shelves,
            "kinds": KINDS,
        }
    )


@_models.post(
    "/desk/compare",
    summary="Compare texts",
    **described("Cosines in each width and precision.", _OBJECT, "openai", body=CompareRequest),
)
async def compare(request: Request) -> Response:
    """Returns the cosines of texts with each other, the query first if there is one."""
    body = await read(request, CompareRequest)
    lane = request.app.state.lanes.embedder(body.model)
    rows = []
    if body.query is not None:
        asked = lane.prompt({"prompt_name": "query"}, body.instruction)
        rows.append((await lane.embed(request, [body.query], max_tokens=lane.max_tokens, **asked)).vectors)
    rows.append((await lane.embed(request, body.texts, max_tokens=lane.max_tokens)).vectors)
    vectors = np.concatenate(rows)
    widths = _widths(lane)
    matrices = await off_loop(vectors.size * len(widths), _matrices, vectors, widths)
    return await _private({**_model_facts(lane), "widths": widths, "precisions": _PRECISIONS, "matrices": matrices})


@_models.post(
    "/desk/prompt", summary="What a reranker reads", **described("The prompt.", _OBJECT, "openai", body=PromptRequest)
)
async def prompt(request: Request) -> Response:
    """Returns the prompt of a query and a document to the letter, control tokens apart."""
    body = await read(request, PromptRequest)
    lane = request.app.state.lanes.reranker(body.model)
    async with lane.resident(request) as resident:
        model = resident.model
        ids = await off_loop(
            len(body.query) + len(body.document),
            partial(model.token_ids, body.query, body.document, instruction=body.instruction),
        )
        pieces: list[tuple[bool, bytes]] = []
        for token in model.tokens(ids):
            if pieces and not token.is_control and not pieces[-1][0]:
                pieces[-1] = (False, pieces[-1][1] + token.piece)
            else:
                pieces.append((token.is_control, token.piece))
    said = [{"text": piece.decode("utf-8", "replace"), "control": is_control} for is_control, piece in pieces]
    return await _private({"n_tokens": len(ids), "pieces": said})


@_files.post("/desk/search", summary="Search", **described("Passages.", _OBJECT, "openai", body=SearchRequest))
async def search(request: Request) -> Response:
    """Returns the passages for a query, the best first; a client that goes takes its question with it.

    Passages that the reranker did not read stand behind those that it read.
    """
    body = await read(request, SearchRequest)
    if not body.query.strip():
        raise ProblemError("invalid", "The query is empty. Say what to search for.", param="query")
    desk, lanes = request.app.state.desk, request.app.state.lanes
    found = await _candidates(request, desk, lanes.embedder(None), body)
    judged, others = found[: body.rerank], found[body.rerank :]
    hits = [(number, SearchHit(one.passage, None, one.similarity, one.rank)) for number, one in others]
    if judged:
        scores = await _scores(request, body.query, [one.passage.text for _, one in judged])
        shelf_of = {one.rank: number for number, one in judged}
        hits = [(shelf_of[hit.rank], hit) for hit in ranked([one for _, one in judged], scores)] + hits
    return await _private({"hits": [_hit(desk, number, hit) for number, hit in hits[: body.top_k]]})


@_files.post(
    "/desk/sentences",
    summary="The sentences that answer",
    **described("A span for each passage.", _OBJECT, "openai", body=SentencesRequest),
)
async def best_sentences(request: Request) -> Response:
    """Returns the sentence of each passage that the reranker, or without one the embedder, likes best.

    Start and end are counted as JavaScript counts; null stands for a passage of a single sentence.
    """
    body = await read(request, SentencesRequest)
    spans = [sentences(passage.text, _kind(passage.kind)) for passage in body.passages]
    texts = [
        passage.text[start:end] for passage, places in zip(body.passages, spans, strict=True) for start, end in places
    ]
    scores = await _scores(request, body.query, texts)
    best: list[dict[str, int] | None] = []
    position = 0
    for passage, places in zip(body.passages, spans, strict=True):
        mine = scores[position : position + len(places)]
        position += len(places)
        if not places:
            best.append(None)
            continue
        start, end = places[int(np.argmax(mine))]
        before = utf16_length(passage.text[:start])
        best.append({"start": before, "end": before + utf16_length(passage.text[start:end])})
    return await _private({"spans": best})


@_files.post("/desk/open", summary="Open a file", **described("It was opened.", _OBJECT, "openai", body=PlaceRequest))
async def open_file(request: Request) -> Response:
    """Opens a file of an index on this machine."""
    body = await read(request, PlaceRequest)
    desk = request.app.state.desk
    await asyncio.to_thread(desk.open, body.shelf, body.source, body.line)
    return await _private({"opened": body.source})


@_files.post("/desk/index", summary="Update or add", **described("The job.", _OBJECT, "openai", body=IndexRequest))
async def index(request: Request) -> Response:
    """Starts to bring a shelf up to date, or to add a file or folder to it."""
    body = await read(request, IndexRequest)
    if body.add is not None and not body.add.strip():
        raise ProblemError("invalid", "The path is empty. Type that of a file or folder.", param="add")
    job = request.app.state.desk.start(body.shelf, request.app.state.lanes.embedder(None), body.add)
    return await _private(job.facts())


@_files.post("/desk/stop", summary="Stop", **described("The job.", _OBJECT, "openai", body=ShelfRequest))
async def stop(request: Request) -> Response:
    """Asks for the end of what is being done to a shelf; what was written stays."""
    body = await read(request, ShelfRequest)
    desk = request.app.state.desk
    desk.shelf(body.shelf)
    job = desk.job(body.shelf)
    if job is not None:
        job.stop()
    return await _private(job.facts() if job else {})


async def _candidates(
    request: Request, desk: Desk, lane: EmbeddingLane, body: SearchRequest
) -> Sequence[tuple[int, Candidate]]:
    """Returns the first stage's candidates of all shelves, with the numbers of these, in turns by their ranks.

    Of several, one that cannot be searched is left out; what is wrong with it stands in the state.
    """
    where = _filter(body)
    numbers = range(len(desk.shelves)) if body.shelf is None else [body.shelf]
    for number in numbers:
        desk.shelf(number)
    embedded = await lane.embed(request, [body.query], prompt_name="query", max_tokens=lane.max_tokens)
    vector = embedded.vectors[0]
    searches = [_in_thread(desk, desk.candidates, vector, body.query, number, where, CANDIDATES) for number in numbers]
    parts: dict[int, list[Candidate]] = {}
    try:
        for number, search in zip(numbers, searches, strict=True):
            try:
                parts[number] = await unless_gone(request, search)
            except SearchIndexError:
                if number == numbers[-1] and not parts:
                    raise
    finally:
        for search in searches:
            search.cancel()  # one that waits for a thread when the next key is typed is never begun
    found = [(number, candidate) for number, part in parts.items() for candidate in part]
    if len(parts) == 1:
        return found
    found.sort(key=lambda item: (item[1].rank, -item[1].similarity))
    return [
        (number, Candidate(one.passage, one.similarity, rank, one.vector_rank, one.text_rank))
        for rank, (number, one) in enumerate(found[:CANDIDATES], 1)
    ]


def _filter(body: SearchRequest) -> Filter:
    glob = None
    if body.folder is not None:
        escaped = "".join(f"[{character}]" if character in "*?[" else character for character in body.folder)
        glob = f"{escaped.rstrip('/')}/*"
    return Filter(glob, tuple(map(_kind, body.kinds)), body.after, body.before)


def _kind(word: str) -> Kind:
    for kind in KINDS:
        if kind == word:
            return kind
    raise ProblemError("invalid", f"There is no kind {word[:100]!r} of documents; there are {', '.join(KINDS)}.")


def _hit(desk: Desk, number: int, hit: SearchHit) -> dict[str, Any]:
    passage = hit.passage
    return {
        "shelf": number,
        "source": passage.source,
        "shown": desk.shelf(number).shown(passage.source),
        "kind": passage.kind,
        "line": passage.line,
        "end_line": passage.end_line,
        "place": passage.place,
        "modified": passage.modified,
        "text": passage.text,
        "score": hit.score,
        "similarity": hit.similarity,
        "rank": hit.rank,
    }


async def _scores(request: Request, query: str, texts: list[str]) -> Any:
    """Returns what the reranker thinks of texts, and of a server without one the embedder."""
    desk, lanes = request.app.state.desk, request.app.state.lanes

    async def compute(missing: list[str]) -> Any:
        if lanes.reranking:
            return (await lanes.reranker(None).score(request, query, missing)).scores
        lane = lanes.embedder(None)
        vector = (await lane.embed(request, [query], prompt_name="query", max_tokens=lane.max_tokens)).vectors
        return similarity((await lane.embed(request, missing, max_tokens=lane.max_tokens)).vectors, vector)[:, 0]

    return await desk.known_scores.of(query, texts, compute)


def _model_facts(lane: Any) -> dict[str, Any]:
    facts = {"name": lane.name, "quant": lane.file.quant}
    return facts | {"width": lane.file.width} if isinstance(lane, EmbeddingLane) else facts


def _widths(lane: EmbeddingLane) -> list[int]:
    """Returns the powers of two that the model's vectors can be cut to, and their full width."""
    powers = (1 << power for power in range(5, 16))
    return [*(width for width in powers if lane.file.min_dim <= width < lane.file.width), lane.file.width]


def _matrices(vectors: Any, widths: list[int]) -> dict[str, dict[str, list[list[float]]]]:
    return {
        precision: {str(width): _cosines(vectors[:, :width], precision) for width in widths}
        for precision in _PRECISIONS
    }


def _cosines(vectors: Any, precision: Precision) -> list[list[float]]:
    packed = quantize(normalize(vectors), precision)
    rounded: list[list[float]] = similarity(packed, packed, precision).astype(np.float64).round(4).tolist()
    return rounded


def _in_thread(desk: Desk, function: Any, *arguments: Any) -> asyncio.Future[Any]:
    return asyncio.get_running_loop().run_in_executor(desk.threads, function, *arguments)


async def _private(content: dict[str, Any]) -> Response:
    """Returns JSON that no cache keeps."""
    response = await json_response(content)
    response.headers["Cache-Control"] = "no-store"
    return response
