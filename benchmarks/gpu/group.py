"""What a group of rows of `measure` needs: its time and options, where rows go, and the GPU's memory."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from harness.workloads import Texts, texts_of
from models.random_weights import gguf
from numpy.typing import NDArray

from qsift import EngineOptions
from qsift.engine.llama import context as context_module

TELLING = re.compile(r"CUDA|ffload|buffer size|graph splits|flash|fused|failed|error|VRAM", re.I)
"""Lines of llama.cpp's log that say where something is computed."""


class Run:
    """What a group needs: the options, the time that is left, and where rows go."""

    def __init__(self, options: argparse.Namespace, group: str) -> None:
        self.options, self.group = options, group
        self.end = time.monotonic() + options.seconds
        self.mended = 0
        self.said: list[str] = []
        logger = logging.getLogger("qsift")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(_Telling(self.said))
        original = context_module.Context.empty

        def empty(context: context_module.Context, *, data: bool = False) -> None:
            self.mended += data
            original(context, data=data)

        context_module.Context.empty = empty  # type: ignore[method-assign, assignment]

    def write(self, name: str, **figures: Any) -> None:
        """Prints a row and appends it to the file."""
        write(self.options.out, self.group, name, **figures)

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Makes an exception of the block a row."""
        try:
            yield
        except Exception as error:  # whatever it is, the next row goes on
            self.write(name, error=f"{type(error).__name__}: {error}"[:500], said=self.said[-6:])

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return bool(time.monotonic() > self.end)

    def engine_options(self, **changes: Any) -> EngineOptions:
        """Returns the engine's options for the device."""
        return EngineOptions(**{"device": self.options.device, "accel": "off", **changes})

    def path(self, quant: str, task: Any = "embed") -> Path:
        """Returns a model's file."""
        return gguf(self.options.folder, task, self.options.shape, quant)

    def count(self, texts: int) -> int:
        """Returns how many texts a workload has at this scale."""
        return max(2, int(texts * self.options.scale))

    def workload(self, name: str) -> Texts:
        """Returns the texts of a workload: large ones, for a GPU."""
        if name == "u128":
            return texts_of([128] * self.count(2000))
        if name == "n8192":
            return texts_of([self.options.longest] * self.count(8))
        lengths = np.exp(np.random.default_rng(64).normal(np.log(82), 0.8, self.count(2000)))
        return texts_of(np.clip(np.round(lengths), 4, 383).astype(int).tolist())


class _Telling(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno > logging.DEBUG:  # llama.cpp's errors, at once: the last may be why it ends the process
            print(line, file=sys.stderr, flush=True)
        if TELLING.search(line) or record.levelno > logging.DEBUG:
            self.lines.append(line[:200])


def write(out: Path, group: str, name: str, **figures: Any) -> None:
    """Prints a row and appends it to the file."""
    line = json.dumps({"group": group, "name": name, **figures}, default=float)
    print(line, flush=True)
    with out.open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def memory_used() -> float | None:
    """Returns the MiB in use on the GPU, by all processes; None without one."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


class Memory:
    """The largest memory in use on the GPU beyond what was in use before, in MiB."""

    def __init__(self) -> None:
        self.before = self.most = memory_used() or 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            self.most = max(self.most, memory_used() or 0.0)

    @property
    def peak(self) -> float:
        """The MiB so far."""
        return self.most - self.before


def cosines(a: NDArray[Any], b: NDArray[Any]) -> dict[str, Any]:
    """Returns the smallest and the mean cosine of rows with rows, where the smallest is, and how many are NaN."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (np.float64(a), np.float64(b)))
    found = (a * b).sum(axis=1)
    finite = found[np.isfinite(found)]
    if not len(finite):
        return {"n": len(found), "not_finite": len(found)}
    return {
        "n": len(found),
        "min_cosine": float(finite.min()),
        "mean_cosine": float(finite.mean()),
        "worst": int(np.nanargmin(found)),
        "not_finite": int((~np.isfinite(found)).sum()),
    }


def timed(run: Callable[[], Any], repeat: int, until: float) -> list[float]:
    """Returns the seconds of up to ``repeat`` calls; no new one begins after ``until``."""
    found: list[float] = []
    while len(found) < repeat and (not found or time.monotonic() < until):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found
