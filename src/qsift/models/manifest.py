"""What a GGUF says about itself: the keys that qsift writes and reads.

Standard keys carry everything that other programs need; the ``qsift.`` keys carry what only we
know (the task, the prompts, the widths). Reading happens over a parsed header (`gguf_header`), so
this file touches neither files nor llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .prompts import (
    DOCUMENT,
    INSTRUCTION,
    QUERY,
    QUERY_INSTRUCTION,
    RERANK_TEMPLATES,
    RerankTemplate,
    field_of,
)
from .specs import MIN_DIM, TASKS, Task

ARCHITECTURE = "qwen3"
FORMAT = 1
"""Version of the ``qsift.`` keys; a reader refuses a larger one."""

OWN_TEMPLATE = "own"
"""The name of a template that stands in the file itself, in its parts. A qsift that is too old for it refuses it."""

POOLING_LAST = 3
POOLING_RANK = 4
"""llama.cpp's enum llama_pooling_type, as stored under ``qwen3.pooling_type``."""


@dataclass(frozen=True)
class Manifest:
    """The part of a GGUF's metadata that belongs to qsift.

    Attributes:
        task: "embed" or "rerank".
        quant: name of the quantisation, such as "q8_0".
        instruction: default instruction for queries or pairs.
        template: name of the rerank template; None for an embedding model.
        min_dim: smallest MRL width; None for a reranker.
        parts: those of `RerankTemplate` where the template's name is `OWN_TEMPLATE`, else empty.
        labels: what the checkpoint calls the rows of a reranker's head, that of P(yes) first, and one where the score
            is a single logit; empty for yes and no.
    """

    task: Task
    quant: str
    instruction: str = QUERY_INSTRUCTION
    template: str | None = None
    min_dim: int | None = None
    parts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def rerank_template(self) -> RerankTemplate:
        """A reranker's template, with its default instruction.

        Raises:
            ValueError: the template's name is not known.
        """
        if self.template == OWN_TEMPLATE:
            takes_instruction = any(field_of(slot) == INSTRUCTION for slot in self.parts[1::2])
            return RerankTemplate(self.parts, self.instruction if takes_instruction else None)
        return replace(named_template(self.template or "card"), instruction=self.instruction)

    @classmethod
    def for_task(cls, task: Task, quant: str) -> Manifest:
        """Returns the manifest of a released model or a fine-tune of one."""
        if task == "embed":
            return cls(task, quant, min_dim=MIN_DIM)
        return cls(task, quant, template="card")

    def to_keys(self) -> dict[str, str | int | list[str]]:
        """Returns the ``qsift.`` keys to write."""
        fields = {
            "qsift.format": FORMAT,
            "qsift.task": self.task,
            "qsift.quant": self.quant,
            "qsift.instruction": self.instruction,
            "qsift.template": self.template,
            "qsift.min_dim": self.min_dim,
            "qsift.template_parts": list(self.parts) or None,
            "qsift.labels": list(self.labels) or None,
        }
        return {key: value for key, value in fields.items() if value is not None}

    @classmethod
    def from_keys(cls, keys: Mapping[str, Any]) -> Manifest | None:
        """Returns what `to_keys` wrote, or None for a file that qsift did not make.

        Raises:
            ValueError: the keys are there but make no sense; the message is a sentence.
        """
        if "qsift.format" not in keys:
            return None
        if keys["qsift.format"] != FORMAT:
            raise ValueError(
                f"it has version {keys['qsift.format']!r} of qsift's keys; this qsift reads {FORMAT}. Upgrade qsift."
            )
        task = keys.get("qsift.task")
        if task not in TASKS:
            raise ValueError(f"its key qsift.task is {task!r}; allowed are {', '.join(TASKS)}. Convert it again.")
        manifest = cls(
            task=task,
            quant=keys.get("qsift.quant", ""),
            instruction=keys.get("qsift.instruction", QUERY_INSTRUCTION),
            template=keys.get("qsift.template"),
            min_dim=keys.get("qsift.min_dim"),
            parts=_texts(keys.get("qsift.template_parts", [])),
            labels=_texts(keys.get("qsift.labels", [])),
        )
        texts = (manifest.quant, manifest.instruction, manifest.template or "", *manifest.parts, *manifest.labels)
        if not all(isinstance(text, str) for text in texts) or not isinstance(manifest.min_dim, int | None):
            raise ValueError("one of its qsift keys has the wrong type. Convert it again.")
        if manifest.template == OWN_TEMPLATE and not _is_whole(manifest.parts):
            raise ValueError("its key qsift.template_parts has no place for query and document. Convert it again.")
        return manifest


def named_template(name: str) -> RerankTemplate:
    """Returns one of `RERANK_TEMPLATES`; raises ValueError for a name that is not among them."""
    if name not in RERANK_TEMPLATES:
        raise ValueError(f"template is {name!r}; allowed are {', '.join(RERANK_TEMPLATES)}.")
    return RERANK_TEMPLATES[name]


def _texts(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (None,)  # None is refused with other things that are no text


def _is_whole(parts: tuple[str, ...]) -> bool:
    fields = [field_of(slot) for slot in parts[1::2]]
    return len(parts) % 2 == 1 and fields.count(DOCUMENT) == 1 and QUERY in fields
