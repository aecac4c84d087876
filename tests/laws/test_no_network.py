"""The guard against the network: it must catch, or the tests that rely on it prove nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request

import no_network
import pytest
from no_network import NetworkTouchedError

TOUCHES = {
    "a connection": "import socket; socket.create_connection(('127.0.0.1', 9))",
    "a bare socket": "import socket; socket.socket()",
    "the C half": "import _socket; _socket.socket(_socket.AF_INET6)",
    "a look-up": "import socket; socket.getaddrinfo('localhost', 80)",
    "a swallowed error": "import urllib.request as u\ntry: u.urlopen('http://127.0.0.1:9')\nexcept BaseException: pass",
    "a thread": "import socket, threading; t = threading.Thread(target=socket.socket); t.start(); t.join()",
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_child_that_touches_the_network_ends_at_once(touch: str) -> None:
    child = run(TOUCHES[touch] + "\nprint('went on')")
    assert child.returncode == no_network.EXIT_STATUS
    assert "The network was touched" in child.stderr and "went on" not in child.stdout


def test_a_child_that_leaves_the_network_alone_runs_as_ever() -> None:
    child = run("import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))")
    assert (child.returncode, child.stdout) == (0, "b'x'\n"), child.stderr


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **no_network.environment()}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_a_touch_within_the_process_fails_where_it_happens() -> None:
    with pytest.raises(NetworkTouchedError, match=r"socket\.__new__"), no_network.no_network():
        socket.socket()


def test_a_touch_that_is_swallowed_fails_at_the_end() -> None:
    with pytest.raises(NetworkTouchedError, match="test_no_network"), no_network.no_network():  # noqa: SIM117
        with contextlib.suppress(BaseException):
            urllib.request.urlopen("http://127.0.0.1:9")


def test_afterwards_the_network_is_there_again() -> None:
    with no_network.no_network():
        pass
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname()).close()
