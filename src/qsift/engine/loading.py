"""From the facts of a model to an engine that runs it here, and to the memory that it will take."""

from __future__ import annotations

from .llama.engine import LlamaEngine
from .llama.library import gpu_layers
from .machine import available_memory
from .memory import file_bytes
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


def needed_memory(file: ModelFile, options: EngineOptions, *, n_tokens: int) -> int:
    """Returns the bytes that a model will add to this process, with texts of up to ``n_tokens``; loads nothing.

    Raises:
        ModelFileError: the file is gone or damaged.
    """
    repacked, mode = extra_buffers(options), accelerator_mode(options, file.block_types)
    return file_bytes(file, options, n_tokens=n_tokens, repacked=repacked, accel=mode)


def free_memory(options: EngineOptions) -> int | None:
    """Returns the bytes that models could take now; None where that is unknown, as it is of a GPU."""
    return None if gpu_layers(options) else available_memory()
