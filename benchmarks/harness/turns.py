"""Two calls that are measured in turns, so that a machine that slows down slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Turns:
    """What the turns of two calls took.

    Attributes:
        first, second: median seconds.
        times: how many times as long the second took: the median of the rounds' ratios.
    """

    first: float
    second: float
    times: float


def in_turns(first: Callable[[int], object], second: Callable[[int], object], repeat: int) -> Turns:
    """Returns what both calls took; each gets the number of the round, from 1."""
    rounds = [(seconds(partial(first, i)), seconds(partial(second, i))) for i in range(1, repeat + 1)]
    a, b = (statistics.median(side) for side in zip(*rounds, strict=True))
    return Turns(a, b, statistics.median(after / before for before, after in rounds))


def seconds(call: Callable[[], object]) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
