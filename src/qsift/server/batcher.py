"""One thread that drives one engine: requests that wait share its decode calls.

It knows token ids and rows, no HTTP. Callers of any thread submit, and wait for a future.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fair_queue import LEAST_BUDGET, FairQueue, Place, Request
from qsift.engine import Engine, Stepper, unique
from qsift.errors import NonFiniteError
from qsift.text import Encoded

logger = logging.getLogger("qsift.server")

Rows = NDArray[np.float32]

BUDGET = 512
"""Tokens of a turn while nobody short waits: as many as the library decodes in a call."""

_SHORT = 128  # tokens of a request that is answered at once where it stands alone
_PATIENCE = 3  # how many times the tokens of all short requests the turn before theirs may have
_MEMORY = 1.0  # seconds after a short request in which another is expected


@dataclass(frozen=True)
class TurnFacts:
    """What a turn was: tokens and sequences that were decoded, out of how many tokens it could hold, in seconds."""

    n_tokens: int
    n_sequences: int
    budget: int
    seconds: float


class QueueFullError(Exception):
    """More tokens wait than are allowed.

    Attributes:
        seconds: after which trying again is worth it.
    """

    def __init__(self, n_tokens: int, waiting: int, allowed: int, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"{waiting} tokens wait already, and this request has {n_tokens}; {allowed} may wait. "
            f"Try again in {seconds:.0f} seconds."
        )


class ClosedError(Exception):
    """The batcher takes no more requests."""


class Compute:
    """What batchers share whose engines use the same cores: a lock, passed on in order, and the size of turns."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_held = False
        self._short_tokens, self._short_time = 0, -_MEMORY

    def budget(self, short_tokens: int, now: float) -> int:
        """Returns the tokens of the next turn: few while few short requests come, so that they find it short.

        Many short ones together wait for each other rather than for the turn before them: full turns serve those best.

        Args:
            short_tokens: of the short requests that wait now.
            now: monotonic seconds.
        """
        if short_tokens >= self._short_tokens or now - self._short_time > _MEMORY:
            self._short_tokens, self._short_time = short_tokens, now
        return min(max(_PATIENCE * self._short_tokens, LEAST_BUDGET), BUDGET) if self._short_tokens else BUDGET

    def __enter__(self) -> None:
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()  # which hands over what is held
            else:
                self._is_held = False


class _Job(Request):
    """A request and what it gets: a row for each item."""

    def __init__(self, client: Hashable, items: Sequence[Encoded]) -> None:
        super().__init__(client, items)
        self.future: Future[Rows] = Future()
        self.rows: list[Rows | None] = [None] * len(items)
        self.missing = len(items)

    def put(self, index: int, row: Rows) -> None:
        self.rows[index] = row
        self.missing -= 1
        if not self.missing:
            with suppress(InvalidStateError):  # cancelled
                self.future.set_result(np.stack(self.rows))  # type: ignore[arg-type]

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):  # cancelled, or failed before
            self.future.set_exception(error)


class Batcher:
    """Decodes for many callers on a thread of its own, from the start until `close`.

    Attributes:
        tokens_per_second: what the engine does, lately; 0 before the first turn.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        compute: Compute | None = None,
        max_waiting: int = 2**19,
        on_turn: Callable[[TurnFacts], None] | None = None,
    ) -> None:
        """Starts the thread.

        Args:
            engine: what decodes; the batcher does not close it.
            compute: held during a turn; None where the engine shares its cores with no other.
            max_waiting: tokens that may wait.
            on_turn: told about each turn, on the thread.
        """
        self.tokens_per_second = 0.0
        self._engine, self._compute = engine, compute or Compute()
        self._max_waiting, self._on_turn = max_waiting, on_turn
        self._queue = FairQueue()
        self._changed = threading.Condition()
        self._is_closed = False
        self._stepping: tuple[Place, Stepper] | None = None
        self._thread = threading.Thread(target=self._run, name="qsift-batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> tuple[int, int]:
        """How many tokens and how many requests wait."""
        with self._changed:
            return self._queue.n_tokens, self._queue.n_requests

    @property
    def is_alive(self) -> bool:
        """Whether it still takes requests."""
        return self._thread.is_alive() and not self._is_closed

    def submit(self, items: Sequence[Encoded], client: Hashable = None) -> Future[Rows]:
        """Returns a future of the rows, (n, outputs) float32, of at least one item.

        Cancelling it takes the request out of the queue; what is being decoded is decoded to the end. An error of
        the engine is that of the first item that failed, with its index in ``items``.

        Raises:
            QueueFullError: too many tokens wait.
            ClosedError: after `close`.
        """
        job = _Job(client, items)
        with self._changed:
            if self._is_closed:
                raise ClosedError("The server is shutting down and takes no more requests.")
            if self._queue.n_tokens + job.n_tokens > self._max_waiting:
                seconds = min(max(self._queue.n_tokens / max(self.tokens_per_second, 1.0), 1.0), 600.0)
                raise QueueFullError(job.n_tokens, self._queue.n_tokens, self._max_waiting, seconds)
            self._queue.add(job)
            self._changed.notify()
        job.future.add_done_callback(lambda _: self._discard(job))
        return job.future

    def close(self) -> None:
        """Finishes what was submitted and ends the thread. May be called more than once."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _discard(self, job: _Job) -> None:
        with self._changed:
            self._queue.discard(job)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                if not self._queue:
                    return
            with self._compute:
                self._turn()

    def _turn(self) -> None:
        started = time.monotonic()
        with self._changed:
            if not self._queue:
                return
            budget = self._compute.budget(self._queue.short_tokens(_SHORT), started)
            turn = self._queue.take(budget)
        n_tokens = self._step(turn.step, budget) if turn.step else self._decode(turn.places)
        seconds = time.monotonic() - started
        rate = n_tokens / max(seconds, 1e-6)
        self.tokens_per_second += (rate - self.tokens_per_second) * (0.1 if self.tokens_per_second else 1)
        if self._on_turn:
            self._on_turn(TurnFacts(n_tokens, max(len(turn.places), 1), budget, seconds))

    def _decode(self, places: Sequence[Place]) -> int:
        firsts, inverse = unique([place.item.ids.tobytes() for place in places])
        items = [places[i].item for i in firsts]
        try:
            rows = self._engine.decode([item.ids for item in items], stems=[item.stems for item in items])
        except Exception as error:
            self._isolate(places, error, bad=places[firsts[error.index]] if isinstance(error, NonFiniteError) else None)
        else:
            for place, number in zip(places, inverse, strict=True):
                _job(place).put(place.index, rows[number])
        return sum(len(item.ids) for item in items)

    def _isolate(self, places: Sequence[Place], error: Exception, *, bad: Place | None) -> None:
        """Lets a failed turn cost its own requests alone: the others are decoded without what failed."""
        requests = {place.request: None for place in places}
        if bad is not None:
            self._fail(bad, NonFiniteError(bad.index))
            rest = [place for place in places if place.request is not bad.request]
            if rest:
                self._decode(rest)
        elif len(requests) == 1:
            self._fail(places[0], error)
        else:
            for request in requests:
                self._decode([place for place in places if place.request is request])

    def _step(self, place: Place, budget: int) -> int:
        if self._stepping is None or self._stepping[0] != place:
            self._stepping = (place, self._engine.stepper(place.item.ids))
        stepper = self._stepping[1]
        before = stepper.remaining
        try:
            row = stepper.advance(budget)
        except Exception as error:
            self._stepping = None
            self._fail(place, NonFiniteError(place.index) if isinstance(error, NonFiniteError) else error)
            return before - stepper.remaining
        n_tokens = before - stepper.remaining
        with self._changed:
            self._queue.stepped(place, n_tokens, is_done=row is not None)
        if row is not None:
            self._stepping = None
            _job(place).put(place.index, row)
        return n_tokens

    def _fail(self, place: Place, error: Exception) -> None:
        logger.warning("A request of %d texts failed: %s", len(place.request.items), error)
        _job(place).fail(error)  # which takes it out of the queue


def _job(place: Place) -> _Job:
    assert isinstance(place.request, _Job)
    return place.request
