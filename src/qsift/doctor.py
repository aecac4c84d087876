"""What this installation is, and what would make it faster. Facts in, sentences out."""

from __future__ import annotations

import platform
import re
from dataclasses import asdict, dataclass
from typing import Any

from .llama_library import build_info, supports_gpu, version
from .machine import cache_folder, cpu_has_amx, cpu_info, cpu_name, physical_cores
from .selfcheck import amx_is_possible, self_check

_REBUILD = "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
_CLANG = f"CC=clang-19 CXX=clang++-19 {_REBUILD}"

# CPU flag in /proc/cpuinfo, name in llama.cpp's build line, CMake option.
_FEATURES = (
    ("avx2", "AVX2", "-DGGML_AVX2=ON"),
    ("avx_vnni", "AVX_VNNI", "-DGGML_AVX_VNNI=ON"),
    ("avx512f", "AVX512", "-DGGML_AVX512=ON"),
    ("avx512_vnni", "AVX512_VNNI", "-DGGML_AVX512_VNNI=ON"),
    ("avx512_bf16", "AVX512_BF16", "-DGGML_AVX512_BF16=ON"),
)


@dataclass(frozen=True)
class Report:
    """All that `qsift doctor` shows.

    Attributes:
        qsift, llama_cpp_python, python: versions.
        cpu: the processor's name.
        physical_cores: the default number of threads.
        build: features that llama.cpp was compiled for.
        gpu: whether this build finds a GPU.
        amx: what is known of AMX on this CPU in this build, a sentence.
        extra_buffers: whether repacked weights are used.
        cache: folder of small files that can be lost.
        advice: what would make it faster or safe, a sentence each.
    """

    qsift: str
    llama_cpp_python: str
    python: str
    cpu: str
    physical_cores: int
    build: tuple[str, ...]
    gpu: bool
    amx: str
    extra_buffers: bool
    cache: str
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values."""
        return asdict(self)


def examine(*, again: bool = False) -> Report:
    """Returns the state of this installation.

    Args:
        again: run the self-check although its answer is kept, and where the CPU reports no AMX too.

    Raises:
        EngineError: llama-cpp-python does not load.
    """
    from . import __version__

    built = built_features(build_info())
    safe, sentence = True, "This CPU reports no AMX, so no self-check is needed."
    if amx_is_possible() or again:
        check = self_check(again=again)
        safe, sentence = check.safe, check.reason
    flags = frozenset(cpu_info().get("flags", "").split())
    return Report(
        qsift=__version__,
        llama_cpp_python=version(),
        python=platform.python_version(),
        cpu=cpu_name(),
        physical_cores=physical_cores(),
        build=built,
        gpu=supports_gpu(),
        amx=sentence,
        extra_buffers=safe,
        cache=str(cache_folder()),
        advice=tuple(advise(flags, frozenset(built), safe=safe, amx=cpu_has_amx())),
    )


def built_features(line: str) -> tuple[str, ...]:
    """Returns the features that llama.cpp's build line says are on, such as "AVX2"."""
    return tuple(re.findall(r"(\w+) = 1", line))


def advise(flags: frozenset[str], built: frozenset[str], *, safe: bool, amx: bool) -> list[str]:
    """Returns what would make llama.cpp faster or safe on this CPU, a sentence each.

    Args:
        flags: what the CPU can do, as /proc/cpuinfo names it; empty where that is unknown.
        built: what llama.cpp was compiled for.
        safe: whether the self-check passed.
        amx: whether the CPU reports AMX.
    """
    advice = []
    if amx and not safe:
        advice.append(
            "The AMX kernels of this build are faulty (GCC 12 is known to compile them wrongly) and stay off. "
            f"Compile with clang: apt-get install clang-19 libomp-19-dev, then: {_CLANG}"
        )
    elif amx and "AMX_INT8" not in built:
        advice.append(f"This CPU has AMX, this build does not use it. Compile on this machine with clang: {_CLANG}")
    lacking = [(name, option) for flag, name, option in _FEATURES if flag in flags and name not in built]
    if lacking:
        names, options = zip(*lacking, strict=True)
        advice.append(
            f"This CPU has {', '.join(names)}, this build does not use them. "
            f"Compile on this machine: CMAKE_ARGS='{' '.join(options)}' {_REBUILD}"
        )
    if flags and not amx:
        advice.append(
            "Without AMX, Q6_K files run faster than Q8_0 on x86 (1.4 times with AVX2, 1.9 times with AVX512-VNNI; "
            "measured on the 0.6B shape): qsift convert CHECKPOINT --quant q6_k"
        )
    return advice
