"""Ray: vectors and scores on all machines of a cluster, one engine an actor.

`embed` and `rerank` add a column to a Ray Dataset. `embed_files` and `rerank_files` take files and give files, a
partition at a time: a job that was stopped goes on where it was, and an actor that dies loses and doubles no row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from .columns import AddColumn, Column, Scores, Vectors
from .partitions import Partition, Target, partitions_of, read
from qsift.errors import MissingExtraError, QsiftError
from qsift.hub import open_model
from qsift.text import WINDOW

try:
    import pyarrow as pa
    import ray
    import ray.data
    from ray.data import ActorPoolStrategy, Dataset
    from ray.exceptions import RayError
except ImportError as error:
    raise MissingExtraError("The integration of Ray", error.name or "ray", "ray") from error

PARTITION_ROWS = 10_000
"""Rows of a partition: what is computed again when a job was stopped in the middle of it."""
_KINDS = (QsiftError, TypeError, ValueError)
_PROBLEM = pa.struct([("kind", pa.string()), ("sentence", pa.string())])
_SPARE_CPUS = 1.0
"""CPUs that no actor claims, for Ray's own tasks that read and write; else a small cluster waits for ever."""


@dataclass(frozen=True)
class Pool:
    """How a cluster is shared out.

    Attributes:
        actors: how many engines; None means one for each GPU, or for each machine where there is none.
        threads: CPU threads of each; None divides the cluster's CPUs among them.
        gpus: GPUs of each; None means one where the cluster has them, else none.
        address: the cluster, as `connect` takes it, where this process is not connected yet.
    """

    actors: int | None = None
    threads: int | None = None
    gpus: float | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("actors", 1), ("threads", 1), ("gpus", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; the smallest allowed is {least}.")


@dataclass(frozen=True)
class Done:
    """What a job over files did.

    Attributes:
        rows: rows that were computed in this run.
        partitions: partitions that were computed in this run.
        kept: partitions that an earlier run had done.
    """

    rows: int
    partitions: int
    kept: int


def embed(dataset: Dataset, *, model: str, column: str = "text", pool: Pool | None = None, **settings: Any) -> Dataset:
    """Returns the dataset with a column of vectors, in any order of rows; nothing is computed before it is read.

    Args:
        dataset: rows with a column of texts; all their columns are kept.
        model: a path or a name, as `qsift.Embedder.load` takes it; it must mean the same on every machine.
        column: the column of texts.
        pool: actors, threads and GPUs; None divides the cluster.
        settings: output, instruction, prompt_name, truncate_dim, options, as `columns.Vectors` has them.

    Raises:
        TypeError: a setting that does not exist.
        ray.exceptions.RayTaskError: while it is read, around whatever `qsift.Embedder` raises.
    """
    return _mapped(dataset, Vectors(model, column, **settings), pool)


def rerank(dataset: Dataset, *, model: str, column: str = "text", pool: Pool | None = None, **settings: Any) -> Dataset:
    """Returns the dataset with a column of P(yes), in any order of rows; nothing is computed before it is read.

    Args:
        dataset, column, pool: as `embed`.
        model: a path or a name, as `qsift.Reranker.load` takes it.
        settings: query or query_column; output, instruction, options, as `columns.Scores` has them.

    Raises:
        TypeError, RayTaskError: as `embed`.
    """
    return _mapped(dataset, Scores(model, column=column, **settings), pool)


def embed_files(
    source: str,
    target: str,
    *,
    model: str,
    pool: Pool | None = None,
    partition_rows: int = PARTITION_ROWS,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Done:
    """Writes the rows of files with a column of vectors, each partition whole or not at all.

    Args:
        source: a file, a folder of files (.parquet, .jsonl), a Lance dataset (.lance), or the URI of one.
        target: a folder for Parquet files, or a Lance dataset (.lance), which appears when all is done; or a URI.
            A folder that holds a part of the same job is completed. Every machine must reach both places.
        model: as `embed`.
        pool: as `embed`.
        partition_rows: rows that are computed again at most where a job was stopped; it belongs to the job.
        on_progress: called with the rows that are done and all rows, after each partition.
        settings: column, output, instruction, prompt_name, truncate_dim, options, as `columns.Vectors` has them.

    Raises:
        TypeError, ValueError: a setting that does not exist, a place that holds another job, a source that holds
            no table or has changed since, a row without a text.
        QsiftError: from the model.
    """
    return _run(source, target, Vectors(model, **settings), pool, partition_rows, on_progress)


def rerank_files(
    source: str,
    target: str,
    *,
    model: str,
    pool: Pool | None = None,
    partition_rows: int = PARTITION_ROWS,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Done:
    """Writes the rows of files with a column of P(yes); arguments, result and errors as `embed_files`.

    Args:
        source, target, pool, partition_rows, on_progress: as `embed_files`.
        model: as `rerank`.
        settings: query or query_column; column, output, instruction, options, as `columns.Scores` has them.
    """
    return _run(source, target, Scores(model, **settings), pool, partition_rows, on_progress)


def connect(address: str | None = None) -> None:
    """Connects to a cluster, quietly, unless this process is connected to one.

    Args:
        address: "auto" for the one that this machine belongs to, ray://host:port, host:port; None makes one of this
            machine alone.

    Raises:
        ValueError: no cluster there.
    """
    if ray.is_initialized():
        return
    here = {} if address else {"include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.WARNING, **here)
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(f"There is no Ray cluster at {address!r}: {error}") from error
    ray.data.DataContext.get_current().enable_progress_bars = False


class _AddColumn:
    """An actor that adds the column to the batches of a dataset."""

    def __init__(self, column: Column, threads: int) -> None:
        self._add: AddColumn = column.load(threads)

    def __call__(self, table: pa.Table) -> pa.Table:
        return self._add(table)


class _WritePart:
    """An actor that computes whole partitions and writes their parts."""

    def __init__(self, column: Column, threads: int, target: str) -> None:
        self._add: AddColumn = column.load(threads)
        self._target = Target(target)

    def __call__(self, batch: pa.Table) -> pa.Table:
        partition = Partition(**batch.to_pylist()[0])
        try:
            rows, problem = self._target.write(partition, self._tables(partition)), None
        except (QsiftError, TypeError, ValueError) as error:
            # Ray would hand on the traceback's text and not the error.
            kind = next(kind for kind in _KINDS if isinstance(error, kind))
            rows, problem = 0, {"kind": kind.__name__, "sentence": str(error)}
        return pa.table({"rows": [rows], "problem": pa.array([problem], _PROBLEM)})

    def _tables(self, partition: Partition) -> Iterator[pa.Table]:
        start = partition.start
        for table in read(partition):
            try:
                yield self._add(table)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{partition.name!r}, in the rows from {start} on: {error}") from error
            start += len(table)


def _mapped(dataset: Dataset, column: Column, pool: Pool | None) -> Dataset:
    settings = _shared_out(pool or Pool())
    threads = settings.pop("threads")
    return dataset.map_batches(
        _AddColumn,
        batch_size=WINDOW,
        batch_format="pyarrow",
        fn_constructor_args=[column, threads],
        udf_modifying_row_count=False,
        **settings,
    )


def _run(
    source: str,
    target: str,
    column: Column,
    pool: Pool | None,
    partition_rows: int,
    on_progress: Callable[[int, int], None] | None,
) -> Done:
    partitions = partitions_of(source, partition_rows)
    place = Target(target)
    kept = place.begin(_job(column, partition_rows))
    parts = {partition.part for partition in partitions}
    if gone := kept - parts:
        raise ValueError(
            f"{target!r} holds {len(gone)} parts of rows that {source!r} has no more, such as {min(gone)}. The files "
            "have changed since the job began: choose another place for the result."
        )
    todo = [partition for partition in partitions if partition.part not in kept]
    total = sum(partition.rows for partition in partitions)
    done = total - sum(partition.rows for partition in todo)
    if todo:
        settings = _shared_out(pool or Pool(), at_most=len(todo))
        threads = settings.pop("threads")
        written = ray.data.from_items([asdict(one) for one in todo], override_num_blocks=len(todo)).map_batches(
            _WritePart, batch_size=1, batch_format="pyarrow", fn_constructor_args=[column, threads, target], **settings
        )
        for rows in _translated(written):
            done += rows
            if on_progress:
                on_progress(done, total)
    if todo or not kept:
        place.finish(parts)
    return Done(sum(partition.rows for partition in todo), len(todo), len(partitions) - len(todo))


def _job(column: Column, partition_rows: int) -> dict[str, Any]:
    """Returns what the result depends on: all settings but the machine's, and the model's digest for its name."""
    file = open_model(column.model, "embed" if isinstance(column, Vectors) else "rerank")
    settings = asdict(column)
    del settings["options"]
    return {**settings, "model": file.fingerprint(), "partition_rows": partition_rows}


def _shared_out(pool: Pool, at_most: int | None = None) -> dict[str, Any]:
    """Returns what map_batches needs to know of the pool, and the threads of an actor."""
    connect(pool.address)
    has = ray.cluster_resources()
    machines = sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
    gpus = pool.gpus if pool.gpus is not None else min(1.0, has.get("GPU", 0.0))
    actors = pool.actors or (max(1, int(has["GPU"] // gpus)) if gpus else max(1, machines))
    actors = min(actors, at_most or actors)
    cpus = has.get("CPU", 1.0)
    threads = pool.threads or max(1, int(cpus // actors))
    claim = min(float(threads), max(0.1, (cpus - _SPARE_CPUS) / actors))
    return {
        "threads": threads,
        "compute": ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1 if at_most else None),
        "num_cpus": int(claim * 100) / 100,
        "num_gpus": gpus or None,
    }


def _translated(written: Dataset) -> Iterator[int]:
    """Yields the rows of each part that was written; what went wrong in an actor is raised here."""
    try:
        for row in written.iter_rows():
            if problem := row["problem"]:
                kind = next(kind for kind in _KINDS if kind.__name__ == problem["kind"])
                raise kind(problem["sentence"])
            yield row["rows"]
    except RayError as error:
        raise QsiftError(f"The job failed on Ray. What is written stays; run it again to go on. {error}") from error
