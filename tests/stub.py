"""An engine and a tokenizer that can be read in a minute: what the library does around them shows.

A row is a pure function of one sequence, so that order, windows and duplicates cannot hide behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qsift import ModelFile, NonFiniteError
from qsift.engine.protocol import OnProgress, Token, TokenIds
from qsift.models.manifest import Manifest
from qsift.models.specs import Task

CONTROL = {"<|endoftext|>": 300, "<|im_start|>": 301, "<|im_end|>": 302, "<think>": 303, "</think>": 304}


class StubTokenizer:
    """A token is a byte; control tokens have ids of 300 and more."""

    def encode(self, text: str, *, control_tokens: bool) -> TokenIds:
        ids: list[int] = []
        while text:
            control = next((c for c in CONTROL if control_tokens and text.startswith(c)), None)
            ids += [CONTROL[control]] if control else text[0].encode()
            text = text[len(control or text[0]) :]
        return np.array(ids, np.int32)

    def token(self, token_id: int) -> Token:
        control = {number: text for text, number in CONTROL.items()}.get(token_id)
        return Token(token_id, control.encode() if control else bytes([token_id]), control is not None)


class StubEngine:
    """Row of a sequence: entry i says how often the tokens are i modulo the width, plus a trace of their order.

    Attributes:
        calls: what each call of `decode` was given, as lists of ids.
        stems: what the last one was told about beginnings that come again.
        poison: a token whose sequences are NaN for this engine.
    """

    def __init__(self, width: int = 64, max_tokens: int = 1000, poison: int | None = None) -> None:
        self.width, self.max_tokens, self.poison = width, max_tokens, poison
        self.calls: list[list[list[int]]] = []
        self.stems: Sequence[Sequence[int]] | None = None
        self.closed = False

    def decode(
        self,
        sequences: Sequence[TokenIds],
        *,
        stems: Sequence[Sequence[int]] | None = None,
        on_progress: OnProgress | None = None,
    ) -> np.ndarray:
        self.stems = stems
        self.calls.append([ids.tolist() for ids in sequences])
        for index, ids in enumerate(sequences):
            if self.poison in ids:
                raise NonFiniteError(index)
        rows = [self.row(ids) for ids in sequences]
        if on_progress:
            on_progress(len(rows))
        return np.array(rows, np.float32).reshape(len(rows), self.width)

    def stepper(self, sequence: TokenIds) -> StubStepper:
        return StubStepper(self, sequence)

    def row(self, ids: TokenIds) -> np.ndarray:
        counts = np.bincount(ids % self.width, minlength=self.width).astype(np.float32)
        counts[0] += float((ids * np.arange(len(ids))).sum() % 101) / 101
        return counts

    def close(self) -> None:
        self.closed = True


class StubStepper:
    """Counts its tokens down, then gives the row of the whole."""

    def __init__(self, engine: StubEngine, sequence: TokenIds) -> None:
        self.engine, self.sequence, self.remaining = engine, sequence, len(sequence)

    def advance(self, n_tokens: int) -> np.ndarray | None:
        self.engine.calls.append([self.sequence[len(self.sequence) - self.remaining :][:n_tokens].tolist()])
        self.remaining = max(0, self.remaining - n_tokens)
        if self.remaining:
            return None
        if self.engine.poison in self.sequence:
            raise NonFiniteError(0)
        return self.engine.row(self.sequence)


def model_file(task: Task, width: int = 64, **changes: object) -> ModelFile:
    """Returns the facts of a file that does not exist."""
    file = ModelFile(
        path="stub.gguf",
        name="stub",
        task=task,
        quant="f32",
        block_types=("f32",),
        width=width,
        n_layers=1,
        n_vocab=305,
        max_tokens=1000,
        score_source="labels" if task == "rerank" else None,
        labels=("yes", "no") if task == "rerank" else (),
        manifest=Manifest.for_task(task, "f32"),
        cache_bytes_per_token=4,
        nbytes=0,
    )
    return replace(file, **changes)  # type: ignore[arg-type]
