"""Everything that a conversion takes from a checkpoint, read once and found to fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .checkpoint import FixedRows, StoredTensor, open_tensors
from .config import Config
from .evidence import find_instruction, find_task, score_token_ids
from .metadata import model_name
from .rerank_template import find_rerank_template
from .tensors import CLASSIFIER, Tensor, classifier_labels, map_tensors, rerank_head
from .vocab import Vocabulary
from qsift.errors import ConversionError
from qsift.models import HEAD_WEIGHT, RERANK_LABELS, RerankTemplate, Task

Value = TypeVar("Value")


@dataclass(frozen=True)
class Source:
    """A checkpoint that can be converted.

    Attributes:
        folder: where it lies.
        name: what people call it.
        config: its config.json.
        task: what it is for.
        vocabulary: its tokens.
        tensors: what the GGUF will hold, in order; values still lie in the checkpoint.
        instruction: the instruction that it was saved with; None for the default.
        template: the rerank template that it came with; None for the released one.
        labels: what it calls the rows of its rerank head; see `Manifest`. Empty for an embedding model.
    """

    folder: Path
    name: str
    config: Config
    task: Task
    vocabulary: Vocabulary
    tensors: tuple[Tensor, ...]
    instruction: str | None
    template: RerankTemplate | None
    labels: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, task: Task | None) -> Source:
        """Returns the checkpoint in ``folder``.

        Raises:
            ConversionError: with every problem that could be found.
        """
        problems: list[str] = []

        def attempt(step: Callable[[], Value]) -> Value | None:
            try:
                return step()
            except ConversionError as error:
                problems.extend(error.problems)
                return None

        config = attempt(lambda: Config.read(folder))
        stored = attempt(lambda: open_tensors(folder)) if folder.is_dir() else None
        rows = config.vocab_size if config else None
        vocabulary = attempt(lambda: Vocabulary.read(folder, rows=rows)) if folder.is_dir() else None
        if config is None:
            raise ConversionError(problems)
        found_task = attempt(lambda: find_task(folder, config, task))
        instruction = attempt(lambda: find_instruction(folder)) if found_task == "embed" else None
        tensors = attempt(lambda: map_tensors(stored, config)) if stored else None
        template, labels = None, None
        if found_task == "rerank" and vocabulary:
            template = attempt(lambda: find_rerank_template(folder, config, vocabulary))
            labels = attempt(lambda: _score_labels(folder, stored, config, vocabulary)) if stored else None
            if labels and stored and tensors:
                head = attempt(lambda: rerank_head(stored, config, tuple(labels.values())))
                if head is not None:
                    tensors = (*tensors, Tensor(HEAD_WEIGHT, FixedRows(head)))
        if problems or not (found_task and vocabulary and tensors):
            raise ConversionError(problems)
        name, names = model_name(folder, config), tuple(labels or ())
        return cls(folder, name, config, found_task, vocabulary, tensors, instruction, template, names)


def _score_labels(
    folder: Path, stored: Mapping[str, StoredTensor], config: Config, vocabulary: Vocabulary
) -> dict[str, int]:
    """Returns what a reranker calls the rows that score, with their places in its head; see `rerank_head`."""
    found = score_token_ids(folder)
    if config.architecture == CLASSIFIER:
        if found is not None:
            raise ConversionError(
                ["modules.json has a LogitScore, but the model is a classifier, without such logits."]
            )
        return classifier_labels(stored, config)
    if found is None:
        return {label: vocabulary.id_of(label) for label in RERANK_LABELS}
    ids = found if found[1] is not None else found[:1]
    n_tokens = len(vocabulary.tokens)
    if len(set(map(str, ids))) < len(ids) or not all(type(index) is int and 0 <= index < n_tokens for index in ids):
        raise ConversionError(
            [
                f"LogitScore compares the tokens {found[0]!r} and {found[1]!r}; two ids from 0 to {n_tokens - 1} are "
                "needed, or null for the second. Set them in the config.json of the module."
            ]
        )
    return {vocabulary.text_of(index): index for index in ids}
