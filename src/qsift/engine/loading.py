"""From the facts of a model to an engine that runs it here."""

from __future__ import annotations

from .llama.engine import LlamaEngine
from .protocol import EngineOptions
from .selfcheck import accelerator_mode, extra_buffers
from qsift.models import ModelFile, Task


def load_engine(file: ModelFile, task: Task, options: EngineOptions | None = None) -> LlamaEngine:
    """Returns an engine that runs a model; the caller closes it.

    Raises:
        ModelFileError: the file cannot be used for ``task``.
        EngineError: llama.cpp cannot run it as the options demand.
    """
    file.require(task)
    options = options or EngineOptions()
    repacked, mode = extra_buffers(options), accelerator_mode(options, file.block_types)
    return LlamaEngine(file, task, options, extra_buffers=repacked, accel=mode)
