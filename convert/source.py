"""Everything that a conversion takes from a checkpoint, or from an adapter and its base, read once and found to fit."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from .adapter import merge
from .adapter_config import AdapterConfig, place_problem, refuse_adapter
from .checkpoint import FixedRows, Rows, open_tensors
from .config import CLASSIFIER, Config
from .evidence import find_prompts, find_task, score_token_ids
from .metadata import model_name
from .rerank_template import find_rerank_template
from .tensors import Tensor, classifier_labels, map_tensors, rerank_head
from .vocab import Vocabulary
from qsift.errors import ConversionError
from qsift.models import (
    HEAD_WEIGHT,
    OWN_TEMPLATE,
    RERANK_LABELS,
    RERANK_TEMPLATES,
    Manifest,
    Prompts,
    RerankTemplate,
    Task,
)

logger = logging.getLogger("qsift.convert")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Source:
    """A checkpoint that can be converted.

    Attributes:
        card: the folder with its model card.
        name: what people call it.
        config: its config.json.
        task: what it is for.
        vocabulary: its tokens.
        tensors: what the GGUF will hold, in order; values still lie in the checkpoint and the adapter.
        prompts: what stands before the texts of an embedding model; None for a reranker.
        template: the rerank template that it came with; None for the released one.
        labels: what it calls the rows of its rerank head; see `Manifest`. Empty for an embedding model.
    """

    card: Path
    name: str
    config: Config
    task: Task
    vocabulary: Vocabulary
    tensors: tuple[Tensor, ...]
    prompts: Prompts | None
    template: RerankTemplate | None
    labels: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, task: Task | None, base: Path | None = None) -> Source:
        """Returns the checkpoint in ``folder``, or the adapter there merged into the checkpoint in ``base``.

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

        _check_places(folder, base)
        checkpoint = base or folder

        def nearest(name: str) -> Path:
            return folder if (folder / name).exists() else checkpoint

        as_read = attempt(lambda: Config.read(checkpoint))
        settings = attempt(lambda: AdapterConfig.read(folder)) if base else None
        files = attempt(lambda: open_tensors(checkpoint)) if checkpoint.is_dir() else None
        rows = as_read.vocab_size if as_read else None
        tokenizer = nearest("tokenizer.json")
        vocabulary = attempt(lambda: Vocabulary.read(tokenizer, rows=rows)) if checkpoint.is_dir() else None
        if as_read is None:
            raise ConversionError(problems)
        merged = attempt(lambda: merge(folder, settings, files, as_read)) if settings and files else None
        stored, config = merged or (None if base else files, as_read)
        # Where the adapter makes a classifier, what its base was for no longer counts.
        evidence = nearest("modules.json") if config.architecture == as_read.architecture else folder
        found_task = attempt(lambda: find_task(evidence, config, task))
        prompts_folder = nearest("config_sentence_transformers.json")
        prompts = attempt(lambda: find_prompts(prompts_folder)) if found_task == "embed" else None
        tensors = attempt(lambda: map_tensors(stored, config)) if stored else None
        template, labels = None, None
        if found_task == "rerank" and vocabulary:
            template_folder = nearest("tokenizer_config.json")
            template = attempt(lambda: find_rerank_template(template_folder, config, vocabulary))
            labels = attempt(lambda: _score_labels(evidence, stored, config, vocabulary)) if stored else None
            if labels and stored and tensors:
                head = attempt(lambda: rerank_head(stored, config, tuple(labels.values())))
                if head is not None:
                    tensors = (*tensors, Tensor(HEAD_WEIGHT, FixedRows(head)))
        if problems or not (found_task and vocabulary and tensors):
            raise ConversionError(problems)
        if settings and base:
            _warn_of_another_base(settings, base)
        # A base's name is not its adapter's.
        name = model_name(folder, "" if base else str(config.raw.get("_name_or_path") or ""))
        names = tuple(labels or ())
        return cls(nearest("README.md"), name, config, found_task, vocabulary, tensors, prompts, template, names)

    def manifest(self, quant: str) -> Manifest:
        """Returns what a file in ``quant`` says of itself."""
        manifest = Manifest.for_task(self.task, quant)
        if self.task == "embed":
            return replace(manifest, prompts=self.prompts, end_token=self.vocabulary.end_token)
        if self.labels != RERANK_LABELS:
            manifest = replace(manifest, labels=self.labels)
        if self.template is None:
            return manifest
        parts = self.template.parts
        names = [name for name, known in RERANK_TEMPLATES.items() if known.parts == parts]
        manifest = replace(manifest, template=names[0] if names else OWN_TEMPLATE, parts=() if names else parts)
        instruction = self.template.instruction
        return manifest if instruction is None else replace(manifest, instruction=instruction)


def _check_places(folder: Path, base: Path | None) -> None:
    if base is None:
        refuse_adapter(folder)
    elif problem := place_problem(folder, base):
        raise ConversionError([problem])


def _warn_of_another_base(settings: AdapterConfig, base: Path) -> None:
    """Says so where the adapter and ``base`` fit by their shapes and go by different names."""
    trained = re.split(r"[/\\]", settings.base.rstrip("/"))[-1]
    if settings.base not in ("", str(base)) and trained.lower() != model_name(base).lower():
        logger.warning(
            "The adapter was trained on %r and is merged into %r. If that is not the same model, the result is wrong.",
            settings.base,
            str(base),
        )


def _score_labels(folder: Path, stored: Mapping[str, Rows], config: Config, vocabulary: Vocabulary) -> dict[str, int]:
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
