"""What every benchmark shares: the machine's line, memory, a child process for each peer, rows.

A row is written only for what was measured and whose result was checked before. This file knows
nothing of what is measured.
"""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qsift.engine.doctor import features_of_cpu
from qsift.engine.machine import cpu_info, cpu_name, physical_cores
from qsift.engine.machine import peak_rss as peak_rss

FOLDER = Path(__file__).parent
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
    machine: Mapping[str, Any] = field(default_factory=lambda: machine_facts())
    measured_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))


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
    machine: Mapping[str, Any] = field(default_factory=lambda: machine_facts())
    measured_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))


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


class PeerFailed(Exception):
    """A child process that died or gave a wrong result; the message says how."""


class Child:
    """A script of this folder in a process of its own, which answers every line of JSON with one.

    Several live side by side and take turns, so that what slows the machine down slows all of them.
    """

    def __init__(self, script: str) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, str(FOLDER / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the answer to a question.

        Raises:
            PeerFailed: the child died, or refused with a sentence on stderr.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerFailed(self._last_words()) from None
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        if code < 0:
            return f"died of {signal.Signals(-code).name}"
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["no reason given"])[-1]


def append(rows: Sequence[Row | Figure], name: str) -> Path:
    """Appends rows to results/NAME.jsonl and returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    return path
