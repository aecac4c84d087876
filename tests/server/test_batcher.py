"""The thread between the callers and the engine: who gets which row, and what becomes of what fails or goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import numpy as np
import pytest
from stub import StubEngine

from qsift import EngineError, NonFiniteError
from qsift.engine.protocol import OnProgress, TokenIds
from qsift.server.batcher import Batcher, ClosedError, Compute, QueueFullError, TurnFacts
from qsift.server.in_turns import InTurns
from qsift.text.tokenization import Encoded

BAD = 66


class GatedEngine(StubEngine):
    """A stub whose calls wait until they are let through, one at a time or all."""

    def __init__(self) -> None:
        super().__init__(max_tokens=5000, poison=BAD)
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.refuses = 0

    def decode(self, sequences: list[TokenIds], *, stems: object = None, on_progress: OnProgress | None = None):  # type: ignore[no-untyped-def, override]
        self.entered.release()
        self.gate.acquire()
        if self.refuses:
            self.refuses -= 1
            raise EngineError("The cache is full.")
        return super().decode(sequences, on_progress=on_progress)

    def open(self) -> None:
        self.gate.release(10_000)


@pytest.fixture
def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
def batcher(engine: GatedEngine) -> Iterator[Batcher]:
    batcher = Batcher(engine, max_waiting=5000)
    yield batcher
    engine.open()
    batcher.close()


def items(*texts: str) -> list[Encoded]:
    return [Encoded(np.frombuffer(text.encode(), np.uint8).astype(np.int32), len(text)) for text in texts]


def occupy(engine: GatedEngine, batcher: Batcher) -> None:
    """Lets the engine begin with something, so that what comes next waits."""
    batcher.submit(items("occupied"))
    engine.entered.acquire()


def test_requests_that_wait_share_a_call_and_each_gets_its_own_rows(engine: GatedEngine, batcher: Batcher) -> None:
    occupy(engine, batcher)
    futures = [batcher.submit(items(f"text {n}", f"another {n}")) for n in range(10)]
    engine.open()
    for number, future in enumerate(futures):
        expected = [engine.row(item.ids) for item in items(f"text {number}", f"another {number}")]
        assert np.array_equal(future.result(10), expected)
    assert len(engine.calls) == 2


def test_the_same_text_is_decoded_once_for_all_who_ask(engine: GatedEngine, batcher: Batcher) -> None:
    occupy(engine, batcher)
    futures = [batcher.submit(items("the same", "other")) for _ in range(5)]
    engine.open()
    assert len({future.result(10).tobytes() for future in futures}) == 1
    assert len(engine.calls[1]) == 2


def test_a_bad_text_fails_its_own_request_alone(engine: GatedEngine, batcher: Batcher) -> None:
    occupy(engine, batcher)
    good, bad, late = (batcher.submit(items(*texts)) for texts in (["fine", "good"], ["x", "y", "B"], ["last"]))
    engine.open()
    with pytest.raises(NonFiniteError, match="text 2"):
        bad.result(10)
    assert good.result(10).shape == (2, 64) and late.result(10).shape == (1, 64)


def test_a_bad_long_text_fails_alone_too(engine: GatedEngine, batcher: Batcher) -> None:
    bad, good = batcher.submit(items("fine", "B" * 900)), batcher.submit(items("long " * 200))
    engine.open()
    with pytest.raises(NonFiniteError, match="text 1"):
        bad.result(10)
    assert np.array_equal(good.result(10)[0], engine.row(items("long " * 200)[0].ids))


def test_a_refusal_of_the_engine_is_tried_once_more_for_each_request_alone(
    engine: GatedEngine, batcher: Batcher
) -> None:
    engine.refuses = 2  # the first call, and the first of the two that follow
    occupied = batcher.submit(items("occupied"))
    engine.entered.acquire()
    first, second = batcher.submit(items("first")), batcher.submit(items("second"))
    engine.gate.release()
    with pytest.raises(EngineError, match="cache is full"):
        occupied.result(10)
    engine.open()
    assert first.result(10).shape == second.result(10).shape == (1, 64)
    assert batcher.is_alive


def test_a_cancelled_request_leaves_the_queue(engine: GatedEngine, batcher: Batcher) -> None:
    occupy(engine, batcher)
    gone, stays = batcher.submit(items("gone", "gone too")), batcher.submit(items("stays"))
    assert batcher.waiting == (17, 2)
    assert gone.cancel()
    assert batcher.waiting == (5, 1)
    engine.open()
    assert stays.result(10).shape == (1, 64)
    assert engine.calls[-1] == [list(b"stays")]
    with pytest.raises(CancelledError):
        gone.result()


def test_a_long_text_is_cancelled_between_its_steps(engine: GatedEngine, batcher: Batcher) -> None:
    futures = [batcher.submit(items("long " * 300)) for _ in range(3)]
    futures[0].cancel()
    engine.open()
    futures[1].result(10)
    futures[2].cancel()
    deadline = time.monotonic() + 10
    while batcher.waiting != (0, 0):
        assert time.monotonic() < deadline


def test_more_than_may_wait_is_refused_with_a_time_to_come_back(engine: GatedEngine, batcher: Batcher) -> None:
    occupy(engine, batcher)
    batcher.submit(items("a" * 4000))
    with pytest.raises(QueueFullError, match="4000 tokens wait already, and this request has 2000; 5000 may") as caught:
        batcher.submit(items("b" * 2000))
    assert 1 <= caught.value.seconds <= 600
    assert batcher.waiting[1] == 1


def test_closing_finishes_what_was_taken_and_takes_no_more(engine: GatedEngine) -> None:
    batcher = Batcher(engine)
    futures = [batcher.submit(items(f"text {n}", "long " * 300)) for n in range(5)]
    engine.open()
    batcher.close()
    assert all(future.done() for future in futures)
    with pytest.raises(ClosedError):
        batcher.submit(items("late"))
    batcher.close()


def test_turns_are_small_while_few_short_requests_come_and_full_otherwise(engine: GatedEngine) -> None:
    facts: list[TurnFacts] = []
    batcher = Batcher(engine, on_turn=facts.append)
    occupy(engine, batcher)
    futures = [batcher.submit(items(*["a" * 100] * 30)), batcher.submit(items("short query"))]
    engine.open()
    [future.result(10) for future in futures]
    assert {fact.budget for fact in facts[1:]} == {64}
    assert all(fact.n_tokens <= 100 for fact in facts)
    batcher.close()
    crowd = GatedEngine()
    batcher = Batcher(crowd, on_turn=facts.append)
    occupy(crowd, batcher)
    futures = [batcher.submit(items(f"short query {n}" + "a" * 20)) for n in range(40)]
    facts.clear()
    crowd.open()
    [future.result(10) for future in futures]
    assert [fact.budget for fact in facts[1:]] == [512] * (len(facts) - 1)
    batcher.close()


def test_short_requests_of_one_model_make_the_turns_of_the_other_small_too() -> None:
    compute = Compute()
    assert compute.budget(0, 10.0) == 512
    assert compute.budget(20, 10.0) == 64
    assert compute.budget(0, 10.5) == 64
    assert compute.budget(100, 10.6) == 300
    assert compute.budget(20, 10.7) == 300
    assert compute.budget(0, 12.0) == 512


def test_two_batchers_on_the_same_cores_take_turns() -> None:
    compute, running, worst = Compute(), 0, 0

    class Counting(StubEngine):
        def decode(self, sequences: list[TokenIds], **_: object) -> np.ndarray:  # type: ignore[override]
            nonlocal running, worst
            running += 1
            worst = max(worst, running)
            time.sleep(0.001)
            running -= 1
            return super().decode(sequences)

    batchers = [Batcher(Counting(), compute=compute) for _ in range(3)]
    futures = [
        batcher.submit(items(*[f"{n} {k}" + "a" * 300 for k in range(10)])) for n in range(3) for batcher in batchers
    ]
    assert all(future.result(20).shape == (10, 64) for future in futures)
    assert worst == 1
    for batcher in batchers:
        batcher.close()


def test_long_work_in_turns_names_the_sequence_that_failed(engine: GatedEngine, batcher: Batcher) -> None:
    engine.open()
    told: list[int] = []
    sequences = [item.ids for item in items(*[f"text {n}" for n in range(70)], "B")]
    in_turns = InTurns(engine, batcher, told.append)
    with pytest.raises(NonFiniteError) as caught:
        in_turns.decode(sequences)
    assert caught.value.index == 70 and told == [32, 32]
    assert in_turns.decode(sequences[:70]).shape == (70, 64)
