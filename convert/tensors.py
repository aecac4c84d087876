"""Which tensor of a checkpoint becomes which tensor of a GGUF, and every way not to fit `qsift.models`' rules.

This file does not know how a tensor is encoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .checkpoint import Rows, listed
from .config import CLASSIFIER, Config
from qsift.errors import ConversionError
from qsift.models import weights

EMBEDDING, HEAD, SCORE = "embed_tokens.weight", "lm_head.weight", "score.weight"


@dataclass(frozen=True)
class Tensor:
    """A tensor on its way into a GGUF.

    Attributes:
        name: its name in the GGUF.
        rows: where its values come from.
    """

    name: str
    rows: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes as torch has them."""
        return self.rows.shape


def map_tensors(stored: Mapping[str, Rows], config: Config) -> tuple[Tensor, ...]:
    """Returns the tensors of the GGUF in the order of its file, without any output head.

    An embedding model has no use for one, and of a reranker's only two rows are kept (`rerank_head`).

    Raises:
        ConversionError: tensors are missing, surplus or of another shape.
    """
    by_name, problems = by_short_name(stored)
    expected = {weight.source: weight for weight in weights(config)}
    missing = [name for name in expected if name not in by_name]
    surplus = [name for name in by_name if name not in expected and name not in _optional(config)]
    if missing:
        problems.append(f"{len(missing)} tensors are missing: {listed(missing)}. Download the checkpoint again.")
    if surplus:
        problems.append(
            f"{len(surplus)} tensors have no place in a Qwen3 of {config.num_hidden_layers} layers: {listed(surplus)}."
        )
    for name, due in expected.items():
        if name in by_name and by_name[name].shape != due.shape:
            problems.append(f"{name} has the shape {by_name[name].shape}; {due.shape} follows from config.json.")
    if problems:
        raise ConversionError(problems)
    return tuple(Tensor(due.name, by_name[name]) for name, due in expected.items())


def by_short_name(stored: Mapping[str, Rows]) -> tuple[dict[str, Rows], list[str]]:
    """Returns the tensors by name without "model.", which some checkpoints have and some have not; and names twice."""
    by_name: dict[str, Rows] = {}
    problems = []
    for name, tensor in stored.items():
        short = name.removeprefix("model.")
        if short in by_name:
            problems.append(f"{short} stands in the checkpoint twice, with and without 'model.' before it.")
        by_name[short] = tensor
    return by_name, problems


def _optional(config: Config) -> tuple[str, ...]:
    return (HEAD, SCORE) if config.architecture == CLASSIFIER else (HEAD,)


def rerank_head(stored: Mapping[str, Rows], config: Config, ids: tuple[int, ...]) -> np.ndarray:
    """Returns the two rows that score, in the order of RERANK_LABELS: float32 (2, width).

    A single logit is the difference yes - no: with a row of zeros beside it, softmax gives its sigmoid.

    Args:
        stored: the checkpoint's tensors.
        config: its config.json.
        ids: the rows of yes and no in the vocabulary's head or in a classifier's, or the one row of a single logit.

    Raises:
        ConversionError: there is no head, or it is not one that these two rows can stand for.
    """
    tensors, _ = by_short_name(stored)
    if config.architecture == CLASSIFIER:
        return _with_zeros(_rows(_classifier_rows(tensors, config), ids))
    tied, head = config.tie_word_embeddings, tensors.get(HEAD)
    if head is None and not tied:
        raise ConversionError(
            [
                "lm_head.weight is missing, and config.json says that the head is not the embedding matrix "
                "(tie_word_embeddings is false). Without it every score would be wrong: download the checkpoint again."
            ]
        )
    due = (config.vocab_size, config.hidden_size)
    if head is not None and head.shape != due:
        raise ConversionError([f"lm_head.weight has the shape {head.shape}; {due} follows from config.json."])
    rows = _rows(tensors[EMBEDDING] if tied or head is None else head, ids)
    if tied and head is not None and not np.array_equal(rows, _rows(head, ids), equal_nan=True):
        raise ConversionError(
            [
                "config.json says that lm_head.weight is the embedding matrix (tie_word_embeddings), "
                "but the two differ in the rows that score. Set tie_word_embeddings to what the training used."
            ]
        )
    return _with_zeros(rows)


def _with_zeros(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.zeros((2 - len(rows), rows.shape[1]), np.float32)])


def _rows(tensor: Rows, ids: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([tensor.read(index, index + 1) for index in ids])


def _classifier_rows(tensors: Mapping[str, Rows], config: Config) -> Rows:
    score, width = tensors.get(SCORE), config.hidden_size
    if score is None or len(score.shape) != 2 or score.shape[1] != width:
        found = f"has the shape {score.shape}" if score else "is missing"
        raise ConversionError([f"{SCORE} {found}; a row of {width} for each label is needed. Download it again."])
    return score


_NEGATIVE_AND_POSITIVE = (
    ("no", "yes"),
    ("false", "true"),
    ("irrelevant", "relevant"),
    ("not_relevant", "relevant"),
    ("negative", "positive"),
    ("0", "1"),
    ("label_0", "label_1"),
)
"""Names of a classifier's two labels. The last are transformers' own: there the second is the positive, as everywhere
in two-class models whose labels nobody named."""


def classifier_labels(stored: Mapping[str, Rows], config: Config) -> dict[str, int]:
    """Returns the labels of a classifier with their rows, that of P(yes) first: two, or one for a single logit.

    Raises:
        ConversionError: no rows, another number of them, or two of which nobody can say which means yes.
    """
    n_rows = _classifier_rows(by_short_name(stored)[0], config).shape[0]
    named = config.raw.get("id2label") or {str(i): f"LABEL_{i}" for i in range(n_rows)}
    labels = [str(named.get(str(i))) for i in range(n_rows)] if isinstance(named, dict) else []
    if n_rows == 1:
        return {labels[0] if labels else "LABEL_0": 0}
    plain = [re.sub("[ -]", "_", label.lower()) for label in labels]
    for pair in _NEGATIVE_AND_POSITIVE:
        if sorted(plain) == sorted(pair):
            yes = plain.index(pair[1])
            return {labels[yes]: yes, labels[1 - yes]: 1 - yes}
    known = ", ".join("/".join(pair) for pair in _NEGATIVE_AND_POSITIVE)
    raise ConversionError(
        [
            f"{SCORE} has {n_rows} rows, and id2label in config.json calls them {named!r}. A reranker has one, or two "
            f"of which the names say which means yes: {known}. Name them so if they mean that."
        ]
    )
