"""Whose turn it is: everything exactly once, within the budget, short before long, and fair by tokens."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qsift.server.fair_queue import LEAST_BUDGET, FairQueue, Place, Request
from qsift.text.tokenization import Encoded

BUDGETS = st.sampled_from([64, 100, 512])


def request(*lengths: int, client: object = "a", stem: int = 0) -> Request:
    stems = (stem,) if stem else ()
    return Request(client, [Encoded(np.zeros(stem + n, np.int32), stem + n, stems) for n in lengths])


def run(queue: FairQueue, budget: int) -> list[Place]:
    """Takes one turn and returns the places that it finished."""
    turn = queue.take(budget)
    if turn.step is None:
        return list(turn.places)
    done = progress[turn.step] = progress[turn.step] + budget
    is_done = done >= len(turn.step.item.ids)
    queue.stepped(turn.step, min(budget, len(turn.step.item.ids) - done + budget), is_done=is_done)
    return [turn.step] if is_done else []


progress: Counter[Place] = Counter()

REQUESTS = st.lists(
    st.builds(
        lambda lengths, client, stem: request(*lengths, client=client, stem=stem),
        st.lists(st.integers(1, 700), min_size=1, max_size=6),
        st.sampled_from("abc"),
        st.sampled_from([0, 0, 30, 200]),
    ),
    min_size=1,
    max_size=8,
)


@given(REQUESTS, st.data())
def test_every_item_gets_exactly_one_turn_whatever_the_budgets(requests: list[Request], data: st.DataObject) -> None:
    progress.clear()
    queue, finished = FairQueue(), []
    waiting = list(requests)
    while waiting or queue:
        while waiting and (not queue or data.draw(st.booleans())):
            queue.add(waiting.pop())
        finished += run(queue, data.draw(BUDGETS))
    assert Counter(finished) == Counter(Place(r, i) for r in requests for i in range(len(r.items)))
    assert (queue.n_tokens, queue.n_requests) == (0, 0)


@given(REQUESTS, BUDGETS)
def test_a_turn_holds_more_than_the_budget_only_where_one_item_does(requests: list[Request], budget: int) -> None:
    queue = FairQueue()
    for each in requests:
        queue.add(each)
    turn = queue.take(budget)
    if turn.step is None:
        own = sum(len(place.item.ids) - (place.item.stems or (0,))[-1] for place in turn.places)
        stems = {id(place.request): (place.item.stems or (0,))[-1] for place in turn.places}
        assert own + sum(stems.values()) <= budget or len(turn.places) == 1


@given(REQUESTS, st.data())
def test_what_is_discarded_leaves_the_queue_and_nothing_else_does(requests: list[Request], data: st.DataObject) -> None:
    progress.clear()
    queue = FairQueue()
    for each in requests:
        queue.add(each)
    finished = run(queue, 64)
    gone = data.draw(st.sampled_from(requests))
    queue.discard(gone)
    queue.discard(gone)
    while queue:
        finished += run(queue, 512)
    left = Counter(Place(r, i) for r in requests for i in range(len(r.items)) if r is not gone)
    assert Counter(place for place in finished if place.request is not gone) == left
    assert (queue.n_tokens, queue.n_requests) == (0, 0)


def test_a_short_request_waits_for_one_step_of_the_long_ones_before_it() -> None:
    progress.clear()
    queue = FairQueue()
    for _ in range(20):
        queue.add(request(8000))
    for _ in range(50):
        run(queue, 64)
        short = request(20)
        queue.add(short)
        assert run(queue, 64) == [Place(short, 0)]


def test_a_short_request_passes_a_large_batch_too() -> None:
    queue = FairQueue()
    queue.add(request(*[200] * 500))
    queue.take(512)
    short = request(20)
    queue.add(short)
    assert queue.take(512).places[0] == Place(short, 0)


def test_short_requests_without_end_do_not_stop_a_long_one() -> None:
    progress.clear()
    queue, long = FairQueue(), request(1000)
    queue.add(long)
    turns = 0
    while Place(long, 0) not in (run(queue, 64) if queue else []):
        queue.add(request(20))
        turns += 1
        assert turns < 200
    # 1000 tokens in steps of 64, and about as many of the short ones between them.
    assert turns > 30


def test_two_clients_share_the_tokens_however_many_requests_each_has() -> None:
    queue = FairQueue()
    for _ in range(50):
        queue.add(request(*[50] * 20, client="many"))
    queue.add(request(*[100] * 200, client="one"))
    served: Counter[object] = Counter()
    for _ in range(60):
        for place in queue.take(512).places:
            served[place.request.client] += len(place.item.ids)
    assert abs(served["many"] - served["one"]) <= 2 * LEAST_BUDGET + 512, served


def test_a_long_item_that_waited_for_another_does_not_catch_up_at_the_cost_of_the_short() -> None:
    progress.clear()
    queue = FairQueue()
    queue.add(request(6000, client="a"))
    run(queue, 64)
    queue.add(request(600, client="b"))  # cannot run: one long item at a time
    for _ in range(200):
        if queue:
            run(queue, 64)
        short = request(20, client="c")
        queue.add(short)
        assert Place(short, 0) in run(queue, 64) + run(queue, 64)


def test_a_beginning_that_a_request_shares_is_paid_for_once() -> None:
    queue = FairQueue()
    queue.add(request(*[50] * 8, stem=100))
    assert queue.n_tokens == 500
    assert len(queue.take(512).places) == 8
