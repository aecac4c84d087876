"""Which models are in memory: each is loaded at its first use, within a budget, and what rested longest makes room.

It knows sizes, and what loads and closes; no HTTP and no texts. Everything here happens on the event loop, but for
loading and closing: one thread does these in the order in which they were decided, so a model that is to go is gone
before the one that takes its room is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from .batcher import ClosedError
from qsift.errors import EngineMemoryError

logger = logging.getLogger("qsift.server")


class Closable(Protocol):
    """What is loaded."""

    def close(self) -> None:
        """Finishes what it took and frees its memory."""
        ...


T = TypeVar("T", bound=Closable)


class Slot(Generic[T]):
    """The place of a model, which it has whether it is loaded or not.

    Attributes:
        name: what the log calls it.
        nbytes: memory that it takes while it is loaded.
        load: loads it, on a thread; None for what was loaded before and never goes.
        resident: what is loaded; None while nothing is.
        is_loading: whether the thread loads it, or is about to.
        waiting: who waits for it, each with the time, a number, when that began.
        users: who was let in and is not done; while there are any, it stays.
        last_used: the time when somebody was let in last.
    """

    def __init__(
        self, name: str, *, nbytes: int = 0, load: Callable[[], T] | None = None, resident: T | None = None
    ) -> None:
        self.name, self.nbytes, self.load, self.resident = name, nbytes, load, resident
        self.is_loading = False
        self.waiting: dict[asyncio.Future[T], int] = {}
        self.users: set[asyncio.Future[T]] = set()
        self.last_used = 0

    def open_tickets(self) -> list[asyncio.Future[T]]:
        """Returns those who wait and did not give up just now."""
        return [ticket for ticket in self.waiting if not ticket.done()]


class Pool:
    """Slots that share a budget of memory.

    Attributes:
        is_closed: whether it takes no more users.
    """

    def __init__(self, budget: float = math.inf) -> None:
        """Makes a pool of at most ``budget`` bytes."""
        self.is_closed = False
        self._budget, self._used = budget, 0
        self._slots: list[Slot[Any]] = []
        self._times = count(1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qsift-models")

    def add(self, slot: Slot[Any]) -> None:
        """Gives a model its place.

        Raises:
            EngineMemoryError: it alone needs more than the budget.
        """
        if slot.nbytes > self._budget:
            raise EngineMemoryError(
                f"The model {slot.name!r} needs {slot.nbytes / 1e9:.2f} GB of memory, and all models together may take "
                f"{self._budget / 1e9:.2f} GB. Give them more with --memory, take a smaller quantisation, or pass a "
                "smaller max_tokens."
            )
        self._slots.append(slot)

    def load_early(self, slot: Slot[Any]) -> None:
        """Loads a model, if there is still room, before the event loop runs.

        Raises:
            QsiftError: it cannot be loaded.
        """
        if slot.load is not None and self._used + slot.nbytes <= self._budget:
            slot.resident = slot.load()
            self._used += slot.nbytes

    @asynccontextmanager
    async def hold(self, slot: Slot[T], wait: Callable[[asyncio.Future[T]], Awaitable[T]]) -> AsyncIterator[T]:
        """Keeps a model loaded for the block, and loads it first where it is not.

        Args:
            slot: the model's.
            wait: awaits a future as long as the caller has patience. It fails as the loading failed; the next caller
                has it tried anew.

        Raises:
            ClosedError: after `close`.
        """
        if self.is_closed:
            raise ClosedError("The server is shutting down and takes no more requests.")
        ticket: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        slot.waiting[ticket] = next(self._times)
        self._arrange()
        try:
            yield ticket.result() if ticket.done() else await wait(ticket)
        finally:
            slot.waiting.pop(ticket, None)
            slot.users.discard(ticket)
            self._arrange()

    async def close(self) -> None:
        """Frees what was loaded, after what is being loaded. May be called more than once."""
        if self.is_closed:
            return
        self.is_closed = True
        await self._thread_is_done()
        for slot in self._slots:
            if slot.resident is not None:
                self._free(slot)
        await self._thread_is_done()
        self._thread.shutdown()

    async def _thread_is_done(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)

    def _arrange(self) -> None:
        """Loads what is waited for, and lets in whoever waits for what is loaded and need not make room."""
        leaving = self._make_room()
        for slot in self._slots:
            if slot.resident is not None and slot not in leaving:
                self._let_in(slot)

    def _make_room(self) -> list[Slot[Any]]:
        """Loads the missing models, the one that is waited for longest first, as far as there is room.

        Returns:
            The models that the first without room waits for. They let nobody in, or they might never rest.
        """
        missing = [slot for slot in self._slots if slot.waiting and slot.resident is None and not slot.is_loading]
        for slot in sorted(missing, key=lambda slot: next(iter(slot.waiting.values()))):
            leaving = self._least_used(self._used + slot.nbytes - self._budget)
            for other in leaving:
                if not other.users:
                    logger.info("Freeing %s, to make room for %s.", other.name, slot.name)
                    self._free(other)
            if self._used + slot.nbytes > self._budget:
                return leaving
            self._load(slot)
        return []

    def _least_used(self, nbytes: float) -> list[Slot[Any]]:
        """Returns models that take ``nbytes``, or all: those that rest, the least recently used first, then others.

        Who must make room lets nobody in, so it stays the least recently used of those in use until it is free.
        """
        found = []
        loaded = (slot for slot in self._slots if slot.resident is not None and slot.load is not None)
        for slot in sorted(loaded, key=lambda slot: (bool(slot.users), slot.last_used)):
            if nbytes <= 0:
                break
            found.append(slot)
            nbytes -= slot.nbytes
        return found

    def _let_in(self, slot: Slot[Any]) -> None:
        if slot.waiting:
            slot.last_used = next(self._times)
        for ticket in slot.open_tickets():
            ticket.set_result(slot.resident)
        slot.users.update(slot.waiting)
        slot.waiting.clear()

    def _load(self, slot: Slot[Any]) -> None:
        assert slot.load is not None
        self._used += slot.nbytes
        slot.is_loading = True
        logger.info("Loading %s.", slot.name)
        loading = asyncio.get_running_loop().run_in_executor(self._thread, slot.load)
        loading.add_done_callback(partial(self._loaded, slot))

    def _loaded(self, slot: Slot[Any], loading: asyncio.Future[Any]) -> None:
        slot.is_loading = False
        if error := loading.exception():
            logger.warning("%s could not be loaded: %s", slot.name, error)
            self._used -= slot.nbytes
            for ticket in slot.open_tickets():
                ticket.set_exception(error)
            slot.waiting.clear()
        else:
            slot.resident = loading.result()
            self._let_in(slot)
        self._arrange()

    def _free(self, slot: Slot[Any]) -> None:
        resident: Closable | None = slot.resident
        assert resident is not None
        slot.resident = None
        self._used -= slot.nbytes
        self._thread.submit(resident.close)
