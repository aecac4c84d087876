"""Prompts in, rows out: the part that embedding and reranking share."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsift.engine import Engine, TokenIds, unique
from qsift.errors import InputTooLongError, NonFiniteError
from qsift.models import Prompt

from .tokenization import Encoded, PromptEncoder

WINDOW = 1024
"""Prompts that are tokenised, sorted and decoded together; bounds the memory of a stream."""


@dataclass(frozen=True)
class LengthLimit:
    """What happens to prompts that are too long.

    Attributes:
        max_tokens: the limit, template and end token included.
        truncate: whether the user's text may be cut to it.
        kind: what the caller calls a prompt, for messages.
    """

    max_tokens: int
    truncate: bool
    kind: str


def length_limit(engine: Engine, max_tokens: int | None, *, truncate: bool, kind: str) -> LengthLimit:
    """Returns the limit to use; None means the model's context.

    Raises:
        TypeError, ValueError: no whole number, or outside 1 to the model's context.
    """
    largest = engine.max_tokens
    if max_tokens is None:
        return LengthLimit(largest, truncate, kind)
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int | np.integer):
        raise TypeError(f"max_tokens is {max_tokens!r}; a whole number or None is needed.")
    if not 1 <= max_tokens <= largest:
        raise ValueError(f"max_tokens is {max_tokens}; this model takes 1 to {largest}.")
    return LengthLimit(int(max_tokens), truncate, kind)


def as_list(items: Any, name: str) -> list[Any]:
    """Returns a collection's items in order.

    Raises:
        TypeError: not a collection, or one without an order.
    """
    if isinstance(items, bytes | bytearray | Mapping | Set) or not isinstance(items, Iterable):
        raise TypeError(f"{name} is of type {type(items).__name__}; a list of str is needed.")
    return list(items)


class Runner:
    """Drives one engine with one model's tokenizer."""

    def __init__(self, engine: Engine, encoder: PromptEncoder) -> None:
        self.engine = engine
        self.encoder = encoder

    def rows(
        self,
        prompts: Iterable[Prompt],
        limit: LengthLimit,
        *,
        positions: Sequence[int] | None = None,
        total: int | None = None,
        show_progress: bool = False,
    ) -> Iterator[NDArray[np.float32]]:
        """Yields the engine's rows for a window of prompts at a time, in order.

        Args:
            prompts: any number of them; an iterator is read a window at a time.
            limit: what to do with long ones.
            positions: where the caller's list has each prompt, for messages; None counts from 0.
            total: how many there are, for the progress bar, if that is known.
            show_progress: whether to draw a progress bar on stderr.

        Raises:
            InputTooLongError: over the limit and not to be cut, or nothing of the body would remain.
            NonFiniteError, EngineError: from the engine.
        """
        source, start = iter(prompts), 0
        with _progress_bar(total, limit.kind) if show_progress else nullcontext() as bar:
            while window := list(islice(source, WINDOW)):
                places = range(start, start + len(window)) if positions is None else positions[start:]
                encoded = [self.encode(prompt, place, limit) for prompt, place in zip(window, places, strict=False)]
                _warn_of_cuts(encoded, places, limit)
                firsts, inverse = unique([item.ids.tobytes() for item in encoded])
                distinct, stems = [encoded[i].ids for i in firsts], [encoded[i].stems for i in firsts]
                try:
                    rows = self.engine.decode(
                        distinct, stems=stems, on_progress=bar.update if bar is not None else None
                    )
                except NonFiniteError as error:
                    raise NonFiniteError(places[firsts[error.index]]) from None
                if bar is not None:
                    bar.update(len(window) - len(distinct))
                yield rows[inverse]
                start += len(window)

    def encode(self, prompt: Prompt, index: int, limit: LengthLimit, *, text_ids: TokenIds | None = None) -> Encoded:
        """Returns the ids of a prompt, within the limit.

        Args:
            prompt: the prompt.
            index: where the caller's list has it, for messages.
            limit: what to do if it is long.
            text_ids: the user's text behind it, where that comes as ids; see `PromptEncoder.encode`.

        Raises:
            InputTooLongError: over the limit and not to be cut, or nothing of the body would remain.
        """
        encoded = self.encoder.encode(prompt, limit.max_tokens if limit.truncate else None, text_ids=text_ids)
        if len(encoded.ids) > limit.max_tokens:
            advice = None
            if limit.truncate:
                advice = "Cutting cannot help, because what must stay whole is too long: shorten that."
            raise InputTooLongError(index, encoded.n_tokens, limit.max_tokens, kind=limit.kind, advice=advice)
        return encoded


def _warn_of_cuts(encoded: list[Encoded], places: Sequence[int], limit: LengthLimit) -> None:
    cut = [i for i, item in enumerate(encoded) if item.n_tokens > len(item.ids)]
    if cut:
        warnings.warn(
            f"{limit.kind} {places[cut[0]]} is {encoded[cut[0]].n_tokens} tokens long and was cut to "
            f"{limit.max_tokens}{f', {len(cut) - 1} more as well' if len(cut) > 1 else ''}. "
            "Pass truncate=False to get an error instead.",
            stacklevel=5,
        )


def _progress_bar(total: int | None, kind: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit=f" {kind.lower()}s", dynamic_ncols=True)
