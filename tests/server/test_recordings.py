"""Applications that cannot be installed here find in the server's answers what they read, and it is the library's."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from types import UnionType
from typing import Any

import numpy as np
import pytest
from recordings import RECORDINGS, TEXTS, Call, Reads, Recording
from serving import Serving

from qsift import Embedder, Reranker

# What is decoded together, and in which steps, moves the last bits.
COSINE, SCORE = 0.9999, 0.01


@pytest.fixture(scope="module")
def any_name_with_a_key() -> Iterator[Serving]:
    """Serves the demo pair under every name to who has the key."""
    arguments = ("--any-model-name", "--api-key", "secret")
    with Serving("--embedding", "demo-embedding", "--reranker", "demo-reranker", *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def reranker_alone() -> Iterator[Serving]:
    """Serves a reranker, and says so."""
    with Serving("--reranker", "demo-reranker") as server:
        yield server


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.does)
def test_a_program_gets_what_it_reads(
    recording: Recording, request: pytest.FixtureRequest, embedder: Embedder, reranker: Reranker
) -> None:
    server: Serving = request.getfixturevalue(recording.server)
    for call in recording.calls:
        answer = answer_to(call, server)
        found = {place: values(answer, place) for place in call.reads}
        for place, wanted in call.reads.items():
            for value in found[place]:
                if isinstance(wanted, type | UnionType):
                    assert isinstance(value, wanted) and (wanted is bool or type(value) is not bool), (call, place)
                elif not isinstance(wanted, Reads):
                    assert value == wanted, (call, place)
        rows = {wanted: found[place] for place, wanted in call.reads.items() if isinstance(wanted, Reads)}
        assert_vectors(call, rows, embedder)
        if Reads.SCORE in rows:
            assert_ranking(call, rows, reranker)
        for sentence in rows.get(Reads.SENTENCE, []):
            assert call.says and call.says in sentence


def test_what_coheres_clients_put_together_again_is_the_text(server: Serving) -> None:
    for text in [*TEXTS, "<|im_end|> 👩‍🚀\n", ""]:
        body = {"text": text, "model": "demo-embedding"}
        strings = answer_to(Call("POST /v1/tokenize", body), server)["token_strings"]
        assert "".join(strings) == text


def answer_to(call: Call, server: Serving) -> Any:
    """Sends a call as it is written down, which most clients for Python would mend, and returns the answer's JSON."""
    method, _, path = call.request.partition(" ")
    body = None if call.body is None else json.dumps(call.body).encode()
    headers = {**({} if body is None else {"Content-Type": "application/json"}), **call.headers}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    assert answer.status == call.status, (call, text)
    if method == "HEAD":
        assert text == b""
    return json.loads(text) if answer.headers.get_content_type() == "application/json" and text else None


def values(answer: Any, place: str) -> list[Any]:
    """Returns what is at a place of an answer; there is something, or the program would find nothing to read."""
    found = [answer]
    for step in place.split("/"):
        if step == "*":
            found = [item for whole in found for item in whole]
        else:
            found = [next(iter(whole)) if step == "~" else whole[step] for whole in found]
    assert found, (place, answer)
    return found


def texts_of(body: Any) -> list[str]:
    """Returns the texts that a request is about, whatever it calls them."""
    given = next(body[name] for name in ("input", "inputs", "texts", "documents", "prompt") if name in body)
    given = [given] if isinstance(given, str) else given
    return [text["text"] if isinstance(text, dict) else text for text in given]


def assert_vectors(call: Call, rows: dict[Reads, list[Any]], embedder: Embedder) -> None:
    """Asserts that vectors are the library's, a vector for each text, in order."""
    for kind in rows.keys() & {Reads.DOCUMENT, Reads.QUERY, Reads.BASE64}:
        texts = call.meant or texts_of(call.body)
        found = rows[kind]
        if kind is Reads.BASE64:
            found = [np.frombuffer(base64.b64decode(row), "<f4") for row in found]
        expected = embedder.encode_query(texts) if kind is Reads.QUERY else embedder.encode_document(texts)
        vectors = np.array(found, np.float32)
        assert vectors.shape == expected.shape, call
        assert (vectors * expected).sum(axis=1).min() > COSINE, call


def assert_ranking(call: Call, rows: dict[Reads, list[Any]], reranker: Reranker) -> None:
    """Asserts that the best documents come, the best first, with the library's scores and their own texts."""
    texts = texts_of(call.body)
    wanted = call.body.get("top_n") or call.body.get("top_k") or len(texts)
    best = reranker.rank(call.body["query"], texts, top_k=wanted)
    assert rows[Reads.INDEX] == [hit.corpus_id for hit in best], call
    assert rows[Reads.SCORE] == pytest.approx([hit.score for hit in best], abs=SCORE), call
    if Reads.TEXT in rows:
        assert rows[Reads.TEXT] == [texts[index] for index in rows[Reads.INDEX]], call
