"""From a path or a name to the file of a model, which is fetched or converted where it is not on this machine."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from .names import ModelName
from .store import find
from qsift.errors import ModelFileError
from qsift.models import ModelFile, Task, wrong_task

logger = logging.getLogger("qsift")

BUNDLED = Path(__file__).parent / "demo"
"""Where the demo pair lies, a .gguf file for each name."""


def open_model(model: str | os.PathLike[str], task: Task | None = None) -> ModelFile:
    """Returns the facts of a GGUF.

    Args:
        model: its path, or a name as `names.ModelName` has them. What a name means is fetched or converted where it
            is not on this machine, and opens no socket where it is.
        task: what it is needed for; None leaves that open.

    Raises:
        UnknownModelError: neither a file nor anything that could be one, nor a model.
        ModelFileError: the file or folder is missing, or the file is damaged or for the other task.
        DownloadError: it is not on this machine and cannot be fetched.
        ConversionError: its checkpoint cannot be converted.
    """
    path = os.fspath(model)
    if not isinstance(path, str):
        raise TypeError(f"The model is of type {type(path).__name__}; a path as str or os.PathLike is needed.")
    if os.path.isfile(path) or path.lower().endswith(".gguf"):
        return ModelFile.open(path)
    name = ModelName.parse(path)
    if task and name.spec and name.spec.task != task:
        raise wrong_task(path, name.spec.task, task)
    if name.bundled:
        return ModelFile.open(BUNDLED / f"{name.repo}.gguf")
    if kept := find(name):
        return ModelFile.open(kept.path)
    if name.folder and not name.folder.exists():
        raise ModelFileError(path, "There is no such file or folder. Check the path, or pass a name (qsift models).")
    from .pulling import pull

    # A bar where a person looks on, unless the command line was told to be quiet.
    is_watched = sys.stderr is not None and sys.stderr.isatty() and logger.isEnabledFor(logging.WARNING)
    paths = pull(path, task=task, on_plan=lambda plan: logger.info("%s", plan), show_progress_bar=is_watched)
    return ModelFile.open(paths[0])
