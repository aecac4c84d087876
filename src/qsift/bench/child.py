"""The child process of `qsift bench`: runs one configuration, so that its memory is its own.

Reads a job as JSON from standard input and answers on standard output. What is timed is what a user calls,
tokenising included; a first call, which is not timed, must give finite numbers, and every timed one the same.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from .parity import QUERIES, answers
from .rows import Answer, Job
from qsift.embedder import Embedder
from qsift.engine import EngineOptions, accelerator_mode, extra_buffers, library, load_engine, peak_rss, physical_cores
from qsift.errors import EngineError, QsiftError
from qsift.models import ModelFile
from qsift.reranker import Reranker

_TOLERANCE = 1e-3
"""The CPU gives the same bits every time; a GPU may add in another order."""

Run = Callable[[], NDArray[np.float32]]


def main() -> None:
    """Answers the job on standard input; on an error prints its sentence on stderr and exits with 1."""
    complaints = _Complaints()
    logging.getLogger("qsift").addHandler(complaints)
    try:
        answer = measure(Job(**json.load(sys.stdin)), complaints.lines)
    except QsiftError as error:
        raise SystemExit(str(error)) from None
    print(json.dumps(asdict(answer)))


def measure(job: Job, complaints: Sequence[str] = ()) -> Answer:
    """Returns what a job's model takes and gives.

    Args:
        job: what to run.
        complaints: the log's warnings, which may grow during the call.

    Raises:
        QsiftError: the model cannot be used or run as asked, or its results change from call to call.
    """
    options = EngineOptions(**job.options)
    # What is done once in a process, or once on a machine, is no part of a model's load.
    library(), extra_buffers(options), accelerator_mode(options)
    start = time.perf_counter()
    file = ModelFile.open(job.path)
    engine = load_engine(file, job.task, options)
    with (Embedder if job.task == "embed" else Reranker)(engine, engine.tokenizer, file) as model:
        single(model, QUERIES[0])()
        load = time.perf_counter() - start
        accel = engine.accel or "off"
        if options.accel not in ("auto", accel):
            why = " ".join(complaints[-1:])
            raise EngineError(why or f"The accelerator does not run in the mode {options.accel} here.")
        latencies = [timed(single(model, query))[0] for query in job.queries]
        seconds = {name: repeated(batch(model, texts), job.repeat) for name, texts in job.workloads.items()}
        tokens = {
            name: sum(len(engine.tokenizer.encode(text, control_tokens=False)) + 1 for text in texts)
            for name, texts in job.workloads.items()
        }
        peak, threads = peak_rss(), options.threads or physical_cores()
        results = answers(model).tolist() if job.quality else []
    return Answer(load, tokens, seconds, latencies, peak, accel, threads, results)


def single(model: Embedder | Reranker, query: str) -> Run:
    """Returns the call of a single query: its vector, or its score for one short document."""
    if isinstance(model, Embedder):
        return lambda: np.asarray(model.encode_query(query))
    return lambda: np.asarray(model.predict((query, QUERIES[0])))


def batch(model: Embedder | Reranker, texts: Sequence[str]) -> Run:
    """Returns the call of a workload: vectors of documents, or their scores for one query."""
    documents = list(texts)
    if isinstance(model, Embedder):
        return lambda: np.asarray(model.encode_document(documents))
    return lambda: np.asarray(model.predict([(QUERIES[0], document) for document in documents]))


def repeated(run: Run, count: int) -> list[float]:
    """Returns the seconds of ``count`` calls after a first one that is not timed.

    Raises:
        EngineError: a result is not finite, or differs from the first.
    """
    expected = run()
    if not np.isfinite(expected).all():
        raise EngineError("The results are not finite, so there is nothing to time.")
    found = []
    for _ in range(count):
        seconds, result = timed(run)
        if not float(np.abs(result - expected).max()) <= _TOLERANCE:
            raise EngineError("The same texts got other results in another call, so there is nothing to time.")
        found.append(seconds)
    return found


def timed(run: Run) -> tuple[float, NDArray[np.float32]]:
    """Returns the seconds of one call, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


class _Complaints(logging.Handler):
    """Keeps the log's warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
