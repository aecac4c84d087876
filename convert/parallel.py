"""Work on many pieces at once, results in order, with few of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_THREADS = 32


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields ``function`` of each item, in the order of the items, computed by as many threads as there are cores.

    No more than two results a thread wait to be taken, so memory stays bounded however slow the
    taker is. An error, or the end of the taker, stops the threads after the piece at hand.
    """
    n_threads = min(_usable_cores(), _MAX_THREADS)
    pool = ThreadPoolExecutor(n_threads, "qsift-convert")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
