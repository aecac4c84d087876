"""What a checkpoint is for, from what its files say; never from its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qsift.specs import Task

from .checkpoint import read_json


def decide_task(folder: Path, asked: Task | None, problems: list[str]) -> Task | None:
    """Returns the task that the checkpoint's modules.json shows or that the caller names.

    Adds to ``problems`` where the two disagree, where neither says anything, and where an
    embedding model pools otherwise than by its last token.
    """
    kinds = _module_kinds(folder, problems)
    shown: Task | None = None
    if "LogitScore" in kinds:
        shown = "rerank"
    elif "Pooling" in kinds:
        shown = "embed"
        _check_pooling(folder / kinds["Pooling"], problems)
    if asked and shown and asked != shown:
        problems.append(f"modules.json shows the task {shown!r}, but {asked!r} is asked for. Leave the task out.")
    if not asked and not shown:
        problems.append(
            "Nothing in the checkpoint says what it is for (no modules.json with a Pooling or LogitScore module). "
            "Say it with task='embed' or task='rerank' (--task)."
        )
    return asked or shown


def _module_kinds(folder: Path, problems: list[str]) -> dict[str, str]:
    """Returns the folders of a sentence-transformers model by the class that reads them."""
    path = folder / "modules.json"
    if not path.exists():
        return {}
    try:
        modules: Any = json.loads(path.read_text("utf-8"))
        return {str(m["type"]).rpartition(".")[2]: str(m.get("path", "")) for m in modules}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        problems.append(f"modules.json is not the list of modules that sentence-transformers writes ({error!r}).")
        return {}


def _check_pooling(folder: Path, problems: list[str]) -> None:
    if not (folder / "config.json").exists():
        return
    config = read_json(folder / "config.json", problems)
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if isinstance(config.get("pooling_mode"), str):
        modes.append(f"pooling_mode_{config['pooling_mode']}")
    if modes and modes != ["pooling_mode_lasttoken"]:
        problems.append(f"{folder.name}/config.json pools by {', '.join(modes)}; Qwen3-Embedding takes the last token.")
