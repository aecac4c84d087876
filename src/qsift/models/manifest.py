"""What a GGUF says about itself: the keys that qsift writes and reads.

Standard keys carry everything that other programs need; the ``qsift.`` keys carry what only we
know (the task, the prompts, the widths). Reading happens over a parsed header (`gguf_header`), so
this file touches neither files nor llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .prompts import QUERY_INSTRUCTION
from .specs import MIN_DIM, TASKS, Task

ARCHITECTURE = "qwen3"
FORMAT = 1
"""Version of the ``qsift.`` keys; a reader refuses a larger one."""

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
    """

    task: Task
    quant: str
    instruction: str = QUERY_INSTRUCTION
    template: str | None = None
    min_dim: int | None = None

    @classmethod
    def for_task(cls, task: Task, quant: str) -> Manifest:
        """Returns the manifest of a released model or a fine-tune of one."""
        if task == "embed":
            return cls(task, quant, min_dim=MIN_DIM)
        return cls(task, quant, template="card")

    def to_keys(self) -> dict[str, str | int]:
        """Returns the ``qsift.`` keys to write."""
        fields = {
            "qsift.format": FORMAT,
            "qsift.task": self.task,
            "qsift.quant": self.quant,
            "qsift.instruction": self.instruction,
            "qsift.template": self.template,
            "qsift.min_dim": self.min_dim,
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
        )
        texts = (manifest.quant, manifest.instruction, manifest.template or "")
        if not all(isinstance(text, str) for text in texts) or not isinstance(manifest.min_dim, int | None):
            raise ValueError("one of its qsift keys has the wrong type. Convert it again.")
        return manifest
