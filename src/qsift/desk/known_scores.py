"""Scores that were computed a moment ago: a search that goes deeper, or through another filter, asks for the rest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MOST = 4096
"""Scores that are kept, each with its query and its text: a few megabytes."""

Scorer = Callable[[list[str]], Awaitable[Sequence[float] | NDArray[np.float32]]]


class KnownScores:
    """Scores of texts for queries; the least recently used go first. For the event loop's thread alone."""

    def __init__(self) -> None:
        self._scores: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def of(self, query: str, texts: Sequence[str], compute: Scorer) -> NDArray[np.float32]:
        """Returns the scores of texts for a query, (n,) float32 in their order.

        Args:
            query: what they are scored for.
            texts: any number of them.
            compute: returns the scores of those that are not known yet, each once; what it raises goes through.
        """
        known = {text: score for text in texts if (score := self._scores.get((query, text))) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:  # others may push out what was known meanwhile
            known |= zip(missing, map(float, await compute(missing)), strict=True)
        scores = [known[text] for text in texts]
        for text, score in zip(texts, scores, strict=True):
            self._scores[query, text] = score
            self._scores.move_to_end((query, text))
        while len(self._scores) > MOST:
            self._scores.popitem(last=False)
        return np.asarray(scores, np.float32)
