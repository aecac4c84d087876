"""The table that an index is: its schema, its commits, its queries. This room's door to LanceDB and pyarrow.

Whatever is written becomes visible in one commit or not at all. One process writes at a time, under a
lock that the system takes from a process that dies; readers need no lock. This file knows no models.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from .batches import Batch, IndexedSource, Row, Stored
from .filter import is_one_of
from qsift.documents import Passage
from qsift.errors import MissingExtraError, SearchIndexError
from qsift.text import Vectors

try:
    import lancedb
    import pyarrow as pa
    from lancedb.index import FTS, IvfSq
except ImportError as error:
    raise MissingExtraError("A search index", error.name or "lancedb", "index") from error

_NAME = "passages"
_LOCK = "write.lock"
"""The file in an index's folder that a writer locks; the system unlocks it where a process dies."""
_METADATA = b"qsift"
_PASSAGE = ("text", "source", "kind", "line", "end_line", "place", "modified", "part")
_PARTITION = 4096
"""Rows that share a cell of the approximate index."""
_OUTGROWN = 4
"""How many times more rows than its cells were made for an approximate index takes in."""
_RUST_LINE = re.compile(r",? /\S+\.rs:\d+:\d+")
_MAX_NAMES = 1000
"""Sources that one condition names."""
_READERS_NEED = timedelta(minutes=1)
"""What was replaced so long ago goes; a reader goes to the newest version and is done long before."""
_ALWAYS = timedelta(days=36_500)


@dataclass(frozen=True)
class Found:
    """A row that a query gave: its id in this version of the table, its passage, its vector in float32."""

    id: int
    passage: Passage
    vector: Vectors


class IndexTable:
    """An open table; `open` and `create` make one.

    Attributes:
        path: the index's folder.
        metadata: what `create` was given.
    """

    def __init__(self, path: str, table: Any, wait: float) -> None:
        self.path = path
        self._table = table
        self._wait = wait
        schema = table.schema
        self.metadata: bytes = (schema.metadata or {}).get(_METADATA, b"")
        self._vectors: Any = schema.field("vector").type

    @classmethod
    def open(cls, path: str, wait: float) -> IndexTable | None:
        """Returns the table of a folder; None where there is none, or one whose making was broken off.

        Args:
            path: the index's folder.
            wait: seconds to wait for another process that writes.

        Raises:
            SearchIndexError: something else is there, or the table is damaged.
        """
        if not os.path.isdir(path):
            if os.path.lexists(path):
                raise SearchIndexError(path, "This is no folder. An index is a folder: pass another path.")
            return None
        entries = {entry for entry in os.listdir(path) if entry != _LOCK}
        if entries and f"{_NAME}.lance" not in entries:
            raise SearchIndexError(path, "This folder holds other files and no index. Pass another path.")
        if not cls.is_there(path):
            return None
        with _translated(path):
            return cls(path, lancedb.connect(path).open_table(_NAME), wait)

    @staticmethod
    def is_there(path: str) -> bool:
        """Returns whether a folder holds a table."""
        return os.path.isdir(os.path.join(path, f"{_NAME}.lance", "_versions"))

    @classmethod
    def create(cls, path: str, wait: float, *, width: int, dtype: str, metadata: bytes) -> IndexTable:
        """Returns a new table, or the one that another process made meanwhile.

        Args:
            path: the index's folder; made with its parents.
            wait: seconds to wait for another process that writes.
            width: entries of a vector.
            dtype: "float32" or "int8".
            metadata: facts to keep with the table.
        """
        with _locked(path, wait):
            if found := cls.open(path, wait):
                return found
            columns = {name: pa.string() for name in ("text", "source", "kind", "place", "stamp")}
            columns |= {name: pa.int32() for name in ("line", "end_line", "part")}
            columns |= {
                "modified": pa.float64(),
                "last": pa.bool_(),
                "vector": pa.list_(pa.type_for_alias(dtype), width),
            }
            fields = [pa.field(name, kind, nullable=name == "vector") for name, kind in columns.items()]
            with _translated(path):
                schema = pa.schema(fields, metadata={_METADATA: metadata})
                return cls(path, lancedb.connect(path).create_table(_NAME, schema=schema), wait)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the right to write, on the newest version.

        Raises:
            SearchIndexError: another process holds it for longer than this one waits.
        """
        with _locked(self.path, self._wait):
            self.refresh()
            with _translated(self.path):
                if "text" not in self._indices():
                    # ICU knows where words end in Chinese, Japanese and Thai; "split" also parts snake_case.
                    config = FTS(base_tokenizer="icu/split", remove_stop_words=False)
                    self._table.create_index("text", config=config)
            yield

    def refresh(self) -> int:
        """Goes to the newest version and returns its number."""
        with _translated(self.path):
            self._table.checkout_latest()
            return int(self._table.version)

    def count(self) -> int:
        """Returns the number of passages with a vector; reads the whole column."""
        with _translated(self.path):
            return int(self._table.count_rows("vector IS NOT NULL"))

    def matches_at_most(self, limit: int, where: str) -> bool:
        """Returns whether a condition, or "" for none, holds for so few rows."""
        with _translated(self.path):
            return bool(self._table.count_rows(where or None) <= limit)

    def documents(self) -> dict[str, Stored]:
        """Returns what is stored of each document, by source."""
        with _translated(self.path):
            rows = self._table.search().select(["source", "stamp", "last"]).to_arrow()
            groups = rows.group_by(["source", "stamp"]).aggregate([("last", "count"), ("last", "any")])
        columns = (groups[name].to_pylist() for name in ("source", "stamp", "last_count", "last_any"))
        return {source: Stored(stamp, n, complete) for source, stamp, n, complete in zip(*columns, strict=True)}

    def sources(self, where: str) -> list[IndexedSource]:
        """Returns the documents with text of which a condition, or "" for none, holds, by name."""
        condition = " AND ".join(filter(None, ("vector IS NOT NULL", where)))
        with _translated(self.path):
            rows = self._table.search().where(condition).select(["source", "kind", "modified"]).to_arrow()
            groups = rows.group_by("source").aggregate([("kind", "max"), ("source", "count"), ("modified", "max")])
        columns = (groups[name].to_pylist() for name in ("source", "kind_max", "source_count", "modified_max"))
        return sorted(IndexedSource(*row) for row in zip(*columns, strict=True))

    def passages(self, source: str, start: int, stop: int) -> list[Passage]:
        """Returns the passages of a document with text whose ``part`` is in start..stop-1, in order."""
        where = f"{is_one_of('source', [source])} AND vector IS NOT NULL AND part >= {start} AND part < {stop}"
        with _translated(self.path):
            rows = self._table.search().where(where).select(list(_PASSAGE)).to_arrow()
            return sorted((Passage(**fields) for fields in rows.to_pylist()), key=lambda passage: passage.part)

    def write(self, batch: Batch, vectors: NDArray[Any]) -> None:
        """Writes a batch and takes away what it replaces, in one commit; ``vectors`` has a row for each row."""
        with _translated(self.path):
            rows = self._to_arrow(batch.rows, vectors)
            if not batch.overlaps:
                self._table.add(rows)
                return
            merge = self._table.merge_insert(["source", "part"]).when_matched_update_all().when_not_matched_insert_all()
            if batch.replaced:
                merge = merge.when_not_matched_by_source_delete(is_one_of("source", batch.replaced))
            merge.execute(rows)

    def delete(self, sources: Sequence[str]) -> None:
        """Takes documents away."""
        with _translated(self.path):
            for start in range(0, len(sources), _MAX_NAMES):
                self._table.delete(is_one_of("source", sources[start : start + _MAX_NAMES]))

    def optimize(self, exact_rows: int) -> None:
        """Brings the indices up to date, makes few files of many, and removes what no reader needs.

        Args:
            exact_rows: passages from which on an approximate index of float vectors is worth its error.
        """
        n_rows = self.count()
        with _translated(self.path):
            if n_rows > exact_rows and self.is_float:
                self._train(n_rows)
            self._table.optimize(cleanup_older_than=_ALWAYS)
            # LanceDB goes by when a version was made. One that was the newest for a day was replaced only now, and
            # readers are on it; so what goes are those before the one that was the newest when a reader has begun.
            now = datetime.now()
            made = [version["timestamp"] for version in self._table.list_versions()]
            if before := [time for time in made if now - time >= _READERS_NEED]:
                # Only we write, so a file that no version names was left by a writer that died.
                older_than = now - max(before) + timedelta(seconds=1)
                self._table.optimize(cleanup_older_than=older_than, delete_unverified=True)

    def _train(self, n_rows: int) -> None:
        """Makes the approximate index, again where the table has outgrown its cells; its name says on how many rows."""
        old = self._indices().get("vector")
        if old and n_rows <= _OUTGROWN * int(old.rpartition("_")[2]):
            return
        config = IvfSq(distance_type="cosine", num_partitions=max(1, n_rows // _PARTITION))
        self._table.create_index("vector", config=config, name=f"vector_{n_rows}")
        if old:
            self._table.drop_index(old)

    def is_optimized(self) -> bool:
        """Returns whether every row is in the indices."""
        with _translated(self.path):
            return not any(self._table.index_stats(name).num_unindexed_rows for name in self._indices().values())

    @property
    def is_float(self) -> bool:
        """Whether vectors are stored in float32, not int8."""
        return bool(self._vectors.value_type == pa.float32())

    @property
    def is_approximate(self) -> bool:
        """Whether there is an approximate index."""
        with _translated(self.path):
            return "vector" in self._indices()

    def nearest(self, query: Vectors, limit: int, where: str, *, exact: bool) -> list[Found]:
        """Returns the rows of largest cosine, the best first; float vectors only."""
        with _translated(self.path):
            search = self._table.search(query, vector_column_name="vector").distance_type("cosine").limit(limit)
            if exact:
                search = search.bypass_vector_index()
            else:
                # Half of the cells; of twice as many rows as asked for the true cosines are computed.
                n_probes = max(20, self._table.count_rows() // _PARTITION // 2)
                search = search.minimum_nprobes(n_probes).maximum_nprobes(0).refine_factor(2)
            search = search.where(where) if where else search
            return self._found(search.select([*_PASSAGE, "vector", "_distance"]).with_row_id(True).to_arrow())

    def matching(self, text: str, limit: int, where: str) -> list[Found]:
        """Returns the rows that BM25 scores highest for the words of a text, the best first."""
        with _translated(self.path):
            if "text" not in self._indices():
                return []
            search = self._table.search(text, query_type="fts", fts_columns="text").limit(limit)
            search = search.where(where) if where else search
            return self._found(search.select([*_PASSAGE, "vector", "_score"]).with_row_id(True).to_arrow())

    def take(self, ids: Sequence[int]) -> list[Found]:
        """Returns rows by their ids, in that order."""
        with _translated(self.path):
            rows = self._table.take_row_ids(list(ids)).select([*_PASSAGE, "vector"]).with_row_id().to_arrow()
            by_id = {found.id: found for found in self._found(rows)}
        return [by_id[item] for item in ids]

    def ids(self, where: str) -> NDArray[np.uint64]:
        """Returns the ids of the rows that a condition holds for."""
        with _translated(self.path):
            rows = self._table.search().where(where).select(["part"]).with_row_id(True).to_arrow()
        ids: NDArray[np.uint64] = rows["_rowid"].to_numpy()
        return ids

    def vectors(self) -> Iterator[tuple[NDArray[np.uint64], NDArray[Any]]]:
        """Yields ids and vectors as they are stored, thousands at a time."""
        with _translated(self.path):
            rows = self._table.search().where("vector IS NOT NULL").select(["vector"]).with_row_id(True)
            for batch in rows.to_batches(8192):
                yield batch["_rowid"].to_numpy(), self._matrix(batch["vector"])

    def vectors_by_text(self, sources: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Returns the stored vectors of documents by the texts of their passages."""
        with _translated(self.path):
            where = f"vector IS NOT NULL AND {is_one_of('source', sources)}"
            rows = self._table.search().where(where).select(["text", "vector"]).to_arrow()
            return dict(zip(rows["text"].to_pylist(), self._matrix(rows["vector"].combine_chunks()), strict=True))

    def _indices(self) -> dict[str, str]:
        return {index.columns[0]: index.name for index in self._table.list_indices()}

    def _matrix(self, column: Any) -> NDArray[Any]:
        matrix: NDArray[Any] = column.flatten().to_numpy().reshape(-1, self._vectors.list_size)
        return matrix

    def _found(self, rows: Any) -> list[Found]:
        vectors = self._matrix(rows["vector"].combine_chunks()).astype(np.float32)
        passages = (Passage(**fields) for fields in rows.select(_PASSAGE).to_pylist())
        return [Found(*row) for row in zip(rows["_rowid"].to_pylist(), passages, vectors, strict=True)]

    def _to_arrow(self, rows: list[Row], vectors: NDArray[Any]) -> Any:
        empty = pa.array([not row.passage.text for row in rows])
        values = pa.array(vectors.ravel(), self._vectors.value_type)
        columns: dict[str, Any] = {name: [getattr(row.passage, name) for row in rows] for name in _PASSAGE}
        columns |= {name: [getattr(row, name) for row in rows] for name in ("stamp", "last")}
        columns["vector"] = pa.FixedSizeListArray.from_arrays(values, type=self._vectors, mask=empty)
        return pa.table({name: columns[name] for name in self._table.schema.names}, schema=self._table.schema)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except SearchIndexError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, pa.ArrowException) as error:
        reason = _RUST_LINE.sub("", (str(error).splitlines() or [type(error).__name__])[0])
        advice = "What was written before stays. If it comes again, index into a new folder."
        raise SearchIndexError(path, f"LanceDB failed: {reason}. {advice}") from error


@contextmanager
def _locked(path: str, wait: float) -> Iterator[None]:
    """Holds the lock of the index at ``path``, a folder that is made with its parents if it is not there.

    Raises:
        SearchIndexError: another process holds it for longer than ``wait`` seconds, or the folder takes no files.
    """
    lock = FileLock(os.path.join(path, _LOCK), timeout=wait)
    try:
        os.makedirs(path, exist_ok=True)
        lock.acquire()
    except Timeout:
        reason = "Another process is writing to this index. Nothing was changed; run this again when it is done."
        raise SearchIndexError(path, reason) from None
    except OSError as error:
        raise SearchIndexError(path, f"It cannot be written to: {error.strerror}.") from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.release()
