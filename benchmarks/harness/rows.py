"""The rows that are recorded, the machine that they were measured on, and whether a figure meets its target.

A row is written only for what was measured and whose result was checked before.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsift.engine.doctor import features_of_cpu
from qsift.engine.machine import cpu_info

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
from qsift.engine import cpu_name, physical_cores

FOLDER = Path(__file__).parents[1]
RESULTS = FOLDER / "results"

_PACKAGES = ("qsift", "qsift-accel", "llama-cpp-python", "numpy", "torch", "transformers")


@dataclass(frozen=True)
class Row:
    """One line of results/*.jsonl.

    Attributes:
        question: the script that asked.
        workload, peer, quant: what ran; quant is the weights' type.
        n_tokens: tokens of the workload as a reader counts them, each text once.
        tokens_per_second: from the median.
        seconds: of each repetition.
        peak_rss: bytes.
        check: what the result was compared by, such as {"min_cosine": 0.9995}.
        threads: CPU threads given to the peer.
        kernels: "plain", or "repacked" where llama.cpp may repack weights; None for others.
        model_sha256: of the GGUF; None for a peer that reads the checkpoint.
        accel: the accelerator's mode; None where it did not compute.
        cache_type: type of qsift's cached keys and values.
    """

    question: str
    workload: str
    peer: str
    quant: str
    n_tokens: int
    tokens_per_second: float
    seconds: list[float]
    peak_rss: int
    check: Mapping[str, float]
    threads: int
    kernels: str | None = None
    model_sha256: str | None = None
    accel: str | None = None
    cache_type: str = "f16"


@dataclass(frozen=True)
class Figure:
    """One line of results/*.jsonl that holds a single value.

    Attributes:
        question: the script that asked.
        name: what was measured, with its unit.
        value: the figure.
        settings: what it depends on besides the machine, such as {"passages": 60000, "width": 256}.
        model_sha256: of the GGUF that the script was asked about.
        target: what was demanded, such as ">= 0.9"; None where nothing was.
    """

    question: str
    name: str
    value: float
    settings: Mapping[str, Any]
    model_sha256: str
    target: str | None = None


@cache
def machine_facts() -> dict[str, Any]:
    """Returns what a figure depends on besides the code: CPU and what it can, cores, versions, commit."""
    return {
        "cpu": cpu_name(),
        "cpu_features": features_of_cpu(cpu_info().get("flags")),
        "cores": physical_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def machine_line() -> str:
    """Returns the machine in one line, to print above any figure."""
    facts = machine_facts()
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    can = f" with {', '.join(facts['cpu_features'])}" if facts["cpu_features"] else ""
    return (
        f"{facts['cpu']}{can}, {facts['cores']} cores · Python {facts['python']}, {versions} · commit {facts['commit']}"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
        return result.stdout.strip()

    try:
        changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
    except OSError:
        return "unknown"


def append(rows: Sequence[DataclassInstance], name: str) -> Path:
    """Appends rows to results/NAME.jsonl, each with the machine and the time, and returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.jsonl"
    stamp = {"machine": machine_facts(), "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row) | stamp, ensure_ascii=False) + "\n" for row in rows)
    return path


def verdict(value: float, target: str | None) -> str:
    """Returns "(target >= 0.9: met)" or "(target >= 0.9: MISSED)"; nothing where there is no target."""
    if target is None:
        return ""
    relation, bound = target.split()
    is_met = value >= float(bound) if relation == ">=" else value <= float(bound)
    return f"(target {target}: {'met' if is_met else 'MISSED'})"
