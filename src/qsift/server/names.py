"""Which model a request means by a name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from .error_responses import ProblemError
from .lanes import EmbeddingLane, RerankLane
from .settings import ServerOptions

L = TypeVar("L", EmbeddingLane, RerankLane, EmbeddingLane | RerankLane)


@dataclass(frozen=True)
class Lanes:
    """What a server serves, in the order in which it was named; at least one model.

    Raises:
        ValueError: an alias for a model that is not among them.
    """

    options: ServerOptions
    embedding: tuple[EmbeddingLane, ...]
    reranking: tuple[RerankLane, ...]

    def __post_init__(self) -> None:
        known = {name for lane in self.all for name in lane.names}
        for alias, model in self.aliases.items():
            if model is not None and model not in known:
                served = ", ".join(sorted(map(repr, known)))
                raise ValueError(f"The alias {alias!r} is for {model!r}, which is not served. Served are {served}.")

    @cached_property
    def aliases(self) -> dict[str, str | None]:
        """Further names, and the model that each means; None for the first of the task that is asked for."""
        parts = (alias.partition("=") for alias in self.options.aliases)
        return {name: model or None for name, _, model in parts}

    @property
    def all(self) -> tuple[EmbeddingLane | RerankLane, ...]:
        """All of them."""
        return *self.embedding, *self.reranking

    def embedder(self, name: str | None) -> EmbeddingLane:
        """Returns the embedding model that a request names; None means the first.

        Raises:
            ProblemError: there is none of this name.
        """
        if not self.embedding:
            raise ProblemError("not found", "This server has no embedding model. Start it with --embedding NAME.")
        return self._check(name, self.embedding)

    def reranker(self, name: str | None) -> RerankLane:
        """Returns the reranker that a request names; see `embedder`."""
        if not self.reranking:
            raise ProblemError("not found", "This server has no reranker. Start it with --reranker NAME.")
        return self._check(name, self.reranking)

    def named(self, name: str | None) -> EmbeddingLane | RerankLane:
        """Returns the model that a request names, whatever its task; None means the first."""
        return self._check(name, self.all)

    def _check(self, name: str | None, lanes: tuple[L, ...]) -> L:
        # Ollama knows a model without a tag as its ":latest".
        given = None if name is None else name.removesuffix(":latest")
        short = None if given is None else self.aliases.get(given, given)
        if name is None or short is None:
            return lanes[0]
        # A file's own name may be that of several: then of the first, unless another was given it.
        for names in ({lane.name: lane for lane in lanes}, {own: lane for lane in lanes[::-1] for own in lane.names}):
            if short in names:
                return names[short]
        if self.options.any_model_name:
            return lanes[0]
        known = " or ".join(repr(lane.name) for lane in lanes)
        sentence = f"There is no model {name[:200]!r} for this task here. It is {known}."
        raise ProblemError("not found", sentence, param="model")
