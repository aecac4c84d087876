"""What an embedder and a reranker have in common: a file's facts, an engine, and the way from prompts to rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .tokenization import Encoded, PromptEncoder, Tokenizer, check_text
from qsift.engine import Engine, OnProgress, Token, TokenIds, unique
from qsift.errors import InputTooLongError, NonFiniteError
from qsift.models import ModelFile, Prompt

Item = TypeVar("Item")
Self = TypeVar("Self", bound="LoadedModel")

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


class LoadedModel:
    """A model that is loaded. Close it, or use it in a with statement.

    Calls from several threads are safe and take turns.

    Attributes:
        file: the facts of the model's file.
        engine: what runs it.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, file: ModelFile, *, n_outputs: int) -> None:
        """Wraps an engine whose rows hold ``n_outputs`` numbers."""
        self.file = file
        self.engine = engine
        self._no_rows = np.empty((0, n_outputs), np.float32)
        self._tokenizer, self._encoder = tokenizer, PromptEncoder(tokenizer)

    @property
    def max_tokens(self) -> int:
        """The longest prompt that the model takes, in tokens, template and end token included."""
        return self.engine.max_tokens

    def run_by(self: Self, engine: Engine) -> Self:
        """Returns the same model, its rows computed by ``engine``; closing it closes that and leaves this one."""
        other = copy(self)
        other.engine = engine
        return other

    def tokenize(self, text: str) -> TokenIds:
        """Returns the ids of a bare text, (n,) int32: nothing around it, and control tokens in it are letters."""
        return self._encoder.encode(Prompt("", check_text(text, 0), "")).ids

    def tokens(self, token_ids: TokenIds | Sequence[int]) -> list[Token]:
        """Returns the tokens of ids, in order: their pieces joined are the text in UTF-8.

        Raises:
            ValueError: an id that the vocabulary does not have.
        """
        ids = np.asarray(token_ids, np.int64)
        self._check_ids(ids, "The list")
        return [self._tokenizer.token(token_id) for token_id in ids.tolist()]

    def _check_ids(self, ids: NDArray[np.integer[Any]], what: str) -> None:
        outside = ids[(ids < 0) | (ids >= self.file.n_vocab)]
        if len(outside):
            raise ValueError(
                f"{what} holds the token id {outside[0]}; this model's ids go from 0 to {self.file.n_vocab - 1}."
            )

    def close(self) -> None:
        """Frees the model. May be called more than once."""
        self.engine.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _results(
        self,
        items: Iterable[Item],
        check: Callable[[Item, int], Any],
        to_prompt: Callable[[Any], Prompt],
        finish: Callable[[NDArray[np.float32]], NDArray[Any]],
        limit: LengthLimit,
        *,
        show_progress: bool,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Returns what ``finish`` makes of the rows of items.

        Args:
            items: a collection, whose equal items are computed once, or an iterator, which is read a window at a time.
            check: gives an item of which it is sure, or raises; is told its index.
            to_prompt: what the model sees of an item that was checked.
            finish: rows to results, for any number of rows.
            limit: of a prompt.
            show_progress: whether to draw a bar on stderr.
            on_progress: is told after each decode call how many more prompts are done.

        Returns:
            For a collection an array in its order, for an iterator an iterator of that array's rows.
        """
        checked = (check(item, index) for index, item in enumerate(items))
        if isinstance(items, Iterator):
            parts = self._rows(map(to_prompt, checked), limit, show_progress=show_progress, on_progress=on_progress)
            return (result for rows in parts for result in finish(rows))
        known = list(checked)
        firsts, inverse = unique(known)
        prompts = (to_prompt(known[first]) for first in firsts)
        parts = self._rows(
            prompts,
            limit,
            positions=firsts,
            total=len(firsts),
            show_progress=show_progress,
            on_progress=on_progress,
        )
        found = np.concatenate([finish(self._no_rows), *map(finish, parts)])
        return found if len(firsts) == len(known) else found[inverse]

    def _rows(
        self,
        prompts: Iterable[Prompt],
        limit: LengthLimit,
        *,
        positions: Sequence[int] | None = None,
        total: int | None = None,
        show_progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yields the engine's rows for a window of prompts at a time, in order.

        Args:
            prompts: any number of them; an iterator is read a window at a time.
            limit: what to do with long ones.
            positions: where the caller's list has each prompt, for messages; None counts from 0.
            total: how many there are, for the progress bar, if that is known.
            show_progress: whether to draw a progress bar on stderr.
            on_progress: is told after each decode call how many more prompts are done.

        Raises:
            InputTooLongError: over the limit and not to be cut, or nothing of the body would remain.
            NonFiniteError, EngineError: from the engine.
        """
        source, start = iter(prompts), 0
        with _progress_bar(total, limit.kind) if show_progress else nullcontext() as bar:

            def done(n: int) -> None:
                for tell in (bar.update if bar is not None else None, on_progress):
                    if tell:
                        tell(n)

            while window := list(islice(source, WINDOW)):
                places = range(start, start + len(window)) if positions is None else positions[start:]
                encoded = [self._fitted(prompt, place, limit) for prompt, place in zip(window, places, strict=False)]
                _warn_of_cuts(encoded, places, limit)
                firsts, inverse = unique([item.ids.tobytes() for item in encoded])
                distinct, stems = [encoded[i].ids for i in firsts], [encoded[i].stems for i in firsts]
                try:
                    rows = self.engine.decode(distinct, stems=stems, on_progress=done)
                except NonFiniteError as error:
                    raise NonFiniteError(places[firsts[error.index]]) from None
                done(len(window) - len(distinct))
                yield rows[inverse]
                start += len(window)

    def _fitted(self, prompt: Prompt, index: int, limit: LengthLimit, *, text_ids: TokenIds | None = None) -> Encoded:
        """Returns the ids of a prompt, within the limit.

        Args:
            prompt: the prompt.
            index: where the caller's list has it, for messages.
            limit: what to do if it is long.
            text_ids: the user's text behind it, where that comes as ids; see `PromptEncoder.encode`.

        Raises:
            InputTooLongError: over the limit and not to be cut, or nothing of the body would remain.
            ValueError: no token at all.
        """
        encoded = self._encoder.encode(prompt, limit.max_tokens if limit.truncate else None, text_ids=text_ids)
        if len(encoded.ids) > limit.max_tokens:
            advice = None
            if limit.truncate:
                advice = "Cutting cannot help, because what must stay whole is too long: shorten that."
            raise InputTooLongError(index, encoded.n_tokens, limit.max_tokens, kind=limit.kind, advice=advice)
        if not len(encoded.ids):
            raise ValueError(
                f"{limit.kind} {index} is empty, and this model's tokenizer puts no end token behind a text, so there "
                "is nothing for the model to read. Leave it out."
            )
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
