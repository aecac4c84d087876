"""What an embedder and a reranker have in common: a file's facts, an engine, and the way from prompts to rows."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from qsift.engine import Engine
from qsift.models import ModelFile

from .runner import Runner
from .tokenization import PromptEncoder, Tokenizer

Self = TypeVar("Self", bound="LoadedModel")


class LoadedModel:
    """A model that is loaded. Close it, or use it in a with statement.

    Calls from several threads are safe and take turns.

    Attributes:
        file: the facts of the model's file.
        engine: what runs it.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, file: ModelFile) -> None:
        """Wraps an engine that gives the rows which the model is for."""
        self.file = file
        self.engine = engine
        self._encoder = PromptEncoder(tokenizer)
        self._runner = Runner(engine, self._encoder)

    @property
    def max_tokens(self) -> int:
        """The longest prompt that the model takes, in tokens, template and end token included."""
        return self.engine.max_tokens

    def close(self) -> None:
        """Frees the model. May be called more than once."""
        self.engine.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
