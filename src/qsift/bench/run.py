"""Throughput, latency, memory and quality of models on this machine: a child process for each configuration.

The texts are words of the model's own vocabulary, seeded. A word that is one token, at the start of a text and
behind a space, makes lengths exact: a text of n words is n tokens and the end token. Models of one vocabulary get
the same texts.
"""

from __future__ import annotations

import json
import os
import re
import signal
import string
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .rows import Answer, Case, Job, Row, judged, row, with_ratios
from qsift.errors import EngineError
from qsift.models import Task, read_header

COMMAND = (sys.executable, "-c", "from qsift.bench.child import main; main()")
"""The child process; it reads a Job and prints an Answer."""

UNIFORM = (128,) * 16
"""Tokens of the texts of equal length, end token included."""

N_QUERIES = 40
"""Single queries that are timed one by one; enough for a 95th percentile."""

_QUERY_TOKENS = 9
_WORD = re.compile(rb"[a-z]{3,12}")
_SPACE = "Ġ".encode()  # how byte-level BPE spells a space
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
        cases: what to measure; see `rows.cases`.
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


def ragged(count: int = 32) -> tuple[int, ...]:
    """Returns the tokens of texts of lognormal length (σ 0.8, median 80), 8 to 512, in random order."""
    lengths = np.exp(np.random.default_rng(count).normal(np.log(80), 0.8, count))
    return tuple(np.clip(np.round(lengths), 8, 512).astype(int).tolist())


def words(vocabulary: Sequence[bytes]) -> list[str]:
    """Returns the words that are one token each; single letters where a vocabulary has none.

    Args:
        vocabulary: the tokens as the file spells them.
    """
    known = frozenset(vocabulary)
    found = sorted(token.decode() for token in known if _WORD.fullmatch(token) and _SPACE + token in known)
    return found or list(string.ascii_lowercase)


def make_texts(chosen_from: Sequence[str], lengths: Sequence[int], seed: int) -> list[str]:
    """Returns a text for each length, one word less than that: the end token is the last one."""
    generator = np.random.default_rng(seed)
    picks = (generator.integers(0, len(chosen_from), max(length - 1, 1)) for length in lengths)
    return [" ".join(chosen_from[i] for i in pick) for pick in picks]


def make_queries(chosen_from: Sequence[str], count: int = N_QUERIES) -> list[str]:
    """Returns short queries that differ, of eight words each."""
    return make_texts(chosen_from, [_QUERY_TOKENS] * count, seed=40)
