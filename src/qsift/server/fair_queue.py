"""Whose tokens are decoded next. Pure: it knows costs and turns, no engine, no thread and no clock.

Self-clocked fair queueing (Golestani 1994) on two levels: clients share the engine by tokens, and the requests
of a client share what it gets. Each has a start, the virtual time up to which it was served, and a tag, the
time at which its next tokens would be through; the smallest tag goes first. So a short request passes
a long one, by no more than its share, and nothing waits for ever.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from qsift.text import Encoded

LEAST_BUDGET = 64
"""Tokens of the smallest turn: with fewer, what every call costs beside its tokens outweighs them."""

_LOOKAHEAD = 8  # requests that a turn passes over to fill itself


@dataclass(eq=False)
class Request:
    """Sequences that one caller waits for together.

    Attributes:
        client: who gets a fair share with all its requests together.
        items: what is to be decoded, one at least.
        n_tokens: tokens of all items; a beginning that they share counts once.
        waiting: how many of these were not given out yet.
        position: how many items were given out.
        start: virtual time up to which it was served.
    """

    client: Hashable
    items: Sequence[Encoded]
    n_tokens: int = field(init=False)
    waiting: int = field(init=False)
    position: int = field(default=0, init=False)
    start: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.n_tokens = self.waiting = sum(map(own_tokens, self.items)) + stem(self.items[0])

    @property
    def own_tokens(self) -> int:
        """Tokens of all items without the beginning that they share."""
        return self.n_tokens - stem(self.items[0])

    @property
    def head(self) -> Encoded:
        """The item that is next."""
        return self.items[self.position]

    @property
    def tag(self) -> float:
        """When its next tokens would be through."""
        return self.start + min(own_tokens(self.head), LEAST_BUDGET)


@dataclass(frozen=True)
class Place:
    """One item of a request."""

    request: Request
    index: int

    @property
    def item(self) -> Encoded:
        """The item."""
        return self.request.items[self.index]


@dataclass(frozen=True)
class Turn:
    """What the engine does next: items to decode together, or a step of the long item in progress."""

    places: tuple[Place, ...] = ()
    step: Place | None = None


def stem(item: Encoded) -> int:
    """Returns how many tokens at its start the other items of its request have too."""
    return item.stems[-1] if item.stems else 0


def own_tokens(item: Encoded) -> int:
    """Returns how many tokens are its own."""
    return len(item.ids) - stem(item)


@dataclass(eq=False)
class _Client:
    start: float
    clock: float = 0.0
    requests: list[Request] = field(default_factory=list)


class FairQueue:
    """Requests in, turns out. Not safe for threads: its owner guards it.

    Attributes:
        n_tokens: tokens that wait.
        n_requests: requests of which something waits.
    """

    def __init__(self) -> None:
        self.n_tokens = 0
        self.n_requests = 0
        self._clients: dict[Hashable, _Client] = {}
        self._clock = 0.0
        self._stepping: Place | None = None

    def __bool__(self) -> bool:
        return bool(self._clients)

    def add(self, request: Request) -> None:
        """Lets a request wait for its turns."""
        client = self._clients.setdefault(request.client, _Client(self._clock))
        request.start = client.clock
        client.requests.append(request)
        self.n_tokens += request.n_tokens
        self.n_requests += 1

    def discard(self, request: Request) -> None:
        """Takes out what still waits of a request; one that does not wait is left alone."""
        client = self._clients.get(request.client)
        if client is None or request not in client.requests:
            return
        client.requests.remove(request)
        if not client.requests:
            del self._clients[request.client]
        if self._stepping is not None and self._stepping.request is request:
            self._stepping = None
        self.n_tokens -= request.waiting
        self.n_requests -= 1

    def take(self, budget: int) -> Turn:
        """Returns the next turn, of about ``budget`` tokens.

        An item with more tokens of its own is long: it gets turns of its own, a step in each, and others run
        between them. One long item is in progress at a time. The queue must not be empty.
        """
        places: list[Place] = []
        sharing: set[Request] = set()
        room = budget
        passed: set[Request] = set()  # what is due and does not fit; something smaller behind it may
        while len(passed) < _LOOKAHEAD and (request := self._due(budget, passed)) is not None:
            place = Place(request, request.position)
            is_long = place == self._stepping or own_tokens(place.item) > budget
            if is_long and not places:
                self._stepping = place
                return Turn(step=place)
            cost = own_tokens(place.item) + (0 if request in sharing else stem(place.item))
            if is_long or (places and cost > room):
                passed.add(request)
                continue
            places.append(place)
            sharing.add(request)
            room -= cost
            self._serve(request, cost)
            self._give_out(request)
        return Turn(tuple(places))

    def short_tokens(self, limit: int) -> int:
        """Returns the own tokens, together, of the requests that have at most ``limit`` each."""
        requests = (request for client in self._clients.values() for request in client.requests)
        return sum(request.own_tokens for request in requests if request.own_tokens <= limit)

    def stepped(self, place: Place, n_tokens: int, *, is_done: bool) -> None:
        """Books a step that `take` gave: its tokens, and whether the item is through. A discarded one is left alone."""
        if place != self._stepping:
            return
        self._serve(place.request, n_tokens)
        if is_done:
            self._stepping = None
            self._give_out(place.request)

    def _due(self, budget: int, passed: set[Request]) -> Request | None:
        """Returns the request with the smallest tag, of the client with the smallest; none that was passed over."""

        def may_run(request: Request) -> bool:
            is_blocked = self._stepping is not None and self._stepping.request is not request
            return request not in passed and not (is_blocked and own_tokens(request.head) > budget)

        heads = []
        for client in self._clients.values():
            request = min(filter(may_run, client.requests), key=lambda request: request.tag, default=None)
            if request is not None:
                heads.append((client.start + request.tag - request.start, request))
        return min(heads, key=lambda head: head[0], default=(0.0, None))[1]

    def _serve(self, request: Request, cost: int) -> None:
        """Moves the clocks. What could not run for a while, behind a long item, does not catch up all at once."""
        client = self._clients[request.client]
        slice_ = request.tag - request.start
        client.start = max(client.start, self._clock - LEAST_BUDGET)
        request.start = max(request.start, client.clock - LEAST_BUDGET)
        self._clock = max(self._clock, client.start + slice_)
        client.clock = max(client.clock, request.start + slice_)
        client.start += cost
        request.start += cost

    def _give_out(self, request: Request) -> None:
        tokens = own_tokens(request.head) + (stem(request.head) if request.position == 0 else 0)
        request.position += 1
        request.waiting -= tokens
        self.n_tokens -= tokens
        if request.position == len(request.items):
            self.discard(request)
