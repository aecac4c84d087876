"""Whatever arrives, the server stays well: odd bodies, slow and half-closed sockets, bytes that are no HTTP."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Serving

PATHS = (
    *("/v1/embeddings", "/v1/rerank", "/v2/rerank", "/rerank", "/embed", "/similarity", "/api/embed", "/", "/v1/embed"),
    *("/v2/embed", "/embedding", "/score", "/tokenize", "/detokenize", "/decode", "/api/embeddings", "/api/rerank"),
    "/api/show",
)
FIELDS = (
    *("input", "inputs", "query", "documents", "texts", "model", "dimensions", "top_n", "truncate", "instruction"),
    *(
        "encoding_format",
        "input_type",
        "max_tokens_per_doc",
        "rank_fields",
        "parameters",
        "raw_scores",
        "task",
        "top_k",
    ),
    *("text_1", "text_2", "content", "prompt", "tokens", "ids", "embedding_types", "output_dtype", "name", "a"),
)
HUGE = st.sampled_from([2**31, 2**63, 2**64, 10**400, -(2**63) - 1, 1e308, -0.0, float("inf"), float("nan")])
SCALARS = (
    st.none() | st.booleans() | st.integers() | HUGE | st.floats() | st.text(st.characters(codec=None), max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", "sentences", "a"]), inner),
    max_leaves=12,
)


def head(path: str, length: int, method: str = "POST") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def raw(server: Serving, data: bytes, *, half_close: bool = False) -> bytes:
    """Sends bytes and returns what comes back until the server is silent or closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=1) as connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return connection.recv(65536)
        except (TimeoutError, ConnectionError):
            return b""


def assert_well(http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "ok"}
    assert http.post("/embed", json={"inputs": "a"}).status_code == 200


@settings(max_examples=250, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), body=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))
def test_no_body_gets_more_than_a_refusal(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = http.post(path, content=json.dumps(body).encode("utf-8", "surrogatepass"))
    assert answer.status_code in (200, 400, 404, 413, 422), answer.text
    assert "NaN" not in answer.text and "Traceback" not in answer.text


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_large_and_deep_bodies_leave_the_memory_flat(server: Serving, http: httpx.Client) -> None:
    deep = b'{"input": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    bodies = [
        b'{"input": "' + b"a" * 10_000_000 + b'"}',
        b'{"input": "' + b"a" * 1_000_000 + b'"}',
        json.dumps({"input": [[1] * 2000] * 300}).encode(),
        json.dumps({"input": ["word " * 200] * 3000}).encode(),
        json.dumps({"documents": [{"text": {"text": [1] * 1000}}] * 1000, "query": "a"}).encode(),
        deep,
    ]

    def one_round() -> None:
        for body in bodies:
            for path in ("/v1/embeddings", "/rerank"):
                assert http.post(path, content=body).status_code in (400, 413, 422)

    # What the allocator keeps for the largest body, on each thread, is there after a few rounds.
    for _ in range(4):
        one_round()
    before = server.memory
    for _ in range(3):
        one_round()
    assert server.memory < before + 96 * 2**20
    assert_well(http)


def test_bytes_that_are_no_request_are_survived(server: Serving, http: httpx.Client) -> None:
    chance = random.Random(8)
    for number in range(60):
        data = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 400)))
        good = head("/embed", 15) + b'{"inputs": "a"}'
        data = data if number % 2 else good[: chance.randrange(len(good))] + data
        raw(server, data, half_close=True)
    assert raw(server, b"GET /health HTTP/9.9\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(server, b"POST /embed HTTP/1.1\r\nX: " + b"a" * 100_000).startswith(b"HTTP/1.1 400")
    assert_well(http)


def test_half_closed_and_cut_off_requests_are_survived(server: Serving, http: httpx.Client) -> None:
    for number in range(40):
        raw(server, head("/embed", 5000) + b'{"inputs": "' + b"a" * number, half_close=True)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head("/v1/embeddings", 30) + b'{"input": ["word word word"]  }')
    assert_well(http)


def test_pipelined_requests_are_answered_in_their_order(server: Serving) -> None:
    requests = b"".join(
        head("/embed", len(body)) + body for body in (b'{"inputs": "a"}', b'{"inputs": 5}', b'{"inputs": "b"}')
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(requests)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 3:
            answers += connection.recv(65536)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"422", b"200"]


def test_slow_senders_are_given_up_and_disturb_nobody() -> None:
    with Serving("--embedding", "demo-embedding", "--body-timeout", "1") as server:
        silent = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(30)]
        for number, connection in enumerate(silent):
            parts = (b"", b"POST /embed HT", head("/embed", 500)[:-2], head("/embed", 500) + b'{"inputs"')
            connection.sendall(parts[number % 4])
        assert httpx.post(f"{server.url}/embed", json={"inputs": "a"}, timeout=60).status_code == 200
        for number, connection in enumerate(silent):
            answer = b""
            try:
                while part := connection.recv(65536):
                    answer += part
            except ConnectionError:
                pass
            assert answer.startswith(b"HTTP/1.1 408") == (number % 4 == 3), answer
            connection.close()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD"])
def test_other_methods_are_refused(http: httpx.Client, method: str) -> None:
    assert http.request(method, "/v1/embeddings").status_code == 405
