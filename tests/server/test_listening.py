"""Unix sockets, the port's file, and what systemd is told."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from serving import Serving

from qsift import Embedder
from qsift.cli.main import cli
from qsift.server.listening import remove_file, unix_socket

SERVE = [sys.executable, "-m", "qsift", "serve", "--embedding", "demo-embedding"]


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A name for a socket, short enough for every system."""
    return tmp_path_factory.mktemp("s") / "s"


def over(path: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=120)


def refusal(path: Path) -> str:
    """Returns what a server says that cannot have the socket; it has loaded no model by then."""
    result = subprocess.run([*SERVE, "--unix-socket", path], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1 and result.stderr.startswith(f"Error: {str(path)!r}: ")
    return result.stderr


@pytest.mark.posix
def test_a_unix_socket_gives_the_librarys_vectors_and_opens_no_port(path: Path, embedder: Embedder) -> None:
    with Serving("--embedding", "demo-embedding", "--unix-socket", str(path)) as server, over(path) as http:
        assert f"unix:{path}" in server.told[0]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        answer = http.post("/v1/embeddings", json={"input": ["a text"]}).json()
        assert np.allclose(answer["data"][0]["embedding"], embedder.encode_document(["a text"])[0], atol=1e-6)
        # Whatever its clients call it; but a page that a proxy let through is still a page of another origin.
        assert http.post("/embed", json={"inputs": "a"}, headers={"Host": "docker"}).status_code == 200
        assert http.post("/embed", json={"inputs": "a"}, headers={"Origin": "http://evil.example"}).status_code == 403
        assert "listens there" in refusal(path)
        assert http.get("/health").status_code == 200
    assert not path.exists()


@pytest.mark.posix
def test_a_key_is_asked_for_on_a_unix_socket_too(path: Path) -> None:
    with Serving("--embedding", "demo-embedding", "--unix-socket", str(path), "--api-key", "k"), over(path) as http:
        assert http.get("/v1/models").status_code == 401
        assert http.get("/v1/models", headers={"Authorization": "Bearer k"}).status_code == 200


@pytest.mark.posix
def test_the_socket_of_a_dead_server_is_replaced(path: Path) -> None:
    server = Serving("--embedding", "demo-embedding", "--unix-socket", str(path))
    server.kill()
    assert stat.S_ISSOCK(path.stat().st_mode)
    with Serving("--embedding", "demo-embedding", "--unix-socket", str(path)), over(path) as http:
        assert http.get("/health").status_code == 200


@pytest.mark.posix
def test_a_file_that_is_no_socket_is_left_as_it_is(path: Path) -> None:
    path.write_text("mine")
    assert "no socket" in refusal(path)
    assert path.read_text() == "mine"


@pytest.mark.posix
def test_a_socket_that_cannot_be_is_refused_with_its_path(path: Path) -> None:
    assert "No such file or directory" in refusal(path / "nowhere")
    assert "too long" in refusal(path.parent / ("a" * 200))


@pytest.mark.posix
def test_a_server_that_has_stopped_to_listen_leaves_the_socket_of_the_next_one(path: Path) -> None:
    with ExitStack() as later:
        with unix_socket(str(path)) as first:
            remove_file(first)
            first.close()  # and it still waits for its last clients
            later.enter_context(unix_socket(str(path)))
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(path))
    assert not path.exists()


@pytest.mark.posix
def test_a_path_that_no_socket_can_have_loses_nothing(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()
    assert "no socket" in refusal(path)
    assert (path / "file").exists()


@pytest.mark.posix
@pytest.mark.parametrize("option", [("--host", "127.0.0.1"), ("--port", "8000"), ("--port-file", "p"), ("--insecure",)])
def test_what_is_for_a_port_contradicts_a_unix_socket(path: Path, option: tuple[str, ...]) -> None:
    arguments = ["serve", "--embedding", "demo-embedding", "--unix-socket", str(path), *option]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2 and f"{option[0]} is for a port" in result.output
    assert not path.exists()


def test_the_ports_file_is_there_from_ready_to_the_end(tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("1\n")  # of a server that was killed
    with Serving("--embedding", "demo-embedding", "--port-file", str(file)) as server:
        assert file.read_bytes() == b"%d\n" % server.port
        assert os.listdir(tmp_path) == ["port"]
    assert not os.listdir(tmp_path)


def test_a_ports_file_of_a_dead_server_misleads_nobody(tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("1\n")
    command = [*SERVE[:-1], "no-such-model", "--port", "0", "--port-file", file]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 1
    assert not file.exists()


def test_a_ports_file_that_cannot_be_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    command = [*SERVE[:-1], "no-such-model", "--port", "0", "--port-file", tmp_path / "nowhere" / "port"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1 and "Its folder is missing" in result.stderr


@pytest.mark.posix
@pytest.mark.parametrize("place", ["file", pytest.param("abstract", marks=pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has sockets without a file"))])  # fmt: skip
def test_systemd_is_told_when_requests_are_answered_and_when_it_ends(path: Path, place: str) -> None:
    address = str(path) if place == "file" else f"@{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(60)
        systemd.bind(address.replace("@", "\0"))
        with Serving("--embedding", "demo-embedding", NOTIFY_SOCKET=address) as server:
            assert systemd.recv(100) == b"READY=1"
            assert httpx.get(f"{server.url}/health").status_code == 200
        assert systemd.recv(100) == b"STOPPING=1"


@pytest.mark.posix
def test_a_systemd_that_is_gone_disturbs_nobody(path: Path) -> None:
    with Serving("--embedding", "demo-embedding", NOTIFY_SOCKET=str(path)) as server:
        assert httpx.get(f"{server.url}/health").status_code == 200
