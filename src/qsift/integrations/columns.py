"""Columns that are computed from tables of texts: vectors, and scores of a reranker.

They are settings, which travel to other processes; `load` makes what computes. This file knows no files and no Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .lazy_models import LazyModel
from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.errors import MissingExtraError
from qsift.reranker import Reranker

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError("A table of texts", error.name or "pyarrow", "ray") from error

AddColumn = Callable[[pa.Table], pa.Table]
"""Returns a table with one column more, row for row."""


@dataclass(frozen=True)
class Vectors:
    """A column of vectors, a fixed-size list of float32 for each row.

    Attributes:
        model: a path or a name, as `qsift.Embedder.load` takes it; it must mean the same on every machine.
        column: the column of texts.
        output: the new column.
        instruction: one sentence, which makes queries of the texts; None leaves the prompt's own.
        prompt_name: which of the model's prompts stands before them; None means "document", or "query" with an
            instruction.
        truncate_dim: width to cut to, from 32; None keeps the full one.
        options: device, cache and so on; threads come from the pool unless they stand here.
    """

    model: str
    column: str = "text"
    output: str = "vector"
    instruction: str | None = None
    prompt_name: str | None = None
    truncate_dim: int | None = None
    options: EngineOptions | None = None

    def load(self, threads: int) -> AddColumn:
        """Loads the model, and returns what adds the column; raises as `qsift.Embedder.load`."""
        embedder = LazyModel(Embedder, self.model, options=_with_threads(self.options, threads))()
        name = self.prompt_name or ("document" if self.instruction is None else "query")

        def add(table: pa.Table) -> pa.Table:
            texts = texts_of(table, self.column)
            rows = embedder.encode(
                texts, instruction=self.instruction, prompt_name=name, truncate_dim=self.truncate_dim
            )
            flat = pa.array(rows.reshape(-1), pa.float32())
            return _appended(table, self.output, pa.FixedSizeListArray.from_arrays(flat, rows.shape[1]))

        return add


@dataclass(frozen=True)
class Scores:
    """A column of P(yes), float32, for each row's text.

    Attributes:
        model: a path or a name, as `qsift.Reranker.load` takes it; it must mean the same on every machine.
        query: the query of all rows; None where each row brings its own.
        query_column: the column of the rows' queries; None where there is one for all.
        column, output, options: as `Vectors`.
        instruction: what makes a text fit, one sentence; None takes the model's default.
    """

    model: str
    query: str | None = None
    query_column: str | None = None
    column: str = "text"
    output: str = "score"
    instruction: str | None = None
    options: EngineOptions | None = None

    def __post_init__(self) -> None:
        if (self.query is None) == (self.query_column is None):
            raise TypeError("Rows are judged by one query or by a column of queries: give query or query_column.")

    def load(self, threads: int) -> AddColumn:
        """Loads the model, and returns what adds the column; raises as `qsift.Reranker.load`."""
        reranker = LazyModel(Reranker, self.model, options=_with_threads(self.options, threads))()

        def add(table: pa.Table) -> pa.Table:
            texts = texts_of(table, self.column)
            queries = texts_of(table, self.query_column) if self.query_column else [self.query] * len(texts)
            scores = reranker.predict(list(zip(queries, texts, strict=True)), instruction=self.instruction)
            return _appended(table, self.output, pa.array(scores, pa.float32()))

        return add


Column = Vectors | Scores


def texts_of(table: pa.Table, column: str) -> list[str]:
    """Returns a column's texts.

    Raises:
        ValueError: no such column, not of texts, or a row without one; says which row of the table.
    """
    if column not in table.column_names:
        names = ", ".join(map(repr, table.column_names))
        raise ValueError(f"There is no column {column!r}. The columns are {names}.")
    cells = table[column]
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)) and len(table):
        raise ValueError(f"Column {column!r} is of type {cells.type}; texts are needed.")
    texts: list[Any] = cells.to_pylist()
    if cells.null_count:
        raise ValueError(f"Row {texts.index(None)} has no text in column {column!r}. Fill it, or leave the row out.")
    return texts


def _appended(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name in table.column_names:
        raise ValueError(f"There is a column {name!r} already. Name another with output=….")
    return table.append_column(name, values)


def _with_threads(options: EngineOptions | None, threads: int) -> EngineOptions:
    options = options or EngineOptions()
    return options if options.threads else replace(options, threads=threads)
