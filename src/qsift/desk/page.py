"""What a browser fetches: the page and its files, which lie beside this one. They hold no text of anybody."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = {
    # Nothing but this server's own files; Trusted Types turns text that would become markup into an error.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    # Asked for again at each visit, and sent again only where it changed.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class _Asset:
    """A file of the page: its bytes, its type, and the digest that says whether a browser has it."""

    content: bytes
    media_type: str
    tag: str


def _assets() -> Mapping[str, _Asset]:
    found = {}
    for entry in files(__package__).joinpath("assets").iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            content = entry.read_bytes()
            found[entry.name] = _Asset(content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


_ASSETS = _assets()
_PREFIX = "/desk/assets"
OPEN_PATHS = frozenset(f"{_PREFIX}/{name}" for name in _ASSETS)
"""What can be read without a key, beside "/": the page asks for the key."""


class _ForBrowsers(APIRoute):
    """A route for whoever wants HTML, so that "/" still answers programs as it did."""

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        if "text/html" not in Headers(scope=scope).get("accept", ""):
            return Match.NONE, {}
        return super().matches(scope)


def page_router() -> APIRouter:
    """Returns the page at "/", for browsers, and its files."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", partial(_answer, _ASSETS["index.html"]), route_class_override=_ForBrowsers)
    for name, asset in _ASSETS.items():
        router.add_api_route(f"{_PREFIX}/{name}", partial(_answer, asset))
    return router


async def _answer(asset: _Asset, request: Request) -> Response:
    headers = {**_POLICY, "ETag": asset.tag, "Vary": "Accept"}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
