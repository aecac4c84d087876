"""An engine whose calls wait their turn among the requests of a server.

Long work, such as indexing, goes through it on a thread of its own: whoever searches meanwhile waits for no more than
the turn that is being decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .batcher import Batcher
from qsift.engine import Engine, Stepper, TokenIds
from qsift.errors import NonFiniteError
from qsift.text import Encoded

OnRows = Callable[[int], None]
"""Is told how many sequences were computed since it was told last."""

_PART = 32
"""Sequences that are submitted together: what is still computed after an end was asked for."""


class InTurns:
    """An engine that hands its sequences to a batcher; a client of its own in the batcher's queue."""

    def __init__(self, engine: Engine, batcher: Batcher, on_rows: OnRows) -> None:
        """Takes what the batcher drives, the batcher, and who is told of each part."""
        self._engine, self._batcher, self._on_rows = engine, batcher, on_rows

    @property
    def max_tokens(self) -> int:
        """The longest sequence that it takes, in tokens."""
        return self._engine.max_tokens

    def decode(
        self,
        sequences: Sequence[TokenIds],
        *,
        stems: Sequence[Sequence[int]] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Returns one row for each sequence; see `Engine.decode`.

        Raises:
            ClosedError: the server takes no more work.
            QueueFullError: too many tokens wait.
            EngineError: from the engine.
        """
        items = [
            Encoded(ids, len(ids), tuple(stems[index]) if stems is not None else ())
            for index, ids in enumerate(sequences)
        ]
        rows = []
        for start in range(0, len(items), _PART):
            part = items[start : start + _PART]
            try:
                rows.append(self._batcher.submit(part, client=self).result())
            except NonFiniteError as error:  # whose place is that in the part
                raise NonFiniteError(start + error.index) from error
            for tell in (self._on_rows, on_progress):
                if tell:
                    tell(len(part))
        return np.concatenate(rows)

    def stepper(self, sequence: TokenIds) -> Stepper:
        """Returns the engine's own: the batcher steps through long sequences by itself."""
        return self._engine.stepper(sequence)

    def close(self) -> None:
        """Does nothing: the model is its server's."""
