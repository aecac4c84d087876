"""What every request passes: host, origin, key, size and time of its body; then the log and the figures.

An ASGI middleware. It sees no texts, and the log has none.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware

from .error_responses import STATUS, ProblemError, answer, dialect_of, problem_of
from .log import requests
from .metrics import Metrics
from .settings import ServerOptions, is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DOCS_ASSETS = "/docs/assets"
"""Where /docs finds its script and its style: a page that needed another host would be empty offline."""
_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
OPEN_PATHS = frozenset(
    {
        *("/", "/ping", "/health", "/v1/cluster/auth"),
        *("/docs", "/openapi.json", *(f"{DOCS_ASSETS}/{name}" for name in _ASSETS)),
    }
)
"""Paths that need no key to be read: they say nothing of texts or models."""
_FORCED = {"/v1-openai": "/v1", "/v1/embeddings/models": "/v1/models"}
"""What programs make of a base URL, whatever is typed: GPUStack's clients, and AnythingLLM for LM Studio."""


class Gate:
    """Stands before an app.

    Attributes:
        is_draining: whether the server is about to end: answers then close their connections.
        is_closing: whether it takes no more requests.
        in_flight: how many requests were let in and are not answered yet.
    """

    def __init__(self, app: FastAPI, options: ServerOptions, metrics: Metrics, open_paths: Iterable[str] = ()) -> None:
        """Stands before ``app``; ``open_paths`` can be read without a key, as `OPEN_PATHS` can."""
        self.is_draining = self.is_closing = False
        self.in_flight = 0
        self._options, self._metrics = options, metrics
        # Answers preflights of the pages that may ask, and lets these read their answers, refusals too.
        self._for_pages = partial(
            CORSMiddleware, allow_origins=options.origins, allow_methods=["*"], allow_headers=["*"], max_age=600
        )
        self._app = self._for_pages(app)
        self._keys = [_digest(key) for key in options.api_keys]
        # Any other path is counted as one, or callers could fill the memory with names.
        self._open_paths = OPEN_PATHS | frozenset(open_paths)
        self._paths = frozenset(app.openapi()["paths"]) | self._open_paths
        self._with_names = [re.compile(re.sub(r"\{\w+\}", ".+", path)) for path in self._paths if "{" in path]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = self._path(scope["path"])
        visit = _Visit(self, scope, receive, send)
        try:
            scope["state"]["key"] = self._admit(scope)
            self.in_flight += 1
            try:
                # The server that runs this sends no body for what came as HEAD.
                asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await self._app(asked, visit.receive, visit.send)
            finally:
                self.in_flight -= 1
        except ProblemError as error:
            refusal = answer(problem_of(error), dialect_of(scope["path"]))
            await self._for_pages(refusal)(scope, receive, visit.send)
        except Exception:
            # The app told and answered it, and raises it again for servers that would have to.
            if visit.status != STATUS["broken"]:
                raise
        finally:
            self._tell(scope, visit)

    def _admit(self, scope: MutableMapping[str, Any]) -> int | None:
        """Returns the number of the key that a request shows, None where none is needed."""
        if self.is_closing:
            raise ProblemError("not ready", "The server is shutting down and takes no more requests.", retry_after=1)
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin")
        # A page of another site can post here without asking; it cannot hide where it comes from.
        is_welcome = origin in self._options.origins or "*" in self._options.origins
        if origin is not None and not is_welcome and urlsplit(origin).netloc != host:
            raise ProblemError(
                "not allowed", "Web pages of other origins are not answered, unless the server has --allow-origin."
            )
        if self._options.local_names_only and host and not is_loopback(name := _name(host)):
            raise ProblemError("not allowed", f"The Host header names {name[:200]!r}, which is not this server.")
        size = headers.get("content-length", "")
        if size.isdecimal() and int(size[:20]) > self._options.max_body:
            raise self.too_large()
        is_preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        is_open = scope["path"] in self._open_paths and scope["method"] in ("GET", "HEAD")
        return None if is_open or is_preflight else self._key(headers)

    def _path(self, path: str) -> str:
        """Returns the path of the endpoint that is meant: slashes count once, and ``/v1`` may be there or not."""
        path = re.sub("//+", "/", path).rstrip("/") or "/"
        for forced, meant in _FORCED.items():
            if path == forced or path.startswith(f"{forced}/"):
                path = meant + path.removeprefix(forced)
        candidates = (path, path.removeprefix("/v1") or "/", f"/v1{path}")
        return next((one for one in candidates if self._is_known(one)), path)

    def _is_known(self, path: str) -> bool:
        return path in self._paths or any(pattern.fullmatch(path) for pattern in self._with_names)

    def _key(self, headers: Headers) -> int | None:
        if not self._keys:
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = bearer if scheme.lower() == "bearer" else headers.get("x-api-key") or headers.get("api-key", "")
        digest = _digest(shown.strip())
        # All are compared, each in constant time.
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        if not any(matches):
            raise ProblemError("no key", "The API key is missing or wrong. Send it as: Authorization: Bearer KEY.")
        return matches.index(True)

    def too_large(self) -> ProblemError:
        """Returns the refusal of a body."""
        return ProblemError(
            "too large", f"The body is larger than the {self._options.max_body} bytes that are allowed."
        )

    @property
    def options(self) -> ServerOptions:
        """The limits."""
        return self._options

    def _tell(self, scope: MutableMapping[str, Any], visit: _Visit) -> None:
        seconds = time.monotonic() - visit.started
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.answered(path, visit.status, seconds)
        if requests.isEnabledFor(logging.INFO):
            client = scope["client"][0] if scope.get("client") else None  # a Unix socket tells no name
            method, milliseconds = scope["method"], round(seconds * 1000, 1)
            facts = {"client": client, "method": method, "path": path, "status": visit.status}
            facts |= {"milliseconds": milliseconds, "texts": None, "tokens": None}
            told = scope["state"].get("told", {})
            counts = ", ".join(f"{number} {what}" for what, number in told.items())
            words = (client or "-", method, path, visit.status, milliseconds, counts)
            requests.info("%s %s %s %d %.1f ms %s", *words, extra={"request": facts | told})


class _Visit:
    """One request and its answer."""

    def __init__(self, gate: Gate, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.started = time.monotonic()
        self.status = 499  # what nginx calls a client that went before its answer
        self._gate, self._receive, self._send = gate, receive, send
        self._deadline = self.started + gate.options.body_timeout
        self._size = 0
        self._is_whole = False
        scope.setdefault("state", {})

    async def receive(self) -> Message:
        """Returns the next part of the body, within the limits."""
        if self._is_whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(self._deadline - time.monotonic(), 0))
        except asyncio.TimeoutError:
            seconds = self._gate.options.body_timeout
            raise ProblemError("too slow", f"The body did not arrive within {seconds:g} seconds.") from None
        self._size += len(message.get("body", b""))
        if self._size > self._gate.options.max_body:
            raise self._gate.too_large()
        self._is_whole = message["type"] != "http.request" or not message.get("more_body")
        return message

    async def send(self, message: Message) -> None:
        """Sends a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            if self._gate.is_draining or self.status in _CLOSING:
                headers["Connection"] = "close"
        await self._send(message)


_CLOSING = frozenset({408, 413})  # the rest of the body is not read


def _digest(key: str) -> bytes:
    # Of the same length for every key, so that comparing tells nothing of theirs.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _name(host: str) -> str:
    """Returns the name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
