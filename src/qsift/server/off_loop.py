"""Work that would block the event loop goes to threads; what is small stays, because a thread costs more."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson
from fastapi.responses import Response
from numpy.typing import NDArray

T = TypeVar("T")

SMALL = 4096
"""Characters, bytes or numbers that take about a millisecond at most."""

# Few threads, so that large requests wait for each other and not the small ones for them.
_pool = ThreadPoolExecutor(2, thread_name_prefix="qsift-texts")


async def off_loop(size: int, function: Callable[..., T], *arguments: Any) -> T:
    """Returns ``function(*arguments)``, called on a thread if ``size`` is more than `SMALL`."""
    if size <= SMALL:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_pool, function, *arguments)


async def json_response(content: Any, size: int = 0) -> Response:
    """Returns content as JSON; numpy rows may be in it, and ``size`` is how many numbers they have."""
    return Response(await off_loop(size, _dumps, content), media_type="application/json")


def number_list(row: NDArray[Any]) -> orjson.Fragment:
    """Returns a row of numbers as JSON, in the fewest digits that are read back as the same float32."""
    return orjson.Fragment(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY))


def base64_text(row: NDArray[Any]) -> str:
    """Returns a row of numbers as base64 of its bytes, little-endian."""
    return base64.b64encode(row.astype(row.dtype.newbyteorder("<")).tobytes()).decode()


def _dumps(content: Any) -> bytes:
    # A callable makes its content here, on the thread.
    return orjson.dumps(content() if callable(content) else content)
