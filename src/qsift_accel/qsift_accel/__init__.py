"""Where the plug-in for llama.cpp lies and what it was compiled for. It knows nothing of qsift."""

from __future__ import annotations

import ctypes
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ._build import GGML, LLAMA_CPP_PYTHON

__all__ = ["GGML", "LIBRARY", "LLAMA_CPP_PYTHON", "load", "onednn_library"]

LIBRARY = Path(__file__).parent / "libqsift_accel.so"
"""The shared library, to be given to ggml_backend_load."""


def load() -> ctypes.CDLL:
    """Returns the shared library; llama_cpp must be loaded before, because it takes ggml's functions from there.

    Raises:
        OSError: it, or oneDNN, is missing or does not load.
    """
    ctypes.CDLL(str(onednn_library()))  # by its soname, the plug-in finds it from here on
    return ctypes.CDLL(str(LIBRARY))


def onednn_library() -> Path:
    """Returns where pip put oneDNN, which depends on how the environment was made.

    Raises:
        OSError: it is missing.
    """
    name = "libdnnl.so.3"
    try:
        files = distribution("onednn-cpu-gomp").files or []
    except PackageNotFoundError as error:
        raise OSError("the package onednn-cpu-gomp is missing") from error
    for file in files:
        if file.name == name and (path := Path(str(file.locate()))).exists():
            return path
    raise OSError(f"{name} is missing from the package onednn-cpu-gomp")
