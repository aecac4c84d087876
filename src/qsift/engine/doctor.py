"""What this installation is, and what would make it faster: facts in, advice out.

`examine` asks the machine and llama.cpp; `advise` is pure. Every figure was measured; nothing is
estimated.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np

from .llama import accelerator
from .llama.accelerator import Declined, Mode
from .llama.library import build_info, supports_gpu, version
from .machine import cache_folder, cpu_has_amx, cpu_info, cpu_name, physical_cores
from .protocol import EngineOptions
from .selfcheck import SelfCheck, accelerator_mode, amx_is_possible, self_check
from qsift.errors import EngineError

REBUILD = "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
# Without CMAKE_ARGS, ggml compiles for the machine it is compiled on, unless something in the environment says no.
REBUILD_NATIVE = f'CMAKE_ARGS="-DGGML_NATIVE=ON" {REBUILD}'
REBUILD_CLANG = f"CC=clang-19 CXX=clang++-19 {REBUILD}"
_WHEEL = (
    "pip install --force-reinstall llama-cpp-python --extra-index-url https://abetlen.github.io/llama-cpp-python/whl/"
)
GPU_WHEELS = {"CUDA": f"{_WHEEL}cu124", "Metal": f"{_WHEEL}metal"}

FEATURES = {
    "avx2": "AVX2",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512_vbmi": "AVX512_VBMI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
}
"""What a matrix product can use: name in /proc/cpuinfo, name in llama.cpp's build line."""

MEASURED = {
    "AMX_INT8": {"Q8_0": 467, "Q6_K": 325},
    "AVX512_VNNI": {"Q8_0": 193, "Q6_K": 366},
    "AVX_VNNI": {"Q8_0": 156, "Q6_K": 221},
    "AVX2": {"Q8_0": 148, "Q6_K": 204},
}
"""Tokens a second of the 0.6B shape on two cores, 16 texts of 128 tokens; the best instruction set first."""


PACKED: dict[Mode, int] = {"exact": 495_452_160, "bf16": 880_803_840, "int8": 443_154_432}
"""Bytes that the accelerator packs the block weights of the 0.6B shape into."""


@dataclass(frozen=True)
class Acceleration:
    """What the package qsift-accel does here.

    Attributes:
        default: the mode that "auto" comes to; None for llama.cpp's own kernels.
        modes: those that the CPU gains from and that can compute; without oneDNN, exact alone.
        kernels: the best of the CPU's instruction sets, such as "AVX512_VNNI"; None where it is not loaded.
        onednn: oneDNN's version; None where it is missing, or as above.
        reason: why it is not loaded, or what the self-check said.
        onednn_problem: why oneDNN cannot be used, where bf16 would gain or int8 is asked for; None elsewhere.
    """

    default: Mode | None
    modes: tuple[Mode, ...]
    kernels: str | None
    onednn: str | None
    reason: str
    onednn_problem: str | None = None

    def __str__(self) -> str:
        if self.kernels is None:
            return f"off: {self.reason}"
        parts = [
            f"{self.default or 'off'} by default",
            self.kernels,
            f"oneDNN {self.onednn}" if self.onednn else "without oneDNN",
        ]
        sizes = ", ".join(f"{mode} {PACKED[mode] / 1e6:.0f} MB" for mode in self.modes)
        return ", ".join(parts) + (f"; packed, a 0.6B model takes: {sizes}" if sizes else "; this CPU gains nothing")


@dataclass(frozen=True)
class Installation:
    """All that advice depends on.

    Attributes:
        llama_cpp_python: its version; None where it does not load.
        python, numpy: versions.
        system: operating system and processor architecture.
        cpu: the processor's name.
        cpu_features: what the CPU reports, in llama.cpp's words; None where the system does not tell.
        build_features: what llama.cpp was compiled for.
        gpu: whether this build has GPU support and finds a GPU.
        gpu_seen: "CUDA" or "Metal" where the machine has such a GPU, whatever the build.
        threads: the default number of threads, which is that of the physical cores this process may use.
        logical_cpus: CPUs that the system counts.
        amx_reported: whether the CPU reports AMX.
        amx_possible: whether CPU or build make AMX kernels possible, so that the self-check is needed.
        self_check: its answer; None where it was not run.
        accelerator: what qsift-accel does; None where llama.cpp does not load.
        cache_folder: where small files are kept that can be lost.
        problem: why llama.cpp does not load; None where it does.
    """

    llama_cpp_python: str | None
    python: str
    numpy: str
    system: str
    cpu: str
    cpu_features: tuple[str, ...] | None
    build_features: tuple[str, ...]
    gpu: bool
    gpu_seen: str | None
    threads: int
    logical_cpus: int
    amx_reported: bool
    amx_possible: bool
    self_check: SelfCheck | None
    accelerator: Acceleration | None
    cache_folder: str
    problem: str | None = None

    @property
    def repacked_weights(self) -> bool:
        """Whether models run with repacked weights, AMX kernels included."""
        return not self.amx_possible or (self.self_check is not None and self.self_check.safe)

    @property
    def self_check_sentence(self) -> str:
        """What the self-check said, or why there was none."""
        if self.self_check is not None:
            return self.self_check.reason
        return "not run: llama.cpp does not load" if self.problem else "not needed: this CPU reports no AMX"


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    Attributes:
        reason: what is the matter and what is to be gained, in sentences.
        command: the line that does it; None where there is nothing to type.
    """

    reason: str
    command: str | None = None


def examine(*, again: bool = False) -> Installation:
    """Returns the state of this installation; a llama.cpp that does not load is part of it.

    Args:
        again: run the self-check although its answer is kept, and where the CPU has no AMX too.
    """
    problem = release = check = acceleration = None
    build: tuple[str, ...] = ()
    gpu, possible = False, cpu_has_amx()
    try:
        build, release, gpu = features_of_build(build_info()), version(), supports_gpu()
        possible = amx_is_possible()
        check = self_check(again=again) if possible or again else None
        acceleration = _acceleration(again=again)
    except EngineError as error:
        problem = str(error)
    return Installation(
        llama_cpp_python=release,
        python=platform.python_version(),
        numpy=np.__version__,
        system=f"{platform.system()} {platform.machine()}",
        cpu=cpu_name(),
        cpu_features=features_of_cpu(cpu_info().get("flags")),
        build_features=build,
        gpu=gpu,
        gpu_seen=_gpu_seen(),
        threads=physical_cores(),
        logical_cpus=os.cpu_count() or 1,
        amx_reported=cpu_has_amx(),
        amx_possible=possible,
        self_check=check,
        accelerator=acceleration,
        cache_folder=str(cache_folder()),
        problem=problem,
    )


def _acceleration(*, again: bool) -> Acceleration:
    try:
        accelerator.require_package()
        check = self_check("accelerator", again=again)
        if not check.safe:
            raise Declined(check.reason)
        found = accelerator.load()
    except Declined as reason:
        return Acceleration(None, (), None, None, str(reason))
    onednn = problem = None
    mode = accelerator_mode(EngineOptions())
    try:
        onednn = found.open_onednn()
    except EngineError as error:
        problem = str(error) if "bf16" in found.modes or mode == "int8" else None
    return Acceleration(mode, found.usable_modes(), found.kernels, onednn, check.reason, problem)


def features_of_build(line: str) -> tuple[str, ...]:
    """Returns what llama.cpp's build line says is on, such as "AVX2"."""
    return tuple(re.findall(r"(\w+) = 1\b", line))


def features_of_cpu(flags: str | None) -> tuple[str, ...] | None:
    """Returns which of `FEATURES` a line of CPU flags names, in llama.cpp's words; None for None."""
    return None if flags is None else tuple(name for flag, name in FEATURES.items() if flag in flags.split())


def advise(facts: Installation) -> list[Advice]:
    """Returns what would make this installation work or make it faster, the most important first."""
    if facts.problem:
        return [Advice(facts.problem)]
    return [*_on_gpu(facts), *_on_build(facts), *_on_accelerator(facts), *_on_quants(facts)]


def _on_gpu(facts: Installation) -> Iterator[Advice]:
    if facts.gpu_seen and not facts.gpu:
        reason = f"This machine has a GPU for {facts.gpu_seen}, and this build of llama.cpp does not use it."
        yield Advice(f"{reason} There are prebuilt wheels.", GPU_WHEELS[facts.gpu_seen])


def _on_build(facts: Installation) -> Iterator[Advice]:
    """Yields at most one line to rebuild with: where the CPU has AMX, only clang's result is safe."""
    check = facts.self_check
    missing = [name for name in facts.cpu_features or () if name not in facts.build_features]
    debian = "On Debian, install the compiler with: apt-get install clang-19 libomp-19-dev."
    if check is not None and not check.safe:
        effect = "Models run without repacked weights, which is right but slower."
        if facts.repacked_weights:
            effect = "Run models with --no-extra-buffers until llama.cpp is compiled anew."
        cause = "GCC 12 compiles ggml's AMX kernels wrongly; clang does not."
        gain = f" {_figures('AMX_INT8')}" if facts.amx_reported else ""
        yield Advice(f"{check.reason} {effect} {cause}{gain} {debian}", REBUILD_CLANG)
    elif missing:
        reason = f"This CPU has {', '.join(missing)}, and llama.cpp was built without."
        now, then = _best_measured(facts.build_features), _best_measured((*facts.build_features, *missing))
        gain = f" {_figures(*filter(None, (now, then)))}" if then and then != now else ""
        if "AMX_INT8" in (facts.cpu_features or ()):
            yield Advice(f"{reason}{gain} Compile with clang: GCC 12 gets AMX wrong. {debian}", REBUILD_CLANG)
        else:
            yield Advice(f"{reason}{gain} Compile it on this machine.", REBUILD_NATIVE)


def _on_accelerator(facts: Installation) -> Iterator[Advice]:
    gains = {"AVX_VNNI", "AVX512_VNNI", "AVX512_BF16", "AMX_INT8"} & set(facts.cpu_features or ())
    if (
        gains
        and facts.system == "Linux x86_64"
        and facts.accelerator
        and facts.accelerator.kernels is None
        and not facts.gpu
    ):
        yield Advice(f"The accelerator is off. {facts.accelerator.reason}")
    if facts.accelerator and facts.accelerator.onednn_problem and not facts.gpu:
        gain = " With AMX, bf16 is then what 'auto' takes." if facts.accelerator.kernels == "AMX" else ""
        yield Advice(f"{facts.accelerator.onednn_problem}{gain}")


def _on_quants(facts: Installation) -> Iterator[Advice]:
    if facts.gpu:
        return
    if facts.accelerator and facts.accelerator.default:
        yield Advice("Prefer Q8_0 files here: the accelerator unpacks every type once, and Q6_K gains nothing with it.")
        return
    usable = [name for name in facts.build_features if name != "AMX_INT8" or facts.repacked_weights]
    level = _best_measured(usable)
    if level == "AMX_INT8":
        yield Advice(f"Prefer Q8_0 files here: they are faster than Q6_K with AMX. {_figures(level)}")
    elif level and facts.repacked_weights:
        yield Advice(
            f"Prefer Q6_K files here for embedding: they are faster than Q8_0 without AMX. {_figures(level)} "
            "A reranker's scores move several times as far in Q6_K as in Q8_0 (docs/quants.md)."
        )


def _best_measured(features: Collection[str]) -> str | None:
    return next((level for level in MEASURED if level in features), None)


def _figures(*levels: str) -> str:
    parts = [
        f"{' and '.join(f'{quant} {speed}' for quant, speed in MEASURED[level].items())} with {level}"
        for level in levels
    ]
    return f"Measured on the 0.6B shape with two cores, in tokens a second: {'; '.join(parts)}."


def _gpu_seen() -> str | None:
    if sys.platform == "darwin":
        return "Metal" if platform.machine() == "arm64" else None
    if sys.platform == "win32":
        return "CUDA" if which("nvidia-smi") else None
    gpus = Path("/proc/driver/nvidia/gpus")
    return "CUDA" if gpus.is_dir() and any(gpus.iterdir()) else None
