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
        OSError: it is missing or does not load.
    """
    return ctypes.CDLL(str(LIBRARY))


def onednn_library() -> Path | None:
    """Returns where pip put oneDNN, which depends on how the environment was made; None where it is not installed."""
    try:
        files = distribution("onednn-cpu-gomp").files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == "libdnnl.so.3"), None)
