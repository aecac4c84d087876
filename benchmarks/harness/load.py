"""A load of HTTP requests from a process of its own: keep-alive connections that each wait for their answer.

The child of server.py: a line of JSON in, a line out. It speaks as much HTTP as it needs, because on two cores
a client that takes its time takes the server's. Every answer is counted and its vectors can be looked at.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvloop
from numpy.typing import NDArray


@dataclass
class Tally:
    """What came back: a latency for each answer in seconds, statuses that were not 200, and lost requests."""

    seconds: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    lost: int = 0


class Connection:
    """One connection that sends a request when the last was answered; opened anew where an answer said it is over."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Connection:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def _open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        self._is_over = False

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Returns status and body of an answer."""
        if self._is_over:
            self._writer.close()
            await self._open()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost:{self._port}\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        self._is_over = b"\r\nconnection: close\r\n" in answer  # llama.cpp's server: after 100 answers
        size = int(answer.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return int(answer.split(b" ", 2)[1]), await self._reader.readexactly(size)


async def drive(
    port: int, path: str, bodies: Iterator[bytes], connections: int, goes_on: Callable[[], bool]
) -> tuple[Tally, float]:
    """Sends bodies over connections until there are none or it is over; returns the tally and the seconds."""
    tally = Tally()

    async def one() -> None:
        async with Connection(port) as connection:
            while goes_on() and (body := next(bodies, None)) is not None:
                start = time.perf_counter()
                try:
                    status, _ = await connection.post(path, body)
                except (OSError, asyncio.IncompleteReadError):
                    tally.lost += 1
                    return
                tally.seconds.append(time.perf_counter() - start)
                if status != 200:
                    tally.refused.append(status)

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return tally, time.perf_counter() - start


async def rows(port: int, path: str, bodies: list[bytes]) -> NDArray[np.float32]:
    """Returns the vector of each body, one after the other: (n, width)."""
    found = []
    async with Connection(port) as connection:
        for body in bodies:
            _, answer = await connection.post(path, body)
            vector = json.loads(answer)["data"][0]["embedding"]
            if isinstance(vector, str):
                vector = np.frombuffer(base64.b64decode(vector), "<f4").tolist()
            found.append(vector)
    return np.array(found, np.float32)


async def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Does what one line asks for."""
    port, path = question["port"], question["path"]
    bodies = [json.dumps(body).encode() for body in question["bodies"]]
    if question["do"] == "rows":
        return {"rows": base64.b64encode((await rows(port, path, bodies)).tobytes()).decode()}
    if question["do"] == "all":
        tally, seconds = await drive(port, path, iter(bodies), question["connections"], lambda: True)
        return {"seconds": seconds, "latencies": tally.seconds, "refused": tally.refused, "lost": tally.lost}
    # Short requests on one connection; beside them, where there are any, long ones on others for as long.
    end = time.perf_counter() + question["duration"]
    long = [json.dumps(body).encode() for body in question["long"]]
    beside = drive(port, path, itertools.cycle(long), len(long), lambda: time.perf_counter() < end)
    short = drive(port, path, itertools.cycle(bodies), 1, lambda: time.perf_counter() < end)
    (tally, _), (streamed, _) = await asyncio.gather(short, beside)
    return {"latencies": tally.seconds, "streamed": len(streamed.seconds), "lost": tally.lost + streamed.lost}


def main() -> None:
    """Answers until stdin ends."""
    for line in sys.stdin:
        print(json.dumps(uvloop.run(answer(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
