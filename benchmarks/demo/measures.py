"""What is measured and on which texts: held-out sets, nDCG, recall. No model is known here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pairs import Pairs, distinct

LANGUAGES = ("zh", "de", "fr", "ja", "es")
QUERIES = 5000


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and documents; the query at a place is answered by the document at the same place."""

    queries: list[str]
    documents: list[str]


def descriptions(pairs: Pairs) -> RetrievalSet:
    """Returns synopses and descriptions of packages that were held out, in English."""
    rows = pairs.rows("package", ("en", "en"), held_out=True)
    rows = distinct(pairs, np.random.default_rng(7).permutation(rows))[:QUERIES]
    return RetrievalSet([pairs.query[row] for row in rows], [pairs.document[row] for row in rows])


def translations(pairs: Pairs, language: str, count: int = 1000) -> RetrievalSet:
    """Returns held-out texts in a language and their English sides, of three words or more."""
    rows = pairs.rows("translation", ("en", language), held_out=True)
    long = [row for row in np.random.default_rng(7).permutation(rows) if len(pairs.query[row].split()) >= 3]
    rows = distinct(pairs, np.array(long))[:count]
    return RetrievalSet([pairs.document[row] for row in rows], [pairs.query[row] for row in rows])


def cut(vectors: np.ndarray, width: int) -> np.ndarray:
    """Returns the leading columns with unit length."""
    vectors = vectors[:, :width]
    rows: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows


def ranks(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Returns the place, from 0, of the document that answers each query; equal scores count against it."""
    found = []
    for start in range(0, len(queries), 1000):
        scores = queries[start : start + 1000] @ documents.T
        own = scores[np.arange(len(scores)), np.arange(start, start + len(scores))]
        found.append((scores >= own[:, None]).sum(1) - 1)
    return np.concatenate(found)


def ndcg(places: np.ndarray, at: int = 10) -> float:
    """Returns nDCG of rankings with one right document each, at the given places from 0."""
    return float(np.where(places < at, 1 / np.log2(places + 2.0), 0).mean())


def recall(places: np.ndarray, at: int = 10) -> float:
    """Returns the share of rankings whose right document is among the first."""
    return float((places < at).mean())
