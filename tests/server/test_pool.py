"""Who is in memory when: what loads once, what makes room, and who waits for whom."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from qsift import EngineMemoryError
from qsift.server.batcher import ClosedError
from qsift.server.pool import Pool, Slot


class Memory:
    """Counts what is loaded at the same time, and writes down what happens."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.most = self.now = 0

    def slot(self, name: str, nbytes: int = 1, seconds: float = 0.0, failures: int = 0) -> Slot[Thing]:
        """Returns the place of a thing that takes ``seconds`` to load, and fails as often as told before that."""
        left = [failures]

        def load() -> Thing:
            time.sleep(seconds)
            if left[0]:
                left[0] -= 1
                raise OSError(f"{name} is damaged")
            return Thing(self, name, nbytes)

        return Slot(name, nbytes=nbytes, load=load)


class Thing:
    """Something that is loaded until it is closed."""

    def __init__(self, memory: Memory, name: str, nbytes: int) -> None:
        self.memory, self.name, self.nbytes, self.is_open = memory, name, nbytes, True
        memory.events.append(f"+{name}")
        memory.now += nbytes
        memory.most = max(memory.most, memory.now)

    def close(self) -> None:
        assert self.is_open
        self.is_open = False
        self.memory.events.append(f"-{self.name}")
        self.memory.now -= self.nbytes


Script = Callable[[Pool, Memory], Coroutine[Any, Any, None]]


def run(budget: float, script: Script) -> Memory:
    """Runs a script with a pool, closes that, and returns what happened."""
    memory = Memory()

    async def main() -> None:
        pool = Pool(budget)
        try:
            await asyncio.wait_for(script(pool, memory), 30)
        finally:
            await pool.close()

    asyncio.run(main())
    assert memory.now == 0
    assert memory.most <= budget
    return memory


def slots(pool: Pool, memory: Memory, *names: str, **how: Any) -> list[Slot[Thing]]:
    """Returns a place for each name, in the pool."""
    made = [memory.slot(name, **how) for name in names]
    for slot in made:
        pool.add(slot)
    return made


async def patient(ticket: asyncio.Future[Thing]) -> Thing:
    return await ticket


async def use(pool: Pool, slot: Slot[Thing], until: asyncio.Event | None = None) -> None:
    async with pool.hold(slot, patient) as thing:
        if until:
            await until.wait()
        assert thing.is_open and thing.name == slot.name


async def settle() -> None:
    """Lets the loop and the thread do what they can."""
    await asyncio.sleep(0.05)


def test_many_first_users_load_it_once_and_the_loop_runs_on_meanwhile() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        (slot,) = slots(pool, memory, "a", seconds=0.3)
        users = [asyncio.create_task(use(pool, slot)) for _ in range(50)]
        await asyncio.sleep(0)
        assert slot.is_loading
        ticks = 0
        while slot.is_loading:
            await asyncio.sleep(0.005)
            ticks += 1
        assert ticks > 15
        await asyncio.gather(*users)

    assert run(1, script).events == ["+a", "-a"]


def test_the_least_recently_used_makes_room() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        a, b, c, d = slots(pool, memory, "a", "b", "c", "d")
        for slot in (a, b, a, c, a, d, c):
            await use(pool, slot)
        await settle()
        assert memory.events == ["+a", "+b", "-b", "+c", "-c", "+d", "-a", "+c"]

    run(2, script)


def test_a_large_one_takes_the_room_of_several_and_of_no_more() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        a, b, c = slots(pool, memory, "a", "b", "c")
        (large,) = slots(pool, memory, "large", nbytes=2)
        for slot in (b, a, c, large):
            await use(pool, slot)
        assert memory.events == ["+b", "+a", "+c", "-b", "-a", "+large"]

    run(3, script)


def test_what_is_in_use_stays_and_who_needs_its_room_waits() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        a, b = slots(pool, memory, "a", "b")
        done = asyncio.Event()
        first = asyncio.create_task(use(pool, a, done))
        await settle()
        second = asyncio.create_task(use(pool, b))
        await settle()
        assert memory.events == ["+a"] and not second.done()
        done.set()
        await asyncio.gather(first, second)
        assert memory.events == ["+a", "-a", "+b"]

    run(1, script)


def test_rest_goes_before_use_whatever_was_used_last() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        a, b, c = slots(pool, memory, "a", "b", "c")
        done = asyncio.Event()
        first = asyncio.create_task(use(pool, a, done))
        await settle()
        await use(pool, b)
        await use(pool, c)
        assert memory.events == ["+a", "+b", "-b", "+c"]
        done.set()
        await first

    run(2, script)


@pytest.mark.parametrize("budget", [1, 2])
def test_models_that_never_rest_give_way_to_one_that_waits(budget: int) -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        *busy, wanted = slots(pool, memory, *"abc"[: budget + 1])
        stopped = asyncio.Event()

        async def user(slot: Slot[Thing], start: float) -> None:
            await asyncio.sleep(start)
            while not stopped.is_set():
                async with pool.hold(slot, patient):
                    await asyncio.sleep(0.02)

        users = [asyncio.create_task(user(slot, 0.005 * number)) for slot in busy for number in range(4)]
        await asyncio.sleep(0.1)
        assert all(slot.users for slot in busy)
        await asyncio.wait_for(use(pool, wanted), 5)
        stopped.set()
        await asyncio.gather(*users)

    run(budget, script)


def test_they_come_in_the_order_in_which_they_were_waited_for() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        a, b, c = slots(pool, memory, "a", "b", "c")
        done = asyncio.Event()
        users = [asyncio.create_task(use(pool, a, done))]
        await settle()
        for slot in (c, b, a, c):
            users.append(asyncio.create_task(use(pool, slot)))
            await asyncio.sleep(0)
        done.set()
        await asyncio.gather(*users)
        assert memory.events == ["+a", "-a", "+c", "-c", "+b", "-b", "+a"]

    run(1, script)


def test_who_gives_up_is_not_waited_for() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        a, b = slots(pool, memory, "a", "b")
        done = asyncio.Event()
        first = asyncio.create_task(use(pool, a, done))
        await settle()
        impatient = asyncio.create_task(use(pool, b))
        await asyncio.sleep(0)
        newcomer = asyncio.create_task(use(pool, a))
        await settle()
        assert not newcomer.done()  # b's turn is before
        impatient.cancel()
        await newcomer
        done.set()
        await first
        assert memory.events == ["+a"] and not b.waiting and not a.users

    run(1, script)


def test_a_failure_reaches_all_who_wait_and_the_next_tries_again() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        (slot,) = slots(pool, memory, "a", seconds=0.05, failures=1)
        found = await asyncio.gather(*(use(pool, slot) for _ in range(5)), return_exceptions=True)
        assert [str(error) for error in found] == ["a is damaged"] * 5
        await use(pool, slot)

    assert run(1, script).events == ["+a", "-a"]


def test_whatever_comes_it_stays_within_the_budget_and_everybody_is_served() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        generator = random.Random(0)
        places = [
            *slots(pool, memory, "a", "b", seconds=0.001),
            *slots(pool, memory, "c", "d", nbytes=2),
            *slots(pool, memory, "e", nbytes=3, failures=20),
        ]
        served = itertools.count()

        async def user() -> None:
            for _ in range(10):
                slot = generator.choice(places)
                patience = generator.choice([0.002, 30])
                try:
                    async with pool.hold(slot, partial(asyncio.wait_for, timeout=patience)) as thing:
                        await asyncio.sleep(generator.random() / 200)
                        assert thing.is_open and thing.name == slot.name
                except (OSError, asyncio.TimeoutError):
                    continue
                next(served)

        await asyncio.gather(*(user() for _ in range(40)))
        assert next(served) > 150
        assert not any(slot.users or slot.waiting for slot in places)

    assert run(4, script).most >= 3


def test_what_was_loaded_before_is_never_freed_for_others() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        theirs = Slot("theirs", resident=Thing(memory, "theirs", 0))
        pool.add(theirs)
        a, b = slots(pool, memory, "a", "b")
        for slot in (theirs, a, b, theirs):
            await use(pool, slot)
        assert memory.events == ["+theirs", "+a", "-a", "+b"]

    run(1, script)


def test_closing_waits_for_what_is_being_loaded_and_takes_no_more() -> None:
    async def script(pool: Pool, memory: Memory) -> None:
        a, b = slots(pool, memory, "a", "b", seconds=0.1)
        gone = asyncio.create_task(use(pool, a))
        await asyncio.sleep(0)
        gone.cancel()
        await pool.close()
        assert memory.events == ["+a", "-a"]
        with pytest.raises(ClosedError):
            await use(pool, b)

    run(2, script)


def test_what_is_larger_than_the_budget_is_refused_with_the_figures() -> None:
    with pytest.raises(EngineMemoryError, match=r"'a' needs 3\.00 GB of memory, and all .* may take 2\.00 GB"):
        Pool(2e9).add(Memory().slot("a", nbytes=3 * 10**9))
