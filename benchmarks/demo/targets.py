"""What the embedder is trained towards: the teacher's vectors, centred and turned so that few columns say most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Targets:
    """The teacher's vectors by text, in the student's space.

    Attributes:
        vectors: unit rows, (n, width) float32; the leading columns carry the most variance.
        tokens: a row for each token of the vocabulary, zero where the teacher saw no text.
    """

    vectors: np.ndarray
    tokens: np.ndarray
    _rows: dict[str, int]

    @classmethod
    def read(cls, folder: Path, width: int) -> Targets:
        """Returns the vectors of ``folder``/teacher.npz, centred and projected on their principal axes."""
        with np.load(folder / "teacher.npz", allow_pickle=True) as file:
            raw = file["vectors"].astype(np.float32)
            tokens, known, texts = file["token_vectors"].astype(np.float32), file["token_known"], file["texts"]
            mixed = raw[: int(file["mixed"])]
        # The texts of one language alone, which come after, would pull the centre to themselves.
        centre = mixed.mean(0)
        _, axes = np.linalg.eigh(np.cov((mixed - centre).T))
        axes = axes[:, ::-1][:, :width].astype(np.float32)
        # Single words lie elsewhere than sentences: they get a centre of their own.
        tokens = _unit((tokens - tokens[known].mean(0)) @ axes) * known[:, None]
        rows: dict[str, int] = {}
        for row, text in enumerate(texts):
            rows.setdefault(text.split(": ", 1)[1], row)
        return cls(_unit((raw - centre) @ axes), tokens, rows)

    def find(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the vectors of texts, (n, width), and which of the rows are known, bool (n,)."""
        rows = np.array([self._rows.get(text, -1) for text in texts])
        return self.vectors[np.maximum(rows, 0)], rows >= 0


def _unit(vectors: np.ndarray) -> np.ndarray:
    rows: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return rows
