"""Which tensor of a checkpoint becomes which tensor of a GGUF, and every way not to fit `qsift.models`' rules.

This file does not know how a tensor is encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .checkpoint import Rows, listed
from .config import Config
from .vocab import Vocabulary
from qsift.errors import ConversionError
from qsift.models import RERANK_LABELS, weights

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
    return (HEAD, SCORE) if config.architecture == "Qwen3ForSequenceClassification" else (HEAD,)


def rerank_head(stored: Mapping[str, Rows], config: Config, vocabulary: Vocabulary) -> np.ndarray:
    """Returns the two rows that score, in the order of RERANK_LABELS: float32 (2, width).

    Raises:
        ConversionError: there is no head, or it is not one that these two rows can stand for.
    """
    tensors, _ = by_short_name(stored)
    if config.architecture == "Qwen3ForSequenceClassification":
        return _classifier_head(tensors, config)
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
    ids = [vocabulary.id_of(label) for label in RERANK_LABELS]
    rows = _rows(tensors[EMBEDDING] if tied or head is None else head, ids)
    if tied and head is not None and not np.array_equal(rows, _rows(head, ids), equal_nan=True):
        raise ConversionError(
            [
                "config.json says that lm_head.weight is the embedding matrix (tie_word_embeddings), "
                "but the two differ in the rows that score. Set tie_word_embeddings to what the training used."
            ]
        )
    return rows


def _rows(tensor: Rows, ids: list[int]) -> np.ndarray:
    return np.concatenate([tensor.read(index, index + 1) for index in ids])


def _classifier_head(tensors: Mapping[str, Rows], config: Config) -> np.ndarray:
    score, width = tensors.get(SCORE), config.hidden_size
    shape = score.shape if score else None
    if score and shape == (1, width):
        # A single logit is the difference yes − no: with a zero row beside it, softmax gives its sigmoid.
        return np.concatenate([score.read(0, 1), np.zeros((1, width), np.float32)])
    labels = config.raw.get("id2label")
    names = [str(labels.get(key)).lower() for key in ("0", "1")] if isinstance(labels, dict) else []
    if score and shape == (2, width) and sorted(names) == sorted(RERANK_LABELS):
        return _rows(score, [names.index(label) for label in RERANK_LABELS])
    raise ConversionError(
        [
            f"score.weight has the shape {shape} and id2label is {labels!r}. A classifier is converted with one row, "
            f"or with two rows that id2label in config.json calls {' and '.join(RERANK_LABELS)}; the width is {width}."
        ]
    )
