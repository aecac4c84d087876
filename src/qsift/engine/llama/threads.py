"""The threads that OpenMP keeps for a thread that computed: they end with the call.

libgomp keeps a pool for each thread that computed once, as long as that lives. As soon as all pools together have more
threads than there are cores, none of them spins at a barrier any more: where one thread had loaded a model and another
computed, a query took twice as long. Making a pool anew takes about 0.1 ms a call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from . import accelerator
from .accelerator import Mode
from .library import library

_SOFT = 1  # OpenMP's omp_pause_soft: threads go, settings stay


@contextmanager
def computing(mode: Mode | None) -> Iterator[None]:
    """Ends the threads that OpenMP made for this thread in the block, in which the plug-in computed in this mode."""
    try:
        yield
    finally:
        for pause in _pauses(mode is not None):
            pause(_SOFT)


@cache
def _pauses(with_plug_in: bool) -> list[Any]:
    """Returns the function of each OpenMP in use: the plug-in's may be another copy than llama.cpp's."""
    handles = [library()._lib, *([accelerator.load().handle] if with_plug_in else [])]
    found = [pause for handle in handles if (pause := getattr(handle, "omp_pause_resource_all", None))]
    addresses = {ctypes.cast(pause, ctypes.c_void_p).value or 0 for pause in found}
    # It keeps the interpreter's lock: getting that back from a busy thread takes longer than the call.
    return [ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int)(address) for address in addresses]
