"""How far quantising moves a model's results: one file against a better one of the same conversion.

A few fixed texts through `Embedder` or `Reranker`; no torch. This says what a quant costs, not how good a model is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.models import Task
from qsift.reranker import Reranker

QUERIES = (
    "how long does bread bake",
    "什么是量子计算?",
    "Welche Frist gilt für die Kündigung einer Wohnung?",
)
"""Questions to embed, and to rank the documents for."""

DOCUMENTS = (
    "Bake the loaf for forty minutes at 220 degrees, then let it cool on a rack before you cut it.",
    "量子计算利用量子力学的叠加和纠缠来处理信息,其基本单位是量子比特。",
    "Der Mieter kann spätestens am dritten Werktag eines Monats zum Ablauf des übernächsten Monats kündigen.",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "ما هي عاصمة فرنسا؟ باريس هي العاصمة وأكبر مدن البلاد.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen; chlorophyll absorbs mostly red and "
    "blue light, which is why leaves look green. The reactions take place in the chloroplasts of plant cells.",
    "Снег растаял к вечеру, и река вышла из берегов.",
    "2024-03-01 12:00:07 ERROR worker 3: connection reset by peer (attempt 2 of 5)",
)
"""Texts in several scripts, prose and not."""


def results(path: Path, task: Task, options: EngineOptions | None = None) -> NDArray[np.float32]:
    """Returns what a file makes of the fixed texts.

    Returns:
        For "embed" (queries + documents, width) unit vectors, for "rerank" (queries × documents,) P(yes).

    Raises:
        ModelFileError, EngineError: the file cannot be used or run.
    """
    loader = Embedder if task == "embed" else Reranker
    with loader.load(path, options=options) as model:
        return answers(model)


def answers(model: Embedder | Reranker) -> NDArray[np.float32]:
    """Returns what a loaded model makes of the fixed texts; see `results`."""
    if isinstance(model, Embedder):
        return np.concatenate([model.encode_query(list(QUERIES)), model.encode_document(list(DOCUMENTS))])
    pairs = [(query, document) for query in QUERIES for document in DOCUMENTS]
    return np.asarray(model.predict(pairs), np.float32)


def difference(reference: NDArray[np.float32], other: NDArray[np.float32], task: Task) -> float:
    """Returns the smallest cosine of two files' vectors, or the largest change of their P(yes)."""
    if task == "embed":
        return float((reference * other).sum(axis=1).min())
    return float(np.abs(reference - other).max())
