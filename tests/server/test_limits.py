"""Who is let in, how much is taken, and how it ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from click.testing import CliRunner
from serving import Serving

from qsift.cli.main import cli

KEY = "a-key-of-the-test"


@pytest.fixture(scope="module")
def guarded() -> Serving:  # type: ignore[misc]
    """A server with keys and narrow limits, without a reranker."""
    arguments = ("--api-key", KEY, "--api-key", "another", "--max-body", "200000", "--max-texts", "4")
    with Serving("--embedding", "demo-embedding", *arguments, "--max-waiting", "6000", "--max-tokens", "500") as server:
        yield server  # type: ignore[misc]


def post(server: Serving, body: object, path: str = "/v1/embeddings", **headers: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}", **headers}
    return httpx.post(server.url + path, json=body, headers=headers, timeout=120)


def test_only_a_right_key_is_let_in(guarded: Serving) -> None:
    assert post(guarded, {"input": "a"}).status_code == 200
    assert post(guarded, {"input": "a"}, Authorization="Bearer another").status_code == 200
    for wrong in ("Bearer wrong", "", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"):
        answer = post(guarded, {"input": "a"}, Authorization=wrong)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx.get(f"{guarded.url}/v1/models").status_code == 401
    assert httpx.get(f"{guarded.url}/metrics").status_code == 401
    assert httpx.get(f"{guarded.url}/health").status_code == 200


def test_a_model_that_is_not_served_is_not_found(guarded: Serving) -> None:
    answer = post(guarded, {"query": "a", "documents": ["b"]}, "/v1/rerank")
    assert answer.status_code == 404 and "has no reranker" in answer.json()["message"]


def test_bodies_texts_and_tokens_have_limits(guarded: Serving) -> None:
    assert "5 texts are too many" in post(guarded, {"input": ["a"] * 5}).text
    assert "The limit is 500" in post(guarded, {"input": "word " * 600}).text
    answer = post(guarded, {"input": "a" * 200_000})
    assert answer.status_code == 413 and "200000 bytes" in answer.text

    def chunks() -> object:
        for _ in range(30):
            yield b"a" * 10_000

    with httpx.Client() as client:
        answer = client.post(
            f"{guarded.url}/v1/embeddings", content=chunks(), headers={"Authorization": f"Bearer {KEY}"}
        )
    assert answer.status_code == 413


def test_more_than_may_wait_is_told_when_to_come_back(guarded: Serving) -> None:
    body = {"input": ["word " * 480] * 4}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: post(guarded, {**body, "user": str(number)}), range(16)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and {answer.status_code for answer in answers} == {200, 429}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert post(guarded, {"input": "a"}).status_code == 200


def test_no_web_page_gets_in(server: Serving) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        answer = httpx.post(f"{server.url}/v1/embeddings", json={"input": "a"}, headers=headers)
        assert answer.status_code == 403, headers
        assert "access-control-allow-origin" not in answer.headers
    for headers in ({"Origin": server.url}, {"Host": "localhost"}, {"Host": "[::1]:8000"}, {"Host": "127.0.0.2"}):
        assert httpx.post(f"{server.url}/v1/embeddings", json={"input": "a"}, headers=headers).status_code == 200


def test_a_client_that_goes_leaves_the_queue(server: Serving) -> None:
    body = json.dumps({"input": [f"{number} " + "word " * 900 for number in range(60)]}).encode()
    request = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request)
        wait_for(server, "qsift_queue_tokens", lambda value: value > 0)
    wait_for(server, "qsift_queue_tokens", lambda value: value == 0)


def wait_for(server: Serving, name: str, holds: object) -> None:
    deadline = time.monotonic() + 60
    while True:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        if holds(sum(float(line.split()[-1]) for line in lines if line.startswith(name))):  # type: ignore[operator]
            return
        assert time.monotonic() < deadline


def test_a_time_that_is_over_is_told() -> None:
    with Serving("--embedding", "demo-embedding", "--timeout", "0.05") as server:
        answer = httpx.post(f"{server.url}/v1/embeddings", json={"input": [f"{n} " + "word " * 900 for n in range(30)]})
        assert answer.status_code == 503 and "longer than 0.05 seconds" in answer.text
        wait_for(server, "qsift_queue_tokens", lambda value: value == 0)


def test_ending_under_load_answers_all_that_was_accepted() -> None:
    with Serving("--embedding", "demo-embedding") as server:
        answers: list[int] = []
        unanswered: list[str] = []
        guard, started = threading.Lock(), threading.Event()

        def send(number: int) -> None:
            with httpx.Client(base_url=server.url, timeout=120) as client:
                for round_number in range(1000):
                    body = {"input": f"{number} {round_number} " + "word " * 30 * (number % 4)}
                    try:
                        answer = client.post("/v1/embeddings", json=body)
                    except httpx.ConnectError:
                        return  # not accepted
                    except httpx.HTTPError as error:
                        with guard:
                            unanswered.append(repr(error))
                        return
                    if answer.status_code == 503:
                        return  # not accepted either
                    with guard:
                        answers.append(answer.status_code)
                        if len(answers) > 40:
                            started.set()

        threads = [threading.Thread(target=send, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        assert started.wait(60)
        server.terminate()
        for thread in threads:
            thread.join(60)
        assert server.wait() == 0
        assert not unanswered
        assert set(answers) == {200}


def test_it_finishes_a_request_that_takes_long_after_the_signal() -> None:
    with Serving("--embedding", "demo-embedding") as server, ThreadPoolExecutor(1) as pool:
        body = {"input": [f"{number} " + "word " * 900 for number in range(12)]}
        future = pool.submit(httpx.post, f"{server.url}/v1/embeddings", json=body, timeout=120)
        wait_for(server, "qsift_queue_tokens", lambda value: value > 0)
        server.terminate()
        answer = future.result()
        assert answer.status_code == 200 and len(answer.json()["data"]) == 12
        assert answer.headers["Connection"] == "close"


def test_the_log_has_no_texts() -> None:
    command = [sys.executable, "-m", "qsift", "serve", "--embedding", "demo-embedding", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[2].rstrip(",")
        httpx.post(f"{url}/v1/embeddings?secret=1", json={"input": "a secret text", "dimensions": 1})
        httpx.post(f"{url}/v1/embeddings", json={"input": "a secret text"})
        httpx.get(f"{url}/a-secret-path")
        process.terminate()
        log = process.stderr.read()
    assert "POST /v1/embeddings 200" in log and "1 texts, 4 tokens" in log
    assert "secret" not in log


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "There is nothing to serve"),
        (["--embedding", "demo-embedding", "--host", "0.0.0.0"], "Others can reach 0.0.0.0, and there is no key"),
        (["--embedding", "demo-embedding", "--host", "::"], "--insecure"),
    ],
)
def test_what_would_be_a_mistake_is_refused(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, ["serve", *arguments])
    assert result.exit_code == 2 and says in result.output


def test_an_address_in_use_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "qsift", "serve", "--embedding", "demo-embedding", "--port"]
        result = subprocess.run([*command, str(taken.getsockname()[1])], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and result.stderr.startswith("Error: ") and "use" in result.stderr
    assert "Traceback" not in result.stderr
