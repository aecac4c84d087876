"""Work on many pieces: in order, few at a time, and over at once when something fails."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsift.convert.parallel import in_order


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=40))
def test_results_come_in_the_order_of_the_items(delays: list[int]) -> None:
    def work(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 1000)
        return item[0]

    assert list(in_order(work, enumerate(delays))) == list(range(len(delays)))


def test_a_slow_taker_holds_the_work_up() -> None:
    started = []
    results = in_order(lambda n: started.append(n) or n, range(10_000))
    assert next(results) == 0
    time.sleep(0.1)
    assert len(started) <= 64
    results.close()


def test_an_error_reaches_the_taker_and_ends_the_threads() -> None:
    def fail_at_seven(n: int) -> int:
        if n == 7:
            raise KeyError(n)
        return n

    taken = []
    with pytest.raises(KeyError):
        for result in in_order(fail_at_seven, range(10_000)):
            taken.append(result)
    assert taken == list(range(7))
    assert not [t for t in threading.enumerate() if t.name.startswith("qsift-convert")]
