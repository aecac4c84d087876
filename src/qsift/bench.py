"""Throughput, latency, memory and quality of models on this machine: a child process for each configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .bench_rows import Answer, Case, Job, Row, judged, row, with_ratios
from .bench_texts import UNIFORM, make_queries, make_texts, ragged, words
from .errors import EngineError
from .gguf_header import read_header
from .specs import Task

COMMAND = (sys.executable, "-c", "from qsift.bench_child import main; main()")
"""The child process; it reads a Job and prints an Answer."""

_PIECE = 1 << 24


def bench(
    cases: Sequence[Case],
    *,
    references: Iterable[Case] = (),
    repeat: int = 3,
    on_start: Callable[[int, Case], None] | None = None,
) -> list[Row]:
    """Returns a row for each case, in their order.

    Args:
        cases: what to measure; see `bench_rows.cases`.
        references: models whose results are the measure of quality, at most one for a task.
        repeat: how often each workload is timed; the median counts.
        on_start: told the number and the case before each is measured.

    Returns:
        Rows with their ratios to the first of their task. A case that fails has its reason in the row.

    Raises:
        ValueError: a reference is another model than a case that it is to judge.
        ModelFileError: a file's header cannot be read.
        EngineError: a reference cannot be run.
    """
    expected: dict[Task, Sequence[Any]] = {}
    for reference in references:
        expected[reference.task] = ask(_job(reference, quality=True)).results
    rows = []
    for number, case in enumerate(cases):
        if on_start:
            on_start(number, case)
        try:
            answer = ask(work(case, repeat=repeat, quality=case.task in expected))
        except EngineError as error:
            rows.append(row(case, str(error)))
            continue
        quality = judged(expected[case.task], answer.results, case.task) if answer.results else None
        rows.append(row(case, answer, quality))
    return with_ratios(rows)


def work(case: Case, *, repeat: int, quality: bool) -> Job:
    """Returns all that is measured of a case; its texts are made of its model's vocabulary."""
    chosen = words(read_header(case.path).strings("tokenizer.ggml.tokens"))
    workloads = {
        "uniform": make_texts(chosen, UNIFORM, seed=128),
        "ragged": make_texts(chosen, ragged(), seed=32),
    }
    return replace(_job(case, quality=quality), workloads=workloads, queries=tuple(make_queries(chosen)), repeat=repeat)


def _job(case: Case, *, quality: bool) -> Job:
    return Job(case.path, case.task, asdict(case.options), quality=quality)


def ask(job: Job, command: Sequence[str] = COMMAND) -> Answer:
    """Returns a child's answer.

    Raises:
        EngineError: it died, or refused with a sentence.
    """
    read_through(job.path)
    # The child must find the same qsift and llama_cpp as this process, however it found them.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run(
        command, input=json.dumps(asdict(job)), env=environment, capture_output=True, encoding="utf-8", check=False
    )
    if result.returncode < 0:
        raise EngineError(f"The process died of {signal.Signals(-result.returncode).name}.")
    if result.returncode > 0:
        raise EngineError((result.stderr.strip().splitlines() or [f"Exit code {result.returncode}."])[-1])
    return Answer(**json.loads(result.stdout))


def read_through(path: str) -> None:
    """Reads a file once, so that its pages are in the system's memory before a load is timed."""
    with Path(path).open("rb", buffering=0) as file:
        while file.read(_PIECE):
            pass
