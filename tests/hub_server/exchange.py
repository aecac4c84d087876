"""One request and its answer: bodies, ranges, and the faults that a test ordered. Knows no hub's paths."""

from __future__ import annotations

import contextlib
import enum
import json
import select
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from hub_server.repos import Blob

if TYPE_CHECKING:
    from hub_server import HubServer

PIECE = 1 << 16


class Fault(enum.Enum):
    """What goes wrong with the body of a file; a number instead is the status of an answer without one."""

    CUT = "the connection closes when half of the file is sent; a resumed request past that gets nothing"
    HOLD = "half of the body is sent, then nothing until the test calls release()"
    SLOW = "the body comes in a hundred pieces, with HubServer.pause between them"
    WRONG_LENGTH = "the body is whole by its own Content-Length, and seven bytes shorter than the hub promised"
    WRONG_DIGEST = "a byte in the middle is another one"
    GATED = "403, because the repo's owner did not let this user in"


@dataclass(frozen=True)
class Request:
    """A request as it came.

    Attributes:
        server: "hub", or "cdn" for the second address, where large files lie.
        method: "GET", "HEAD", …
        path: Path and query.
        headers: By lower-case name.
        file: The path in the repo of the file that was asked for; "" where it was none.
    """

    server: str
    method: str
    path: str
    headers: Mapping[str, str]
    file: str


@dataclass
class Order:
    """A fault that a test ordered."""

    pattern: str
    fault: Fault | int
    times: int | None
    method: str | None
    retry_after: int

    def meets(self, exchange: Exchange, file: str) -> bool:
        """Says whether it is this request that goes wrong."""
        names = {file, PurePosixPath(file).name, exchange.path.partition("?")[0].strip("/")}
        right_method = exchange.command == self.method if self.method else True
        return self.times != 0 and right_method and any(fnmatch(name, self.pattern) for name in names)


class Exchange(BaseHTTPRequestHandler):
    """Handles a connection; subclasses know their hub and call its routes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 600
    hub: HubServer
    name: str
    _read: bytes | None

    def answer(self) -> None:
        """Finds the route of the request and follows it."""
        self._read = None
        self.file = ""
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.hub.route(self, parts.path)
            self.body()  # what the client still sends would be read as the next request

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Keeps stderr clean: a test looks at HubServer.requests."""

    # What came

    @property
    def token(self) -> str | None:
        """The bearer token; for ModelScope also its cookie."""
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        cookies = dict(part.strip().partition("=")[::2] for part in self.headers.get("Cookie", "").split(";"))
        return (token if kind.lower() == "bearer" else "") or cookies.get("m_session_id") or None

    def body(self) -> bytes:
        """Returns the request's body, whether its length was told or it came in chunks."""
        if self._read is None:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                self._read = b"".join(self._chunks())
            else:
                self._read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return self._read

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    # What goes

    def reply(self, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answers with JSON."""
        data = json.dumps(content).encode()
        self._head(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    def redirect(self, location: str, headers: Mapping[str, str]) -> None:
        """Sends the client elsewhere."""
        text = f"Found. Redirecting to {location}".encode()
        self._head(302, {"Location": location, **headers}, len(text))
        if self.command != "HEAD":
            self.wfile.write(text)

    def serve(self, blob: Blob, file: str, headers: Mapping[str, str], *, ranges: bool = True) -> None:
        """Answers with a file, or the range of it that was asked for, or with the fault that was ordered."""
        asked = self.headers.get("Range") if ranges else None
        fault = self.hub.fault_of(self, file) if self.command == "GET" else None
        size = max(0, blob.size - 7) if fault is Fault.WRONG_LENGTH else blob.size
        wanted = asked_range(asked, size)
        headers = {
            **headers,
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes" if ranges else "none",
        }
        if wanted is None:
            self._head(416, {"Content-Range": f"bytes */{size}"}, 0)
            return
        start, stop = wanted
        if asked:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._head(206 if asked else 200, headers, stop - start)
        if self.command == "GET":
            assert not isinstance(fault, int)
            self._send(blob, file, start, stop, fault)

    def _head(self, status: int, headers: Mapping[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, blob: Blob, file: str, start: int, stop: int, fault: Fault | None) -> None:
        half = blob.size // 2
        end = max(start, min(stop, half)) if fault in (Fault.CUT, Fault.HOLD) else stop
        piece = -(-blob.size // 100) if fault is Fault.SLOW else PIECE
        flip = half if fault is Fault.WRONG_DIGEST else -1
        for content in pieces(blob.path, start, end, piece, flip):
            self.wfile.write(content)
            self.hub.sent(file, len(content))
            if fault is Fault.SLOW and self.hub.closed.wait(self.hub.pause):
                return self._cut()
        if fault is Fault.CUT:
            self._cut()
        if fault is Fault.HOLD and self._hold():
            for content in pieces(blob.path, end, stop, PIECE, -1):
                self.wfile.write(content)

    def _hold(self) -> bool:
        """Waits; says whether the other side is still there and the test let it go on."""
        while not self.hub.released.wait(0.02):
            gone = select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK)
            if gone or self.hub.closed.is_set():
                self.close_connection = True
                return False
        return True

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def pieces(path: Path, start: int, stop: int, size: int, flip: int) -> Iterator[bytes]:
    """Yields a file's bytes from start to stop; the byte at flip is another one."""
    with path.open("rb") as file:
        file.seek(start)
        while start < stop:
            content = bytearray(file.read(min(size, stop - start)))
            if start <= flip < start + len(content):
                content[flip - start] ^= 1
            yield bytes(content)
            start += len(content)


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Returns (start, stop) of "bytes=a-b", "bytes=a-" or "bytes=-n"; None where the file has no such bytes."""
    if not header:
        return 0, size
    first, _, last = header.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    return (start, stop) if start < stop else None
