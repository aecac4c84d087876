"""What every benchmark shares: the machine's line, timing, memory, a child process for each peer, rows.

A row is written only for what was measured and whose result was checked before. This file knows
nothing of what is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qsift.machine import cpu_name, physical_cores

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"

_PACKAGES = ("qsift", "llama-cpp-python", "numpy", "torch", "transformers")


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one thing.

    Attributes:
        seconds: of each repetition, in order.
        peak_rss: the process's largest resident memory so far, in bytes.
    """

    seconds: list[float]
    peak_rss: int

    @property
    def median(self) -> float:
        """The median of the repetitions, in seconds."""
        return statistics.median(self.seconds)


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
    machine: Mapping[str, Any] = field(default_factory=lambda: machine_facts())
    measured_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))


@cache
def machine_facts() -> dict[str, Any]:
    """Returns what a figure depends on besides the code: CPU, cores, versions, commit."""
    return {
        "cpu": cpu_name(),
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
    return f"{facts['cpu']}, {facts['cores']} cores · Python {facts['python']}, {versions} · commit {facts['commit']}"


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


def timed(function: Callable[[], object], *, repeat: int, budget: float) -> Timing:
    """Returns the times of up to ``repeat`` calls; no new call starts once ``budget`` seconds are spent."""
    seconds: list[float] = []
    while len(seconds) < repeat and (not seconds or sum(seconds) < budget):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return Timing(seconds, peak_rss())


def peak_rss() -> int:
    """Returns the largest resident memory that this process ever had, in bytes."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        # Kilobytes everywhere but on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def sha256(path: Path) -> str:
    """Returns the digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


class PeerFailed(Exception):
    """A child process that died or gave a wrong result; the message says how."""


def in_child(script: str, job: Mapping[str, Any], *, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns what a script of this folder answers to a job, from a process of its own.

    The script reads the job as JSON from its standard input and prints its answer as the last line.

    Raises:
        PeerFailed: it died, or refused with a sentence on stderr.
    """
    result = subprocess.run(
        [sys.executable, str(FOLDER / script)],
        input=json.dumps(job),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode < 0:
        raise PeerFailed(f"died of {signal.Signals(-result.returncode).name}")
    if result.returncode > 0:
        raise PeerFailed((result.stderr.strip().splitlines() or ["no reason given"])[-1])
    answer: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return answer


def append(rows: Sequence[Row], name: str) -> Path:
    """Appends rows to results/NAME.jsonl and returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    return path
