"""What a GGUF says about itself: the keys that qsift writes and reads.

Standard keys carry everything that other programs need; the ``qsift.`` keys carry what only we
know (the task, the prompts, the widths). Reading happens over a parsed header (`gguf_header`), so
this file touches neither files nor llama.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .prompts import (
    DOCUMENT,
    END_OF_TEXT,
    INSTRUCTION,
    QUERY,
    QUERY_INSTRUCTION,
    RELEASED_PROMPTS,
    RERANK_TEMPLATES,
    Prompts,
    RerankTemplate,
    field_of,
)
from .specs import MIN_DIM, TASKS, Task

ARCHITECTURE = "qwen3"
FORMAT = 2
"""Version of the ``qsift.`` keys; a reader refuses a larger one. Files of version 1 hold an instruction for queries,
and mean Qwen3-Embedding's own prompts and its end token."""

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
        prompts: what stands before the texts of an embedding model; None for a reranker.
        end_token: what ends them, "" for nothing; None for a reranker.
        min_dim: smallest MRL width; None for a reranker.
        instruction: default instruction for pairs; None for an embedding model, whose prompts hold it.
        template: name of the rerank template; None for an embedding model.
        parts: those of `RerankTemplate` where the template's name is `OWN_TEMPLATE`, else empty.
        labels: what the checkpoint calls the rows of a reranker's head, that of P(yes) first, and one where the score
            is a single logit; empty for yes and no.
    """

    task: Task
    quant: str
    prompts: Prompts | None = None
    end_token: str | None = None
    min_dim: int | None = None
    instruction: str | None = None
    template: str | None = None
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
            return cls(task, quant, RELEASED_PROMPTS, END_OF_TEXT, MIN_DIM)
        return cls(task, quant, instruction=QUERY_INSTRUCTION, template="card")

    def to_keys(self) -> dict[str, str | int | list[str]]:
        """Returns the ``qsift.`` keys to write."""
        fields = {
            "qsift.format": FORMAT,
            "qsift.task": self.task,
            "qsift.quant": self.quant,
            "qsift.prompts": json.dumps(self.prompts.texts, ensure_ascii=False) if self.prompts else None,
            "qsift.default_prompt_name": self.prompts.default if self.prompts else None,
            "qsift.end_token": self.end_token or None,
            "qsift.min_dim": self.min_dim,
            "qsift.instruction": self.instruction,
            "qsift.template": self.template,
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
        if keys["qsift.format"] not in range(1, FORMAT + 1):
            raise ValueError(
                f"it has version {keys['qsift.format']!r} of qsift's keys; this qsift reads {FORMAT}. Upgrade qsift."
            )
        task = keys.get("qsift.task")
        if task not in TASKS:
            raise ValueError(f"its key qsift.task is {task!r}; allowed are {', '.join(TASKS)}. Convert it again.")
        names = ("quant", "instruction", "template", "end_token", "prompts")
        values = {name: keys.get(f"qsift.{name}") for name in names}
        min_dim = keys.get("qsift.min_dim")
        if not all(isinstance(value, str | None) for value in values.values()) or not isinstance(min_dim, int | None):
            raise ValueError("one of its qsift keys has the wrong type. Convert it again.")
        quant, instruction = values["quant"] or "", values["instruction"]
        if task == "rerank":
            instruction = QUERY_INSTRUCTION if instruction is None else instruction
            return _reranker(keys, cls(task, quant, instruction=instruction, template=values["template"]))
        if values["prompts"] is None:
            prompts = RELEASED_PROMPTS if instruction is None else Prompts.instructed(instruction)
        else:
            prompts = _prompts(values["prompts"], keys.get("qsift.default_prompt_name"))
        # No GGUF writer keeps an empty text.
        end_token = END_OF_TEXT if keys["qsift.format"] == 1 else values["end_token"] or ""
        return cls(task, quant, prompts, end_token, min_dim)


def _prompts(written: str, default: object) -> Prompts:
    try:
        return Prompts.of(json.loads(written), default)
    except ValueError as error:
        raise ValueError(f"its key qsift.prompts cannot be read ({error}). Convert it again.") from error


def _reranker(keys: Mapping[str, Any], manifest: Manifest) -> Manifest:
    lists = [keys.get(f"qsift.{name}", []) for name in ("template_parts", "labels")]
    if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists):
        raise ValueError("one of its qsift keys has the wrong type. Convert it again.")
    parts, labels = map(tuple, lists)
    if manifest.template == OWN_TEMPLATE and not _is_whole(parts):
        raise ValueError("its key qsift.template_parts has no place for query and document. Convert it again.")
    return replace(manifest, parts=parts, labels=labels)


def named_template(name: str) -> RerankTemplate:
    """Returns one of `RERANK_TEMPLATES`; raises ValueError for a name that is not among them."""
    if name not in RERANK_TEMPLATES:
        raise ValueError(f"template is {name!r}; allowed are {', '.join(RERANK_TEMPLATES)}.")
    return RERANK_TEMPLATES[name]


def _is_whole(parts: tuple[str, ...]) -> bool:
    fields = [field_of(slot) for slot in parts[1::2]]
    return len(parts) % 2 == 1 and fields.count(DOCUMENT) == 1 and QUERY in fields
