"""Whether llama.cpp's repacked weights, and the accelerator, are safe on this machine.

ggml's AMX kernels, built by some compilers, end the process at the first quantised product (GCC 12
drops the stores of the tile configuration; upstream's PR 26954). The user would see nothing but
"Segmentation fault". So where AMX could be used, a child process runs a tiny model with and without
the repacked weights; a child that dies or disagrees decides against them. Another child does the same
for the accelerator. The answers are kept in the cache folder, for one build on one CPU.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .llama.accelerator import Declined, Mode, choose, files_of_package, require_package, wish
from .llama.accelerator import load as load_accelerator
from .llama.engine import LlamaEngine
from .llama.library import build_info, library_folder, version
from .machine import cache_folder, cpu_has_amx, cpu_name
from .protocol import EngineOptions
from qsift.models import ModelFile

logger = logging.getLogger("qsift.selfcheck")

MODEL = Path(__file__).parent / "selfcheck.gguf"
"""A model of two blocks whose weights are of all the types that AMX kernels exist for."""

Subject = Literal["repacked", "accelerator"]
"""What is checked: llama.cpp's repacked weights, or the accelerator in each mode that can compute here."""

_TIMEOUT = 120
_LEAST_COSINE = 0.98
_WINDOWS_CRASHES = (0xC0000005, 0xC000001D)  # access violation, illegal instruction


@dataclass(frozen=True)
class SelfCheck:
    """The answer of one self-check.

    Attributes:
        safe: whether repacked weights may be used.
        reason: a sentence.
        fingerprint: of the build and the CPU that the answer holds for.
    """

    safe: bool
    reason: str
    fingerprint: str


def extra_buffers(options: EngineOptions) -> bool:
    """Returns whether llama.cpp may repack weights: as told, or as the self-check says where AMX is.

    That they may not is logged once for a build, when it is found out.
    """
    if options.extra_buffers is not None:
        return options.extra_buffers
    if not amx_is_possible():
        return True
    if kept := _kept("repacked"):
        return kept.safe
    check = self_check()
    if not check.safe:
        logger.warning("AMX kernels stay off: %s Run 'qsift doctor' for the remedy.", check.reason)
    return check.safe


def accelerator_mode(options: EngineOptions, types: Collection[str] = ()) -> Mode | None:
    """Returns the accelerator's mode as the options, the CPU and the self-check allow it; None: without it.

    A wish that cannot be granted is logged. The plug-in is loaded here only after a child has run it.

    Args:
        options: the wish among them, and the device.
        types: of the file's block weights; see `accelerator.choose`.

    Raises:
        ValueError: as `accelerator.wish`.
    """
    word = wish(options)
    if word == "off":
        return None
    try:
        require_package()
        check = self_check("accelerator")
        if not check.safe:
            raise Declined(check.reason)
        return choose(word, types)
    except Declined as reason:
        level = logging.DEBUG if word == "auto" else logging.WARNING
        logger.log(level, "The accelerator stays off: %s", reason)
        return None


def amx_is_possible() -> bool:
    """Returns whether the CPU reports AMX or the build was made for it."""
    return cpu_has_amx() or "AMX_INT8 = 1" in build_info()


def self_check(subject: Subject = "repacked", *, again: bool = False, command: list[str] | None = None) -> SelfCheck:
    """Returns the answer for this build and CPU, from the cache folder or from a child process.

    Args:
        subject: what to check.
        again: run the child although an answer is kept.
        command: what to run instead of the check itself; for trying out a child that dies.
    """
    if not again and (kept := _kept(subject)):
        return kept
    verdict, reason = _ask_child(
        command or [sys.executable, "-c", f"from qsift.engine.selfcheck import child; child({subject!r})"]
    )
    check = SelfCheck(verdict is True, reason, _fingerprint(subject))
    if verdict is not None:
        _write(check)
    return check


def child(subject: Subject) -> None:
    """Runs in the child process: prints the smallest cosine between plain weights and the others."""
    file = ModelFile.open(MODEL)
    generator = np.random.default_rng(0)
    # One token takes the vector kernels, more than a tile's rows take the tiled ones.
    sequences = [generator.integers(0, 256, n).astype(np.int32) for n in (1, 2, 17, 70)]

    def vectors(*, repacked: bool = False, accel: Mode | None = None) -> NDArray[np.float32]:
        engine = LlamaEngine(file, "embed", EngineOptions(device="cpu"), extra_buffers=repacked, accel=accel)
        rows = np.vstack([engine.decode([ids]) for ids in sequences])
        if engine.accel != accel:
            raise SystemExit(f"The accelerator fails in the mode {accel}.")
        engine.close()
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    plain = vectors()
    if subject == "repacked":
        others = [vectors(repacked=True)]
    else:
        others = [vectors(accel=mode) for mode in load_accelerator().usable_modes()]
    cosine = min((float(np.min(np.sum(plain * other, axis=1))) for other in others), default=1.0)
    print(f"cosine={cosine:.6f}", flush=True)


def _ask_child(command: list[str]) -> tuple[bool | None, str]:
    """Returns the child's verdict and a sentence; None where the child could not be asked, which is not kept."""
    # The child must find the same qsift and llama_cpp as this process, however it found them.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"The self-check did not finish ({error})."
    if result.returncode < 0 or result.returncode in _WINDOWS_CRASHES:
        return False, f"The self-check crashed (exit code {result.returncode}): this build is faulty."
    if result.returncode > 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        return None, f"The self-check could not run: {last}"
    try:
        cosine = float(result.stdout.strip().rpartition("cosine=")[2])
    except ValueError:
        return None, f"The self-check answered {result.stdout[-100:]!r}."
    if not cosine >= _LEAST_COSINE:
        return False, f"The self-check gives other vectors than plain kernels (cosine {cosine:.3f})."
    return True, f"The self-check passed (cosine {cosine:.6f})."


def _fingerprint(subject: Subject) -> str:
    """Returns a digest of all that the answer depends on."""
    libraries = sorted(Path(library_folder()).glob("*ggml*"))
    if subject == "accelerator":
        libraries += files_of_package()
    held = os.environ.get("QSIFT_ACCEL_ISA", "")
    facts = [subject, version(), build_info(), cpu_name(), str(cpu_has_amx()), held]
    facts += [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in libraries]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _place(fingerprint: str) -> Path:
    return cache_folder() / f"selfcheck-{fingerprint}.json"


def _kept(subject: Subject) -> SelfCheck | None:
    fingerprint = _fingerprint(subject)
    try:
        kept = SelfCheck(**json.loads(_place(fingerprint).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return kept if kept.fingerprint == fingerprint and isinstance(kept.safe, bool) else None


def _write(check: SelfCheck) -> None:
    place = _place(check.fingerprint)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=place.parent, prefix=place.name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(check), file)
        os.replace(scratch, place)
    except OSError as error:
        logger.warning("The self-check's answer could not be kept in %s (%s); it runs at every start.", place, error)
