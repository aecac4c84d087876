"""What a checkpoint was trained for, from evidence or from the caller; never from a name.

Evidence is what sentence-transformers writes beside the weights (modules.json and the folders that
it names) and the architecture in config.json.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import CLASSIFIER, Config, read_json, read_json_object
from qsift.errors import ConversionError
from qsift.models import RELEASED_PROMPTS, TASKS, Prompts, Task

_TASK_OF_MODULE: dict[str, Task] = {"Pooling": "embed", "LogitScore": "rerank"}
_HARMLESS = ("Transformer", "Normalize")
_ASK = "Say what it is with --task embed or --task rerank."


def find_task(folder: Path, config: Config, task: Task | None) -> Task:
    """Returns the task that the evidence and the caller agree on.

    Args:
        folder: the checkpoint.
        config: its config.json.
        task: what the caller says; None leaves it to the evidence.

    Raises:
        ConversionError: no evidence and no word of the caller, a contradiction, or a pooling or a
            module that cannot be converted.
    """
    evidence, problems = _evidence(folder, config)
    claims = sorted(set(evidence.values()) | ({task} if task else set()))
    if len(claims) > 1:
        reasons = [f"{reason} says {claim!r}" for reason, claim in evidence.items()]
        reasons += [f"--task says {task!r}"] if task else []
        problems.append(f"What the checkpoint is for is contradictory: {'; '.join(reasons)}.")
    if not claims and not problems:
        problems.append(f"Nothing in the checkpoint says whether it embeds or reranks (no modules.json). {_ASK}")
    if problems:
        raise ConversionError(problems)
    return claims[0]


def stated_task(folder: Path, config: Config) -> Task | None:
    """Returns the task that the checkpoint's own files state, or None where they state none.

    Raises:
        ConversionError: a contradiction, or a pooling or a module that cannot be converted.
    """
    return find_task(folder, config, None) if any(_evidence(folder, config)) else None


def _evidence(folder: Path, config: Config) -> tuple[dict[str, Task], list[str]]:
    evidence: dict[str, Task] = {}
    if config.architecture == CLASSIFIER:
        evidence["the architecture in config.json"] = "rerank"
    if not (folder / "modules.json").exists():
        return evidence, []
    problems = []
    for module in _modules(folder):
        kind = str(module.get("type")).rpartition(".")[2]
        if kind in _TASK_OF_MODULE:
            evidence[f"{kind} in modules.json"] = _TASK_OF_MODULE[kind]
        elif kind not in _HARMLESS:
            problems.append(
                f"modules.json has a module {kind!r}, which a GGUF cannot carry; "
                f"{', '.join((*_HARMLESS, *_TASK_OF_MODULE))} can be converted."
            )
        if kind == "Pooling":
            problems += _pooling_problems(folder, str(module.get("path")))
    return evidence, problems


def _modules(folder: Path) -> list[Mapping[str, Any]]:
    modules = read_json(folder / "modules.json")
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ConversionError(["modules.json is not a list of modules. Download it again."])
    return modules


def _pooling_problems(folder: Path, place: str) -> list[str]:
    path = folder / place / "config.json"
    if not os.path.exists(path):  # unlike Path.exists, it takes any nonsense for a path
        return [f"modules.json names the pooling in {place!r}, but {place}/config.json is missing. Download it."]
    pooling = read_json_object(path)
    chosen = [
        key.removeprefix("pooling_mode_") for key, on in pooling.items() if key.startswith("pooling_mode_") and on
    ]
    if isinstance(pooling.get("pooling_mode"), str):
        chosen.append(pooling["pooling_mode"])
    if chosen == ["lasttoken"]:
        return []
    return [
        f"The pooling in {place}/config.json is {' and '.join(chosen) or 'not given'}; Qwen3-Embedding's is lasttoken."
    ]


def module_folder(folder: Path, kind: str) -> Path | None:
    """Returns where a module of sentence-transformers has its settings, or None without such a module."""
    if not (folder / "modules.json").exists():
        return None
    places = [m.get("path") for m in _modules(folder) if str(m.get("type")).rpartition(".")[2] == kind]
    return folder / str(places[0]) if places else None


def score_token_ids(folder: Path) -> tuple[Any, Any] | None:
    """Returns what a LogitScore module says of its true and its false token, or None where it says nothing."""
    place = module_folder(folder, "LogitScore")
    if place is None or not os.path.exists(place / "config.json"):  # unlike Path.exists, it takes any nonsense
        return None
    settings = read_json_object(place / "config.json")
    return settings.get("true_token_id"), settings.get("false_token_id")


def find_prompts(folder: Path) -> Prompts:
    """Returns what stands before texts to embed: what the checkpoint says, or Qwen3-Embedding's where it says nothing.

    Raises:
        ConversionError: config_sentence_transformers.json is malformed.
    """
    path = folder / "config_sentence_transformers.json"
    if not path.exists():
        return RELEASED_PROMPTS
    config = read_json_object(path)
    try:
        return Prompts.of(config.get("prompts", {}), config.get("default_prompt_name"))
    except ValueError as error:
        raise ConversionError([f"In {path.name} {error} Correct it, or download it again."]) from error


def check_task(task: str | None) -> None:
    """Raises ValueError unless ``task`` is None or one of the tasks."""
    if task is not None and task not in TASKS:
        raise ValueError(f"task is {task!r}; allowed are {', '.join(TASKS)}, or None to go by the checkpoint.")
