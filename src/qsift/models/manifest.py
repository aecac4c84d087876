"""What a GGUF says about itself: the keys that qsift writes and reads.

Standard keys carry everything that other programs need; the ``qsift.`` keys carry what only we
know (the task, the prompts, the widths). Reading happens over a parsed header (`gguf_header`), so
this file touches neither files nor llama.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .prompts import END_OF_TEXT, QUERY_INSTRUCTION, RELEASED_PROMPTS, Prompts
from .specs import MIN_DIM, TASKS, Task

ARCHITECTURE = "qwen3"
FORMAT = 2
"""Version of the ``qsift.`` keys; a reader refuses a larger one. Files of version 1 hold an instruction for queries,
and mean Qwen3-Embedding's own prompts and its end token."""

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
    """

    task: Task
    quant: str
    prompts: Prompts | None = None
    end_token: str | None = None
    min_dim: int | None = None
    instruction: str | None = None
    template: str | None = None

    @classmethod
    def for_task(cls, task: Task, quant: str) -> Manifest:
        """Returns the manifest of a released model or a fine-tune of one."""
        if task == "embed":
            return cls(task, quant, RELEASED_PROMPTS, END_OF_TEXT, MIN_DIM)
        return cls(task, quant, instruction=QUERY_INSTRUCTION, template="card")

    def to_keys(self) -> dict[str, str | int]:
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
            return cls(task, quant, instruction=instruction, template=values["template"])
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
