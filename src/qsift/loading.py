"""From a path to an engine that runs it."""

from __future__ import annotations

import os
from pathlib import Path

from .engine import EngineOptions
from .errors import UnknownModelError
from .llama import LlamaEngine
from .model_file import ModelFile
from .selfcheck import extra_buffers
from .specs import SPECS, Task

BUNDLED = Path(__file__).parent / "demo"
"""Where the demo pair lies, a .gguf file for each name."""


def load_engine(
    model: str | os.PathLike[str], task: Task, options: EngineOptions | None = None
) -> tuple[ModelFile, LlamaEngine]:
    """Returns the facts of a GGUF and an engine that runs it; the caller closes the engine.

    Raises:
        UnknownModelError: neither a file nor anything that looks like one.
        ModelFileError: the file cannot be used for ``task``.
        EngineError: llama.cpp cannot run it as the options demand.
    """
    file = open_model(model)
    file.require(task)
    options = options or EngineOptions()
    return file, LlamaEngine(file, task, options, extra_buffers=extra_buffers(options))


def open_model(model: str | os.PathLike[str]) -> ModelFile:
    """Returns the facts of a GGUF; ``model`` is its path, or the name of a bundled model.

    Raises:
        UnknownModelError, ModelFileError: as `load_engine`.
    """
    path = os.fspath(model)
    if not isinstance(path, str):
        raise TypeError(f"The model is of type {type(path).__name__}; a path as str or os.PathLike is needed.")
    spec = SPECS.get(path.lower())
    if spec and spec.repo is None and not os.path.isfile(path):
        return ModelFile.open(BUNDLED / f"{spec.name}.gguf")
    if os.path.exists(path) or path.endswith(".gguf") or os.sep in path:
        return ModelFile.open(path)
    bundled = [spec.name for spec in SPECS.values() if spec.repo is None]
    advice = None
    if spec:
        advice = f"Convert a checkpoint of {spec.repo} with: qsift convert FOLDER. Then pass the .gguf file."
    raise UnknownModelError(path, bundled, advice=advice)
