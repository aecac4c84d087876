"""Where llama.cpp leaves a sequence's row: in a hidden state, behind a file's own head, among the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .library import LlamaTokenizer, library
from qsift.models import RERANK_LABELS, ModelFile, Task


class Reader:
    """Where a sequence's row is found after its last token was decoded.

    Attributes:
        pooling: llama.cpp's pooling type to decode with.
        embeddings: whether the context gives embeddings, or the vocabulary's logits.
        width: numbers of a row.
    """

    pooling: int
    embeddings: bool = True
    width: int

    def row(self, lib: Any, context: Any, sequence: int, index: int) -> NDArray[np.float32]:
        """Returns the row of a sequence, whose last token stands at ``index`` in the last call."""
        raise NotImplementedError


class _HiddenState(Reader):
    """The final hidden state of the last token."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.pooling = library().LLAMA_POOLING_TYPE_LAST

    def row(self, lib: Any, context: Any, sequence: int, index: int) -> NDArray[np.float32]:
        state: NDArray[np.float32] = np.ctypeslib.as_array(
            lib.llama_get_embeddings_seq(context, sequence), (self.width,)
        ).copy()
        return state


class _Labels(Reader):
    """Logarithms of the probabilities that the file's own head gives yes and no."""

    width = 2

    def __init__(self, labels: Sequence[str]) -> None:
        self._order = [labels.index(label) for label in RERANK_LABELS]
        self.pooling = library().LLAMA_POOLING_TYPE_RANK

    def row(self, lib: Any, context: Any, sequence: int, index: int) -> NDArray[np.float32]:
        # For qwen3, RANK ends in a softmax already. The floor keeps a probability that underflowed
        # from becoming -inf; it stands for a difference of 87 and more.
        values = np.ctypeslib.as_array(lib.llama_get_embeddings_seq(context, sequence), (2,))
        logits: NDArray[np.float32] = np.log(np.maximum(values, np.finfo(np.float32).tiny))[self._order]
        return logits


class _VocabularyLogits(Reader):
    """The logits of the words yes and no in the vocabulary's head."""

    width = 2
    embeddings = False

    def __init__(self, ids: Sequence[int], n_vocab: int) -> None:
        self._ids, self._n_vocab = list(ids), n_vocab
        self.pooling = library().LLAMA_POOLING_TYPE_NONE

    def row(self, lib: Any, context: Any, sequence: int, index: int) -> NDArray[np.float32]:
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, index), (self._n_vocab,))
        picked: NDArray[np.float32] = logits[self._ids]
        return picked


def reader(file: ModelFile, task: Task, tokenizer: LlamaTokenizer) -> Reader:
    """Returns how the rows of a file are read for a task."""
    if task == "embed":
        return _HiddenState(file.width)
    if file.score_source == "labels":
        return _Labels(file.labels)
    return _VocabularyLogits([tokenizer.word_id(label) for label in RERANK_LABELS], file.n_vocab)
