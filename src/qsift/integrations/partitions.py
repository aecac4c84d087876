"""Tables in files, cut into partitions that are computed by themselves and written whole or not at all.

Parquet, JSON lines or Lance in; Parquet or Lance out. A partition is a run of rows of one file. What is
done is seen from the files: a Parquet part gets its name when it is complete, and a Lance part leaves a note of
its fragments, which are committed together at the end. So a job goes on where it was stopped, and a partition that
two processes computed counts once. This file knows neither models nor Ray.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from qsift.errors import MissingExtraError

try:
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet
    from pyarrow import fs
except ImportError as error:
    raise MissingExtraError("Tables in files", error.name or "pyarrow", "ray") from error

_FORMATS = {".parquet": "parquet", ".jsonl": "json", ".ndjson": "json", ".json": "json"}
_JOB = "_qsift.json"
_ROWS = 1024
"""Rows that are read, computed and written at a time."""


@dataclass(frozen=True)
class Partition:
    """A run of rows of one file or Lance dataset.

    Attributes:
        path: the file, or the dataset.
        name: its name within the source; unique, and the same in every run.
        state: what changes when the file does: its size, or the dataset's version.
        start: its first row, from 0.
        rows: how many.
    """

    path: str
    name: str
    state: int
    start: int
    rows: int

    @property
    def part(self) -> str:
        """The stem of the part's file name; another one when the file or its rows are others."""
        stem = os.path.basename(self.name).partition(".")[0]
        digest = hashlib.sha256(f"{self.name} {self.state}".encode()).hexdigest()[:8]
        return f"{stem}-{digest}-{self.start:010d}-{self.rows}"


def partitions_of(source: str, rows: int) -> list[Partition]:
    """Returns the partitions of a file, a folder of files, or a Lance dataset (*.lance), in order.

    Args:
        source: a path, or a URI that pyarrow knows, such as s3://bucket/folder.
        rows: the most that a partition has.

    Raises:
        ValueError: nothing there that can be read; says what can.
    """
    if rows < 1:
        raise ValueError(f"partition_rows is {rows}; the smallest allowed is 1.")
    return [
        Partition(path, name, state, start, min(rows, count - start))
        for path, name, state, count in _counted(source)
        for start in range(0, count, rows)
    ]


def _counted(source: str) -> Iterator[tuple[str, str, int, int]]:
    """Yields path, name, state and rows of each file."""
    if is_lance(source):
        dataset = _lance().dataset(source)
        yield source, os.path.basename(source.rstrip("/")), dataset.version, dataset.count_rows()
        return
    system, root = _place(source)
    scheme = source.partition("://")[0] + "://" if "://" in source else ""
    for info in _files(system, root, source):
        try:
            # An empty file of JSON lines is no table to pyarrow.
            count = _dataset(system, info.path).count_rows() if info.size else 0
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{info.path!r} cannot be read: {error}") from error
        yield scheme + info.path, _relative(info.path, root), info.size, count


def is_lance(path: str) -> bool:
    """Returns whether a path means a Lance dataset."""
    return path.rstrip("/").endswith(".lance")


def read(partition: Partition) -> Iterator[pa.Table]:
    """Yields the rows of a partition in order, some at a time."""
    if is_lance(partition.path):
        scanner = _lance().dataset(partition.path).scanner(offset=partition.start, limit=partition.rows)
        yield from _run(scanner.to_batches(), 0, partition.rows)
        return
    dataset = _dataset(*_place(partition.path))
    yield from _run(dataset.to_batches(batch_size=_ROWS, use_threads=False), partition.start, partition.rows)


def _run(batches: Iterable[pa.RecordBatch], start: int, rows: int) -> Iterator[pa.Table]:
    """Yields ``rows`` rows from ``start`` on, at most `_ROWS` at a time."""
    for batch in batches:
        wanted = batch.slice(start, rows)
        start = max(0, start - len(batch))
        rows -= len(wanted)
        for first in range(0, len(wanted), _ROWS):
            yield pa.Table.from_batches([wanted.slice(first, _ROWS)])
        if not rows:
            return


class Target:
    """Where a job's parts go: a folder of Parquet files, or a Lance dataset (*.lance)."""

    def __init__(self, path: str) -> None:
        """Takes note of the place, which is made by `begin`."""
        self.path = path.rstrip("/")
        self.is_lance = is_lance(path)
        # A dataset's folder belongs to Lance: the notes lie beside it.
        self._system, self._folder = _place(self.path + ".job" if self.is_lance else self.path)
        self._suffix = ".json" if self.is_lance else ".parquet"

    def begin(self, job: dict[str, Any]) -> set[str]:
        """Makes the place and returns the parts that are done.

        Args:
            job: what the result depends on; a job of other settings does not go on here.

        Raises:
            ValueError: the place holds something else; says what differs.
        """
        self._system.create_dir(self._folder, recursive=True)
        there = {os.path.basename(info.path) for info in self._system.get_file_info(fs.FileSelector(self._folder))}
        note = f"{self._folder}/{_JOB}"
        if _JOB in there:
            with self._system.open_input_stream(note) as file:
                kept = json.loads(file.read())
            if other := [name for name in sorted({*kept, *job}) if kept.get(name) != job.get(name)]:
                told = "; ".join(f"{name} was {kept.get(name)!r} and is {job.get(name)!r}" for name in other)
                raise ValueError(f"{self.path!r} holds another job: {told}. Choose another place, or remove it.")
        elif there:
            raise ValueError(f"{self.path!r} holds files and no job of qsift. Choose an empty or a new folder.")
        else:
            self._write(note, json.dumps(job, sort_keys=True).encode())
        return {
            name.removesuffix(self._suffix) for name in there if name.endswith(self._suffix) and name[0] not in "._"
        }

    def write(self, partition: Partition, tables: Iterable[pa.Table]) -> int:
        """Writes a partition's part, whole or not at all, and returns its rows.

        Raises:
            ValueError: another number of rows than the partition had when the job began.
        """
        if self.is_lance:
            from lance.fragment import write_fragments

            table = pa.concat_tables(tables)
            fragments = [piece.to_json() for piece in write_fragments(table, self.path)]
            _check_rows(partition, len(table))
            note = {"fragments": fragments, "schema": table.schema.serialize().to_pybytes().hex()}
            self._write(f"{self._folder}/{partition.part}.json", json.dumps(note).encode())
            return len(table)
        scratch = f"{self._folder}/.{partition.part}.{uuid.uuid4().hex}"
        pieces, rows = iter(tables), 0
        first = next(pieces, None)
        if first is not None:
            with (
                self._system.open_output_stream(scratch) as file,
                pyarrow.parquet.ParquetWriter(file, first.schema, compression="zstd") as writer,
            ):
                for table in chain([first], pieces):
                    writer.write_table(table)
                    rows += len(table)
        _check_rows(partition, rows)
        self._system.move(scratch, f"{self._folder}/{partition.part}.parquet")
        return rows

    def finish(self, parts: Iterable[str]) -> None:
        """Commits the parts of a Lance dataset, all at once, and removes what killed processes left behind."""
        for info in self._system.get_file_info(fs.FileSelector(self._folder)):
            if os.path.basename(info.path).startswith("."):
                self._system.delete_file(info.path)
        if not self.is_lance:
            return
        lance, notes = _lance(), []
        for part in sorted(parts):
            with self._system.open_input_stream(f"{self._folder}/{part}.json") as file:
                notes.append(json.loads(file.read()))
        if notes:
            schema = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(notes[0]["schema"])))
            pieces = [lance.FragmentMetadata.from_json(json.dumps(one)) for note in notes for one in note["fragments"]]
            lance.LanceDataset.commit(self.path, lance.LanceOperation.Overwrite(schema, pieces))

    def _write(self, path: str, data: bytes) -> None:
        scratch = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{uuid.uuid4().hex}"
        with self._system.open_output_stream(scratch) as file:
            file.write(data)
        self._system.move(scratch, path)


def _check_rows(partition: Partition, rows: int) -> None:
    if rows != partition.rows:
        raise ValueError(
            f"{partition.name!r} has {rows} rows from row {partition.start} on, where it had {partition.rows} when the "
            "job began. Run it again on files that do not change."
        )


def _place(path: str) -> tuple[fs.FileSystem, str]:
    if "://" in path:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(path)
        return found
    return fs.LocalFileSystem(), os.path.abspath(path)


def _files(system: fs.FileSystem, root: str, source: str) -> list[fs.FileInfo]:
    info = system.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        raise ValueError(f"There is no {source!r}. A file, a folder of files, or a Lance dataset is needed.")
    found = [info]
    if info.type == fs.FileType.Directory:
        found = system.get_file_info(fs.FileSelector(root, recursive=True))
    known = [one for one in found if one.type == fs.FileType.File and _is_table(_relative(one.path, root))]
    if not known:
        raise ValueError(f"{source!r} holds no table. Files that can be read end with {', '.join(_FORMATS)}.")
    return sorted(known, key=lambda one: one.path)


def _is_table(name: str) -> bool:
    hidden = any(piece.startswith((".", "_")) for piece in name.split("/"))
    return not hidden and os.path.splitext(name)[1] in _FORMATS


def _relative(path: str, root: str) -> str:
    return os.path.basename(path) if path == root else path[len(root.rstrip("/")) + 1 :]


def _dataset(system: fs.FileSystem, path: str) -> Any:
    kind = _FORMATS[os.path.splitext(path)[1]]
    return pyarrow.dataset.dataset(path, filesystem=system, format=kind, partitioning=None)


def _lance() -> Any:
    try:
        import lance
    except ImportError as error:
        raise MissingExtraError("A Lance dataset", error.name or "lance", "ray") from error
    return lance
