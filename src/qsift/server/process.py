"""The process: a socket, uvicorn on it, and an end that drops nothing. The only door to uvicorn."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .gate import Gate
from .listening import notify, remove_file

_FAREWELL = 0.5
"""Seconds after the signal in which requests are still taken, and at the end in which they are refused in words."""


_SWITCH_INTERVAL = 0.0005
"""Seconds that the event loop and the batchers' threads wait for each other, at most, to let one have Python."""


def serve(app: Gate, bound: socket.socket, *, on_ready: Callable[[], None] | None = None) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what was accepted; a second signal ends at once.

    Args:
        app: what `create_app` made.
        bound: a socket that is bound; it is closed at the end, and a Unix socket's file removed.
        on_ready: called as soon as connections are accepted, before systemd is told.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    _Protocol.SECONDS = app.options.body_timeout
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="on",
        backlog=1024,
        timeout_keep_alive=75,
    )
    _Server(config, app, on_ready).run(sockets=[bound])


class _Server(uvicorn.Server):
    """Ends in steps: answers close their connections, then requests are refused, then the socket closes."""

    def __init__(self, config: uvicorn.Config, gate: Gate, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._gate, self._on_ready = gate, on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes the signals, and does not raise them again: an end that was asked for is no failure."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and tells so."""
        await super().startup(sockets)
        if self._on_ready:
            self._on_ready()
        notify("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets clients go, waits for what was accepted, and closes the socket."""
        notify("STOPPING=1")
        await asyncio.sleep(_FAREWELL if self.server_state.connections else 0)
        # The socket stays open meanwhile: whoever comes now is refused in words, not by a reset.
        self._gate.is_closing = True
        while self._gate.in_flight and not self.force_exit:
            await asyncio.sleep(0.05)
        await asyncio.sleep(_FAREWELL if self.server_state.connections else 0)
        for bound in sockets or ():
            remove_file(bound)
        await super().shutdown(sockets)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = self._gate.is_draining = True


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with limits on the time and the size of headers, which it has not."""

    SECONDS = 30.0
    BYTES = 64 * 1024

    def connection_made(self, transport: Any) -> None:
        """Starts the clock."""
        self._header_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, unless the headers have no end."""
        super().data_received(data)
        if self._header_timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > self.BYTES:
                self.send_400_response("The headers are too large.")

    def on_message_begin(self) -> None:
        """Starts the clock, also for a second request on the connection."""
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        """Stops the clock; the body has its own."""
        self._stop_timer()
        super().on_headers_complete()

    def _await_headers(self) -> None:
        if self._header_timer is None:
            self._header_bytes = 0
            self._header_timer = self.loop.call_later(self.SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
