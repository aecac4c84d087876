"""What `qsift bench` asks of a child process, and what its answers come to. Pure.

Nothing is run here: medians, percentiles, ratios and the cost in quality, from numbers that are given.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from qsift.engine import EngineOptions
from qsift.models import Task


@dataclass(frozen=True)
class Case:
    """One configuration.

    Attributes:
        model: as the user named it.
        path: its file.
        task: what it is measured at.
        quant: of its weights.
        options: how the engine runs.
    """

    model: str
    path: str
    task: Task
    quant: str
    options: EngineOptions


@dataclass(frozen=True)
class Job:
    """What a child process is asked.

    Attributes:
        path, task: of the model.
        options: the fields of its EngineOptions.
        workloads: texts to time, by name; empty for a child that only answers what quality is judged by.
        queries: single short queries, timed one by one.
        repeat: how often each workload is timed.
        quality: whether to answer what the model makes of the fixed texts of `parity`.
    """

    path: str
    task: Task
    options: Mapping[str, Any]
    workloads: Mapping[str, Sequence[str]] = field(default_factory=dict)
    queries: Sequence[str] = ()
    repeat: int = 0
    quality: bool = False


@dataclass(frozen=True)
class Answer:
    """What a child process measured.

    Attributes:
        load: seconds from the file, its pages in memory, to the first answer.
        tokens: tokens of each workload's texts, templates not counted.
        seconds: of each repetition of each workload.
        latencies: seconds of each single query.
        peak_rss: largest resident memory of the process in bytes; None where the system does not tell.
        accel: the mode of the accelerator that computed, or "off".
        threads: CPU threads.
        results: what the model makes of the fixed texts; empty where that was not asked.
    """

    load: float
    tokens: Mapping[str, int]
    seconds: Mapping[str, Sequence[float]]
    latencies: Sequence[float]
    peak_rss: int | None
    accel: str
    threads: int
    results: Sequence[Any]


@dataclass(frozen=True)
class Quality:
    """What a model's results lose against a reference's; both None for the other task.

    Attributes:
        min_cosine: the smallest cosine of a vector with the reference's.
        max_change: the largest change of the similarity of two texts, or of a P(yes).
    """

    min_cosine: float | None
    max_change: float


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        model, task, quant: of the case.
        accel, threads: as they were in the run; as asked where it failed.
        figures: by name; see `figures`. Empty where the case failed.
        ratios: each figure divided by that of the first row of its task.
        quality: against the reference; None without one.
        failure: why nothing was measured; None where it was.
    """

    model: str
    task: Task
    quant: str
    accel: str
    threads: int | None
    figures: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    quality: Quality | None = None
    failure: str | None = None


def cases(
    models: Iterable[tuple[str, str, Task, str]],
    options: EngineOptions,
    accels: Sequence[str],
    threads: Sequence[int | None],
) -> list[Case]:
    """Returns a case for each model, accelerator mode and number of threads, in this order.

    Args:
        models: (as named, path, task, quant).
        options: all else.
        accels: values of `EngineOptions.accel`.
        threads: values of `EngineOptions.threads`.
    """
    return [
        Case(*model, replace(options, accel=accel, threads=number))  # type: ignore[arg-type]
        for model, accel, number in product(models, accels, threads)
    ]


def figures(answer: Answer) -> dict[str, float]:
    """Returns load (s), tokens a second of each workload by its name, p50 and p95 of a query (ms), peak memory (MB)."""
    found = {"load_s": answer.load}
    for name, seconds in answer.seconds.items():
        found[f"{name}_tokens_per_s"] = answer.tokens[name] / statistics.median(seconds)
    if answer.latencies:
        p50, p95 = np.percentile(answer.latencies, [50, 95])
        found |= {"p50_ms": 1e3 * float(p50), "p95_ms": 1e3 * float(p95)}
    if answer.peak_rss is not None:
        found["peak_mb"] = answer.peak_rss / 1e6
    return found


def judged(reference: Sequence[Any], results: Sequence[Any], task: Task) -> Quality:
    """Returns what results lose against a reference's.

    Raises:
        ValueError: vectors of another width, so that the two are not the same model.
    """
    theirs, ours = np.asarray(reference, np.float64), np.asarray(results, np.float64)
    if theirs.shape != ours.shape:
        raise ValueError(
            f"The reference's vectors are {theirs.shape[-1]} wide, the model's {ours.shape[-1]}. Pass as reference "
            "the same model in a better quantisation."
        )
    if task == "rerank":
        return Quality(None, float(np.abs(theirs - ours).max()))
    return Quality(float((theirs * ours).sum(axis=1).min()), float(np.abs(theirs @ theirs.T - ours @ ours.T).max()))


def row(case: Case, answer: Answer | str, quality: Quality | None = None) -> Row:
    """Returns the row of a case without ratios; ``answer`` is why it failed where it is a str."""
    options = case.options
    if isinstance(answer, str):
        return Row(case.model, case.task, case.quant, options.accel, options.threads, failure=answer)
    return Row(case.model, case.task, case.quant, answer.accel, answer.threads, figures(answer), {}, quality)


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows with each figure's ratio to the first row of the same task that was measured."""
    firsts: dict[Task, Mapping[str, float]] = {}
    for one in rows:
        if one.failure is None:
            firsts.setdefault(one.task, one.figures)
    return [
        replace(one, ratios={name: value / firsts[one.task][name] for name, value in one.figures.items()})
        for one in rows
    ]
