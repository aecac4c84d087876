"""The seam: an engine knows token ids; it does not know text, prompts or scores.

The protocol has two implementations, `llama.LlamaEngine` and the tests' stub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
"""The ids of a sequence, (n,) int32."""

Device = Literal["auto", "cpu", "gpu"]
CacheType = Literal["f16", "f32", "q8_0"]
Accel = Literal["auto", "off", "exact", "bf16", "int8"]

OnProgress = Callable[[int], None]
"""Called after each batch with the number of sequences that it finished."""


class Stepper(Protocol):
    """One long sequence that is computed a few tokens at a time."""

    @property
    def remaining(self) -> int:
        """How many tokens are still to be decoded."""
        ...

    def advance(self, n_tokens: int) -> NDArray[np.float32] | None:
        """Decodes about ``n_tokens`` more and returns the row, as `Engine.decode` gives it, after the last; else None.

        Raises:
            NonFiniteError: NaN or Inf, also when computed once more.
            EngineError: llama.cpp refused or failed.
        """
        ...


@dataclass(frozen=True)
class Token:
    """A token of a vocabulary.

    Attributes:
        id: its number.
        piece: its bytes, which need not be whole characters.
        is_control: whether it is no text but a mark, such as ``<|endoftext|>``.
    """

    id: int
    piece: bytes
    is_control: bool


class Engine(Protocol):
    """Runs a model over token ids."""

    @property
    def max_tokens(self) -> int:
        """The longest sequence that it takes, in tokens."""
        ...

    def decode(
        self,
        sequences: Sequence[TokenIds],
        *,
        stems: Sequence[Sequence[int]] | None = None,
        on_progress: OnProgress | None = None,
    ) -> NDArray[np.float32]:
        """Returns one row for each sequence, read at its last token, in the order given.

        Args:
            sequences: non-empty (n_tokens,) int32 arrays, each at most `max_tokens` long.
            stems: for each sequence the lengths, ascending, of its beginnings that this or a later call
                is likely to have in other sequences too, and that are worth keeping; None means none.
                They change the work, not the result: a row is the same, to the last bit, whatever was
                decoded in earlier calls.
            on_progress: told how many sequences each batch finished.

        Returns:
            (n, outputs) float32. For the task "embed" the final hidden state, not normalised
            (outputs is the model's width); for "rerank" the logits of yes and no, in this order,
            up to a constant that both share.

        Raises:
            NonFiniteError: NaN or Inf for a sequence, also when computed alone.
            EngineError: llama.cpp refused or failed; the next call works all the same.
        """
        ...

    def stepper(self, sequence: TokenIds) -> Stepper:
        """Returns a computation of one long sequence that leaves room for `decode` between its steps.

        One at a time: a new one takes the place of the last.

        Args:
            sequence: as one of `decode`.
        """
        ...

    def close(self) -> None:
        """Frees the model. May be called more than once."""
        ...


@dataclass(frozen=True)
class EngineOptions:
    """How the engine runs; the defaults are right for most machines.

    Attributes:
        device: "auto" takes a GPU if the installed llama.cpp was built for one and finds one;
            "gpu" insists on it; "cpu" leaves it alone.
        gpu_layers: how many blocks go to the GPU; None means all.
        main_gpu: number of the one GPU to use; None lets llama.cpp spread over all.
        threads: CPU threads; None means the physical cores that this process may use.
        flash_attention: None lets llama.cpp decide, except with an F32 cache, where it is off.
        cache_type: type of the cached keys and values. "f32" is for the tightest comparisons: it is
            slower and takes twice the memory.
        batch_tokens: tokens of one decode call; None takes what measured best: 512, in the mode bf16 1,024.
        share_prefixes: whether sequences that begin alike share that computation, also from one call
            to the next: the instruction of a query, and the query that documents are judged by.
        extra_buffers: whether llama.cpp may repack weights for faster kernels; None asks the
            self-check where the CPU has AMX, and is True elsewhere.
        accel: whether the package qsift-accel, if it is installed, runs the blocks: "exact" computes a quantised
            file in its own arithmetic, "bf16" adds next to nothing to the error of the file, "int8" is the
            fastest and less exact, "off" leaves all to llama.cpp; "auto" takes $QSIFT_ACCEL, or else the fastest
            mode that costs no accuracy on this CPU (see `Accelerator.auto`). Where it cannot be used, llama.cpp
            computes as without it; but "bf16" and "int8" need oneDNN, and are an EngineError where it is missing.
    """

    device: Device = "auto"
    gpu_layers: int | None = None
    main_gpu: int | None = None
    threads: int | None = None
    flash_attention: bool | None = None
    cache_type: CacheType = "f16"
    batch_tokens: int | None = None
    share_prefixes: bool = True
    extra_buffers: bool | None = None
    accel: Accel = "auto"

    def __post_init__(self) -> None:
        for name, words in (("device", Device), ("cache_type", CacheType), ("accel", Accel)):
            allowed = get_args(words)
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}.")
        for name, least in (("gpu_layers", 0), ("main_gpu", 0), ("threads", 1), ("batch_tokens", 1)):
            _check_count(name, getattr(self, name), least)


def _check_count(name: str, value: Any, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; a whole number or None is needed.")
    if value < least:
        raise ValueError(f"{name} is {value}; the smallest allowed is {least}.")
