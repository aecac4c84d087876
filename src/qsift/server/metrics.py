"""What /metrics shows. The only door to prometheus-client."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .batcher import TurnFacts

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""The media type of `Metrics.text`."""

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_SEQUENCES = (1, 2, 4, 8, 16, 32, 63)


class Metrics:
    """Counts requests, tokens and turns; in a registry of its own, so that several apps do not mix."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("qsift_requests", "Answers.", ["path", "status"], registry=registry)
        self._seconds = Histogram(
            "qsift_request_seconds", "From the first byte to the answer.", ["path"], buckets=_SECONDS, registry=registry
        )
        self._tokens = Counter("qsift_tokens", "Tokens of answered requests.", ["model"], registry=registry)
        self._turn_tokens = Histogram(
            "qsift_batch_tokens", "Tokens decoded together.", ["model"], buckets=_TOKENS, registry=registry
        )
        self._turn_sequences = Histogram(
            "qsift_batch_sequences", "Sequences decoded together.", ["model"], buckets=_SEQUENCES, registry=registry
        )
        self._fill = Histogram(
            "qsift_batch_fill",
            "Tokens of a batch by those it could hold.",
            ["model"],
            buckets=_SHARES,
            registry=registry,
        )
        self._turn_seconds = Histogram(
            "qsift_batch_seconds", "Time of a batch.", ["model"], buckets=_SECONDS, registry=registry
        )
        self._waiting_tokens = Gauge("qsift_queue_tokens", "Tokens that wait.", ["model"], registry=registry)
        self._waiting_requests = Gauge("qsift_queue_requests", "Requests that wait.", ["model"], registry=registry)
        self._is_loaded = Gauge("qsift_model_loaded", "1 while a model is in memory.", ["model"], registry=registry)
        self._loads = Counter(
            "qsift_model_loads", "Times that the server loaded a model.", ["model"], registry=registry
        )

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts an answer of a known path."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def counted(self, model: str, n_tokens: int) -> None:
        """Counts the tokens of a request."""
        self._tokens.labels(model).inc(n_tokens)

    def on_turn(self, model: str) -> Callable[[TurnFacts], None]:
        """Returns what a model's batcher tells its turns to."""
        tokens, sequences = self._turn_tokens.labels(model), self._turn_sequences.labels(model)
        fill, seconds = self._fill.labels(model), self._turn_seconds.labels(model)

        def tell(facts: TurnFacts) -> None:
            tokens.observe(facts.n_tokens)
            sequences.observe(facts.n_sequences)
            fill.observe(facts.n_tokens / facts.budget)
            seconds.observe(facts.seconds)

        return tell

    def loaded(self, model: str) -> None:
        """Counts that a model was loaded."""
        self._loads.labels(model).inc()

    def watch(self, model: str, waiting: Callable[[], tuple[int, int]], is_loaded: Callable[[], bool]) -> None:
        """Shows a model's queue, in tokens and requests, and whether it is in memory."""
        self._waiting_tokens.labels(model).set_function(lambda: waiting()[0])
        self._waiting_requests.labels(model).set_function(lambda: waiting()[1])
        self._is_loaded.labels(model).set_function(is_loaded)
        self._loads.labels(model)

    def text(self) -> bytes:
        """Returns everything in Prometheus' text format."""
        return generate_latest(self._registry)
