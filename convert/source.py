"""Everything that a conversion takes from a checkpoint, read once and found to fit together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .checkpoint import FixedRows, open_tensors
from .config import Config
from .evidence import find_prompts, find_task, score_token_ids
from .metadata import model_name
from .tensors import Tensor, map_tensors, rerank_head
from .vocab import Vocabulary
from qsift.errors import ConversionError
from qsift.models import HEAD_WEIGHT, RERANK_LABELS, Prompts, Task

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
        prompts: what stands before the texts of an embedding model; None for a reranker.
    """

    folder: Path
    name: str
    config: Config
    task: Task
    vocabulary: Vocabulary
    tensors: tuple[Tensor, ...]
    prompts: Prompts | None

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
        prompts = attempt(lambda: find_prompts(folder)) if found_task == "embed" else None
        tensors = attempt(lambda: map_tensors(stored, config)) if stored else None
        if found_task == "rerank" and stored and tensors and vocabulary:
            attempt(lambda: _check_score_ids(folder, vocabulary))
            head = attempt(lambda: rerank_head(stored, config, vocabulary))
            if head is not None:
                tensors = (*tensors, Tensor(HEAD_WEIGHT, FixedRows(head)))
        if problems or not (found_task and vocabulary and tensors):
            raise ConversionError(problems)
        return cls(folder, model_name(folder, config), config, found_task, vocabulary, tensors, prompts)


def _check_score_ids(folder: Path, vocabulary: Vocabulary) -> None:
    due = tuple(vocabulary.id_of(label) for label in RERANK_LABELS)
    found = score_token_ids(folder)
    if found not in (None, due):
        raise ConversionError(
            [f"LogitScore compares the tokens {found}; Qwen3-Reranker's are {due}, {' and '.join(RERANK_LABELS)}."]
        )
