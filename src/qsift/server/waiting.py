"""Waiting for a result as long as the client waits for its answer."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fastapi import Request

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client closed the connection before its answer was there."""


async def unless_gone(request: Request, result: asyncio.Future[T], seconds: float | None = None) -> T:
    """Returns a result; it is cancelled where the client goes, or the time is over.

    Raises:
        ClientGoneError: nobody waits for it any more.
        TimeoutError: it took longer than so many seconds.
    """
    gone: asyncio.Future[Any] = asyncio.ensure_future(_disconnect(request))
    waiting: set[asyncio.Future[Any]] = {result, gone}
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        if gone.done():
            raise ClientGoneError
        raise TimeoutError
    finally:
        gone.cancel()
        result.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
