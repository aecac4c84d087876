"""What the server says on stderr, as JSON lines and for people; never a text of a user."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from serving import Serving

# A server whose model fails with what it was sent; it ends after one answer.
FAILING = """
import os, signal, sys, threading, httpx
from qsift import Embedder
from qsift.server import bound_socket, create_app, log_to_stderr, serve

def fail(texts, **_):
    raise KeyError(texts[0])

def visit():
    url = "http://127.0.0.1:%d/v1/embeddings" % bound.getsockname()[1]
    print(httpx.post(url, json={"input": "a secret text"}, timeout=60).status_code)
    os.kill(os.getpid(), signal.SIGTERM)

log_to_stderr(sys.argv[1], each_request=False)
with Embedder.load("demo-embedding") as embedder, bound_socket("127.0.0.1", 0) as bound:
    app = create_app({"demo-embedding": embedder})
    embedder.prepare = fail
    serve(app, bound, on_ready=threading.Thread(target=visit).start)
"""


def test_json_lines_have_the_facts_of_each_request_and_no_texts() -> None:
    with Serving("--embedding", "demo-embedding", "--log-format", "json") as server:
        httpx.post(f"{server.url}/v1/embeddings?secret=1", json={"input": ["a secret text", "another secret"]})
        httpx.post(f"{server.url}/v1/embeddings", json={"input": "a secret text", "dimensions": 1})
        httpx.get(f"{server.url}/a-secret-path")
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"a secret that is no HTTP\r\n\r\n")
            connection.recv(100)
    assert "secret" not in "".join(server.told)
    ready, *requests, complaint = map(json.loads, server.told)
    assert ready["level"] == "info" and ready["message"].startswith(f"Serving on {server.url}")
    assert complaint["level"] == "warning" and complaint["message"] == "Invalid HTTP request received."
    for line in requests:
        time = datetime.strptime(line["time"], "%Y-%m-%dT%H:%M:%S.%f%z")
        assert line["time"].endswith("Z") and abs(datetime.now(timezone.utc) - time) < timedelta(minutes=5)
        assert 0 < line.pop("milliseconds") < 60_000 and line.pop("level") == "info"
        assert line.pop("client") == "127.0.0.1"
    told = [{name: value for name, value in line.items() if name != "time"} for line in requests]
    path = {"method": "POST", "path": "/v1/embeddings"}
    assert told == [
        {**path, "status": 200, "texts": 2, "tokens": 8},
        {**path, "status": 400, "texts": None, "tokens": None},
        {"method": "GET", "path": "other", "status": 404, "texts": None, "tokens": None},
    ]


@pytest.mark.parametrize("silence", ["--no-log", "--quiet"])
def test_requests_are_not_told_if_nobody_wants_it(silence: str) -> None:
    with Serving("--embedding", "demo-embedding", "--log-format", "json", silence) as server:
        assert httpx.get(f"{server.url}/health").status_code == 200
    assert ["Serving on" in json.loads(line)["message"] for line in server.told] == [True]


@pytest.mark.posix
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_failure_is_told_once_with_its_place_and_without_what_was_sent(log_format: str) -> None:
    command = [sys.executable, "-c", FAILING, log_format]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout == "500\n" and "secret" not in result.stderr
    if log_format == "json":
        (line,) = map(json.loads, result.stderr.splitlines())
        assert line["level"] == "error" and line["message"] == "A request failed."
        trace = line["traceback"]
    else:
        message, _, trace = result.stderr.partition("\n")
        assert re.fullmatch(r"[\d-]+ [\d:,]+ A request failed\.", message)
    assert re.fullmatch(r"Traceback .*, in fail\n.*builtins\.KeyError\s*", trace, re.DOTALL)
    assert trace.count("Traceback") == 1
