"""Is a model what it says it is? Its results against published ones, and against torch over its checkpoint.

`published` holds the values, `reference` is the torch; this file computes, compares and knows how far a quant may be
off. torch is loaded where a checkpoint is given, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .published import OVERFLOW_SOURCE, OVERFLOWING, Published, published_results
from .rows import judged
from .texts import SENTENCES, sample
from qsift.embedder import Embedder
from qsift.errors import ModelFileError, NonFiniteError
from qsift.models import RERANK_LABELS
from qsift.reranker import Reranker

if TYPE_CHECKING:
    from .reference import Reference


@dataclass(frozen=True)
class Tolerance:
    """How far the results of a quant may be from those of float32.

    Attributes:
        similarity: of a published cosine, and of a number in a unit vector: an error of random direction moves both
            alike. Half of what a lost end token costs, 0.1, at the most.
        difference: of a published l_yes - l_no, as a share of the largest in the row.
        cosine: smallest of a vector with torch's, over many texts.
        change: largest of the similarity of two texts, over many texts.
        score: largest change of P(yes), over many pairs.
    """

    similarity: float
    difference: float
    cosine: float
    change: float
    score: float


_FOUR_BITS = Tolerance(0.05, 0.30, 0.78, 0.22, 0.45)
_TOLERANCES = {
    "f32": Tolerance(0.005, 0.03, 0.9999, 0.005, 0.005),
    "f16": Tolerance(0.005, 0.03, 0.9999, 0.005, 0.005),
    "bf16": Tolerance(0.005, 0.03, 0.9995, 0.01, 0.02),
    "q8": Tolerance(0.01, 0.05, 0.99, 0.03, 0.05),
    "q6": Tolerance(0.02, 0.10, 0.97, 0.06, 0.14),
    "q5": Tolerance(0.03, 0.15, 0.92, 0.12, 0.33),
}
"""By the first part of a quant's name; what has fewer bits is judged as four.

Similarities: with the released 0.6B shape and random weights, which quantise worse than trained ones, they move by
0.0002 (f16), 0.0005 (bf16), 0.0034 (q8_0), 0.0098 (q6_k) and 0.039 (q4_k_m); half precision elsewhere moves the cards'
by 0.0025 (vLLM, on the card of the 0.6B model). The last three are the bounds of tests/parity, whose tiny models
exaggerate every error.
"""


def tolerance(quant: str) -> Tolerance:
    """Returns how far a quant, such as "q8_0", may be off."""
    return _TOLERANCES.get(quant.partition("_")[0], _FOUR_BITS)


@dataclass(frozen=True)
class Check:
    """A row of the table.

    Attributes:
        name: what was compared.
        expected, found: the numbers, in the same order.
        off: the largest difference; NaN where a number is.
        tolerance: the largest that is allowed.
        source: the page or the folder that the expected ones are from.
        passed: whether it is within tolerance.
    """

    name: str
    expected: tuple[float, ...]
    found: tuple[float, ...]
    off: float
    tolerance: float
    source: str
    passed: bool


def check_published(model: Embedder | Reranker) -> list[Check]:
    """Returns a row for each result that was published about a model; none for a model without any."""
    return [_check(model, one) for one in published_results(model.file)]


def check_finite(model: Embedder | Reranker) -> Check:
    """Returns the row of the texts that overflow in half precision: how many give numbers."""
    found = sum(_is_finite(model, text) for text in OVERFLOWING)
    count = len(OVERFLOWING)
    return _row("texts that overflow in F16: finite", [count], [found], 0, OVERFLOW_SOURCE)


def open_reference(folder: Path, *, show_progress_bar: bool = False) -> Reference:
    """Returns torch over a checkpoint; arguments as `reference.Reference`.

    Raises:
        MissingExtraError: torch or tokenizers is not installed.
        ModelFileError: the folder is no checkpoint.
    """
    from .reference import Reference

    return Reference(folder, show_progress_bar=show_progress_bar)


def check_reference(
    model: Embedder | Reranker, reference: Reference, texts: Sequence[str] | None = None
) -> list[Check]:
    """Returns the rows of a model against its checkpoint: token ids, then results.

    Args:
        model: the model.
        reference: torch over the checkpoint that it was made of.
        texts: what to compute; None takes 240 texts, or 120 as documents of a reranker's pairs.

    Raises:
        ModelFileError: the checkpoint is of another size.
        EngineError: the model cannot be run.
    """
    file, source = model.file, str(reference.folder)
    if (reference.layers, reference.width) != (file.n_layers, file.width):
        raise ModelFileError(
            file.path,
            f"It has {file.n_layers} layers of width {file.width}, and the checkpoint in {source!r} has "
            f"{reference.layers} of {reference.width}: they are not the same model. Pass the one that it was made of.",
        )
    allowed = tolerance(file.quant)
    if isinstance(model, Embedder):
        texts = texts or sample()
        embedded = compare_vectors(model, reference, texts)
        return [
            _row(f"{len(texts)} texts: with other token ids", [0], [embedded.n_other_ids], 0, source),
            _row("smallest cosine of a vector", [1], [embedded.min_cosine], 1 - allowed.cosine, source),
            _row("largest change of a similarity", [0], [embedded.max_change], allowed.change, source),
        ]
    pairs = [(SENTENCES[i % 5], text) for i, text in enumerate(texts or sample()[::2])]
    scored = compare_scores(model, reference, pairs)
    return [
        _row(f"{len(pairs)} pairs: with other token ids", [0], [scored.n_other_ids], 0, source),
        _row("largest change of P(yes)", [0], [scored.max_change], allowed.score, source),
    ]


@dataclass(frozen=True)
class Parity:
    """What a model's results are off torch's.

    Attributes:
        n_other_ids: how many texts or pairs have other token ids.
        min_cosine: the smallest cosine of a vector; NaN for pairs.
        max_change: the largest change of the similarity of two texts, or of a P(yes).
        max_raw_change: the largest change of l_yes - l_no; NaN for texts.
        worst: where in the list the text of the smallest cosine or the pair of the largest change is.
    """

    n_other_ids: int
    min_cosine: float
    max_change: float
    max_raw_change: float
    worst: int


def compare_vectors(embedder: Embedder, reference: Reference, texts: Sequence[str]) -> Parity:
    """Returns what an embedder's vectors are off torch's; every second text is a query.

    The reference reads the texts with the checkpoint's own tokenizer.
    """
    ours, ids, other = np.empty((len(texts), embedder.width), np.float32), [], 0
    for first, name in enumerate(("query", "document")):
        ours[first::2] = embedder.encode(list(texts[first::2]), prompt_name=name)
    for index, text in enumerate(texts):
        name = "document" if index % 2 else "query"
        ids.append(reference.text_ids(embedder.prompts.texts[name] + text))
        other += ids[-1] != embedder.token_ids(text, prompt_name=name).tolist()
    theirs = reference.embed(ids)
    quality = judged(theirs, ours, "embed")  # type: ignore[arg-type]
    cosines = (ours * theirs).sum(axis=1)
    return Parity(other, float(cosines.min()), quality.max_change, np.nan, int(cosines.argmin()))


def compare_scores(reranker: Reranker, reference: Reference, pairs: Sequence[tuple[str, str]]) -> Parity:
    """Returns what a reranker's scores are off torch's; see `compare_vectors`."""
    prompts = [reranker.template.prompt(*pair) for pair in pairs]
    manifest = reranker.file.manifest
    labels = manifest.labels if manifest and manifest.labels else RERANK_LABELS
    ids = [reference.pair_ids(prompt) for prompt in prompts]
    other = sum(a != reranker.token_ids(*pair).tolist() for a, pair in zip(ids, pairs, strict=True))
    ours = np.asarray(reranker.predict(list(pairs), raw_scores=True), np.float64)
    theirs = reference.score(ids, labels).astype(np.float64)
    changes = np.abs(1 / (1 + np.exp(-ours)) - 1 / (1 + np.exp(-theirs)))
    return Parity(other, np.nan, float(changes.max()), float(np.abs(ours - theirs).max()), int(changes.argmax()))


_NAMES = {
    "similarities": "cosines of queries × documents",
    "differences": "l_yes - l_no of query × documents",
    "query": "first numbers of a query",
    "document": "first numbers of a document",
}


def _check(model: Embedder | Reranker, known: Published) -> Check:
    allowed = tolerance(model.file.quant)
    if known.kind == "differences":
        most = known.rounding + allowed.difference * max(map(abs, known.values))
    else:
        most = known.rounding + allowed.similarity
    try:
        found = computed(model, known)
    except NonFiniteError:
        found = np.full(len(known.values), np.nan, np.float32)
    return _row(_NAMES[known.kind], known.values, found.tolist(), most, known.source)


def computed(model: Embedder | Reranker, known: Published) -> NDArray[np.float32]:
    """Returns what a model makes of the inputs of a published result, as a user would call it."""
    if isinstance(model, Reranker):
        pairs = [(query, document) for query in known.queries for document in known.documents]
        return np.asarray(model.predict(pairs, raw_scores=True), np.float32)
    if known.kind == "similarities":
        queries, documents = model.encode_query(list(known.queries)), model.encode_document(list(known.documents))
        return np.asarray(queries @ documents.T, np.float32).ravel()
    encode = model.encode_query if known.kind == "query" else model.encode_document
    vector: NDArray[np.float32] = encode((known.queries or known.documents)[0])
    return vector[: len(known.values)]


def _is_finite(model: Embedder | Reranker, text: str) -> bool:
    try:
        if isinstance(model, Embedder):
            model.encode_document(text)
        else:
            model.predict((text, text))
    except NonFiniteError:
        return False
    return True


def _row(name: str, expected: Sequence[float], found: Sequence[float], allowed: float, source: str) -> Check:
    off = float(np.abs(np.subtract(expected, found)).max())
    return Check(name, tuple(expected), tuple(found), off, allowed, source, bool(off <= allowed))
