"""Texts to token ids and back: ``/tokenize`` as llama-server, vLLM and TEI have it, and ``/detokenize``."""

from __future__ import annotations

import codecs
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from .error_responses import ProblemError
from .fields import ModelField, TokenId
from .off_loop import json_response
from .request_bodies import described, read
from qsift.engine import Token

router = APIRouter(tags=["Tokens"])


class TokenizeRequest(ModelField):
    """Whose fields they are tells the answer: llama-server's ``content``, vLLM's ``prompt``, TEI's ``inputs``, Cohere's
    ``text``.
    """

    content: str | None = Field(None, description="A text, as llama-server has it.")
    prompt: str | None = Field(None, description="A text, as vLLM has it.")
    text: str | None = Field(None, description="A text, as Cohere has it.")
    inputs: str | list[str] | None = Field(None, description="A text or a list of texts, as TEI has it.")
    prompt_name: str | None = Field(None, description="Which of the model's prompts stands before the texts.")
    add_special: bool | None = Field(None, description="Whether the end token is there; without it it is not.")
    add_special_tokens: bool | None = Field(None, description="The same; without it it is.")
    parse_special: bool | None = Field(None, description="Control tokens in a text are letters whatever it says.")
    with_pieces: bool | None = Field(None, description="Whether each id comes with its piece.")
    return_token_strs: bool | None = Field(None, description="Whether the pieces come in a list of their own.")


class DetokenizeRequest(ModelField):
    """llama-server's and vLLM's field."""

    tokens: list[TokenId]


_EITHER = {"anyOf": [{"type": "object"}, {"type": "array"}]}


@router.post(
    "/tokenize",
    summary="Turn texts into token ids",
    **described("The tokens.", _EITHER, "openai", "tei", body=TokenizeRequest),
)
async def tokenize(request: Request) -> Response:
    """Returns the tokens of a text."""
    body = await read(request, TokenizeRequest)
    lane = request.app.state.lanes.named(body.model)
    given = [name for name in ("content", "prompt", "text", "inputs") if getattr(body, name) is not None]
    if len(given) != 1:
        sentence = "One of 'content', 'prompt', 'text' and 'inputs' is needed."
        raise ProblemError("invalid", sentence, param="content")
    texts = getattr(body, given[0])
    texts = [texts] if isinstance(texts, str) else texts
    special = body.one_of("add_special", "add_special_tokens")
    is_whole = given[0] in ("prompt", "inputs") if special is None else special
    found = await lane.tokens(request, texts, is_whole=is_whole, prompt_name=body.prompt_name)

    def content() -> Any:
        if given[0] == "inputs":
            return [_with_places(tokens) for tokens in found]
        (tokens,) = found
        ids, pieces = [token.id for token in tokens], [_text(token) for token in tokens]
        if given[0] == "prompt":
            strings = pieces if body.return_token_strs else None
            return {"count": len(ids), "max_model_len": lane.max_tokens, "tokens": ids, "token_strs": strings}
        if given[0] == "text":
            return {"tokens": ids, "token_strings": _strings(tokens), "meta": {"api_version": {"version": "1"}}}
        with_pieces = [{"id": token.id, "piece": piece} for token, piece in zip(tokens, pieces, strict=True)]
        return {"tokens": with_pieces if body.with_pieces else ids}

    return await json_response(content, sum(map(len, found)))


@router.post(
    "/detokenize",
    summary="Turn token ids into text",
    **described("The text.", _EITHER, "openai", "tei", body=DetokenizeRequest),
)
async def detokenize(request: Request) -> Response:
    """Returns the text of token ids, under llama-server's name and under vLLM's."""
    body = await read(request, DetokenizeRequest)
    text = await request.app.state.lanes.named(body.model).text_of(request, body.tokens)
    return await json_response({"content": text, "prompt": text})


def _text(token: Token) -> str:
    return token.piece.decode("utf-8", "replace")


def _strings(tokens: list[Token]) -> list[str]:
    """Returns strings that are the text when they are put together again, as clients of Cohere do."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(token.piece) for token in tokens]


def _with_places(tokens: list[Token]) -> list[dict[str, Any]]:
    """Returns tokens as TEI has them, with their places in characters of the text; control tokens have none."""
    decoder, found, done = codecs.getincrementaldecoder("utf-8")("replace"), [], 0
    for token in tokens:
        place: tuple[int | None, int | None] = (None, None)
        if not token.is_control:
            start, done = done, done + len(decoder.decode(token.piece))  # a character counts with its last byte
            place = start, done
        found.append(
            {"id": token.id, "text": _text(token), "special": token.is_control, "start": place[0], "stop": place[1]}
        )
    return found
