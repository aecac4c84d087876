"""An index that lasts: documents in, candidates for a query out.

    with Embedder.load("model.gguf") as embedder, SearchIndex.open("notes.index", embedder) as index:
        index.update([Document.of_text("a text", "a name")])
        query = "a question"
        candidates = index.search(embedder.encode_query(query), query)

How it is stored is `table`'s affair, which is loaded when the first index is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .batches import Batch, Batches
from .filter import Filter, inside
from .ranking import Candidate
from .retrieval import FirstStage, Mode
from .settings import IndexOptions, Settings
from qsift.documents import Document, Kind, OnBatch, OnSkip, Splitter
from qsift.embedder import Embedder
from qsift.errors import SearchIndexError

if TYPE_CHECKING:
    from .table import IndexTable


@dataclass(frozen=True)
class IndexInfo:
    """What is in an index.

    Attributes:
        path: its folder.
        passages, documents: how many there are; documents without text count.
        incomplete: documents whose indexing was broken off; the next update goes on with them.
        model, quant: what made the vectors.
        width, precision: their width and type.
        nbytes: size of the folder.
        search: "exact", or "IVF_SQ" where an approximate index is used.
    """

    path: str
    passages: int
    documents: int
    incomplete: int
    model: str
    quant: str
    width: int
    precision: str
    nbytes: int
    search: Literal["exact", "IVF_SQ"]


@dataclass(frozen=True)
class IndexChanges:
    """What an update did: documents by what became of them, and how many passages were embedded."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    embedded: int = 0


@dataclass(frozen=True)
class IndexedDocument:
    """A document in an index.

    Attributes:
        source, kind, modified: as those of the `Document`.
        passages: how many it has; 0 for one without text.
        complete: whether its indexing was not broken off.
    """

    source: str
    kind: Kind
    modified: float
    passages: int
    complete: bool


class SearchIndex:
    """Passages of documents with their vectors, in a folder. `open` makes one; use it in a with statement.

    Searching is safe from several threads and while another process writes. Writers take turns.

    Attributes:
        path: the folder.
        embedder: what makes the vectors, if any; the caller closes it.
        options: as given to `open`.
    """

    def __init__(self, table: IndexTable, embedder: Embedder | None, options: IndexOptions, settings: Settings) -> None:
        """Wraps an open table; `open` makes one."""
        self.path = table.path
        self.embedder = embedder
        self.options = options
        self._table = table
        self._settings = settings
        self._first_stage = FirstStage(table, settings.width, options.exact_rows)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        embedder: Embedder | None,
        *,
        create: bool = True,
        options: IndexOptions = IndexOptions(),  # noqa: B008 (it is frozen)
    ) -> SearchIndex:
        """Returns the index of a folder.

        Args:
            path: the folder; made if it is not there.
            embedder: the model that the index was made with, or is to be. None opens one that is there for
                everything but `add` and `update`.
            create: whether to make an index where there is none.
            options: how to make and use it.

        Raises:
            SearchIndexError: no index there, or one of another model, width or version.
            MissingExtraError: lancedb is not installed.
            TypeError, ValueError: a width out of range.
        """
        from .table import IndexTable

        name = os.fspath(path)
        wanted = Settings.for_new(embedder.file, options) if embedder else None
        table = IndexTable.open(name, options.wait)
        if table is None:
            if wanted is None or not create or not name:
                raise SearchIndexError(name, "There is no index. Make one with: qsift index add INDEX PATH….")
            table = IndexTable.create(
                name,
                options.wait,
                width=wanted.width,
                dtype=wanted.precision,
                metadata=wanted.to_json(),
            )
        settings = Settings.from_json(table.metadata, name)
        settings.check(wanted, options, name)
        return cls(table, embedder, options, settings)

    @staticmethod
    def is_there(path: str | os.PathLike[str]) -> bool:
        """Returns whether a folder holds an index.

        Raises:
            MissingExtraError: lancedb is not installed.
        """
        from .table import IndexTable

        return IndexTable.is_there(os.fspath(path))

    def add(
        self,
        documents: Iterable[Document],
        *,
        on_skip: OnSkip | None = None,
        on_batch: OnBatch | None = None,
    ) -> IndexChanges:
        """Indexes documents that are new or changed; arguments, result and errors as `update`."""
        return self._write(documents, inside(()), on_skip, on_batch)

    def update(
        self,
        documents: Iterable[Document],
        *,
        within: Iterable[str] | None = None,
        on_skip: OnSkip | None = None,
        on_batch: OnBatch | None = None,
    ) -> IndexChanges:
        """Makes the index hold these documents: embeds what is new or changed, removes what is gone.

        May be killed at any moment: what was written stays, and the next call goes on where it was. A passage
        whose document changed elsewhere keeps its vector.

        Args:
            documents: any number of them, read one at a time; each needs a source of its own.
            within: sources and folders outside of which nothing is removed; None removes whatever is
                not among ``documents``.
            on_skip: is told source and reason of a document that cannot be read, which keeps what the
                index has of it; None raises its DocumentError.
            on_batch: is told the passages of each batch once they are safe.

        Raises:
            SearchIndexError: another process is writing, or the disk refuses.
            DocumentError: a document cannot be read, and ``on_skip`` is None.
            ValueError: two documents of one source, a text with a lone surrogate, or an index that was
                opened without an embedder.
            EngineError: from the engine.
        """
        return self._write(documents, inside(within), on_skip, on_batch)

    def remove(self, sources: Iterable[str]) -> int:
        """Removes documents by their sources or the folders they are in; returns how many there were.

        Raises:
            SearchIndexError: another process is writing.
            TypeError: a str, where several are needed.
        """
        is_meant = inside(sources)
        with self._table.writing():
            gone = [source for source in self._table.documents() if is_meant(source)]
            self._table.delete(gone)
            if gone:
                self._table.optimize(self.options.exact_rows)
        return len(gone)

    def version(self) -> int:
        """Returns the number of the index's newest state, which grows with whatever is written."""
        return self._table.refresh()

    def documents(self) -> list[IndexedDocument]:
        """Returns the documents that are in the index now, by their sources."""
        self._table.refresh()
        return [IndexedDocument(*row) for row in self._table.contents()]

    def info(self) -> IndexInfo:
        """Returns what is in the index now."""
        self._table.refresh()
        documents = self._table.documents()
        return IndexInfo(
            path=self.path,
            passages=self._table.count(),
            documents=len(documents),
            incomplete=sum(not stored.complete for stored in documents.values()),
            model=self._settings.model,
            quant=self._settings.quant,
            width=self._settings.width,
            precision=self._settings.precision,
            nbytes=sum(path.lstat().st_size for path in Path(self.path).rglob("*")),
            search="IVF_SQ" if self._table.is_approximate else "exact",
        )

    def search(
        self,
        query_vector: Any,
        query_text: str,
        *,
        candidates: int = 50,
        mode: Mode = "hybrid",
        where: Filter | None = None,
        coarse_dim: int | None = None,
    ) -> list[Candidate]:
        """Returns the passages for a query, the best first.

        Args:
            query_vector: (width,) of the index, or wider and cut here; from `Embedder.encode_query`.
            query_text: what the user typed.
            candidates: how many at most.
            mode: "vector" goes by the cosine, "text" by BM25 over the words, "hybrid" fuses both by
                reciprocal rank.
            where: what to search in; None is everything.
            coarse_dim: look at this many entries of each vector first, and at all of them only for the
                best; None looks at all. The entries are kept in memory, 4 bytes each (1 in int8).

        Raises:
            ValueError: a vector too short, not finite or all zeros, an unknown mode, a number out of range.
            SearchIndexError: the index is damaged or gone.
        """
        return self._first_stage.search(
            query_vector,
            query_text,
            candidates=candidates,
            mode=mode,
            where=where or Filter(),
            coarse_dim=coarse_dim,
        )

    def close(self) -> None:
        """Frees what searching keeps in memory. May be called more than once."""
        self._first_stage.forget()

    def __enter__(self) -> SearchIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(
        self,
        documents: Iterable[Document],
        may_go: Callable[[str], bool],
        on_skip: OnSkip | None,
        on_batch: OnBatch | None,
    ) -> IndexChanges:
        embedder, embedded = self.embedder, 0
        if embedder is None:
            raise ValueError("The index was opened without an embedder. Pass one to SearchIndex.open.")
        limits = {"max_tokens": self._settings.max_tokens, "overlap": self._settings.overlap}
        with self._table.writing():
            stored = self._table.documents()
            batches = Batches(documents, stored, Splitter(embedder.token_count, **limits), self.options.batch, on_skip)
            for batch in batches:
                vectors, n_embedded = self._vectors(
                    embedder, batch, sum(stored[source].n_rows for source in batch.replaced)
                )
                self._table.write(batch, vectors)
                embedded += n_embedded
                if on_batch:
                    on_batch([row.passage for row in batch.rows if row.passage.text])
            gone = [source for source in stored if source not in batches.seen and may_go(source)]
            self._table.delete(gone)
            if batches.written or gone or not self._table.is_optimized():
                self._table.optimize(self.options.exact_rows)
        added = len(batches.written - stored.keys())
        changed = len(batches.written) - added
        unchanged = len(batches.seen) - len(batches.written | set(batches.skipped))
        return IndexChanges(added, changed, len(gone), unchanged, len(batches.skipped), embedded)

    def _vectors(self, embedder: Embedder, batch: Batch, n_replaced: int) -> tuple[NDArray[Any], int]:
        """Returns a vector for each row, and how many were computed; those of unchanged texts are there already."""
        texts = list(dict.fromkeys(row.passage.text for row in batch.rows if row.passage.text))
        # A document many times larger than a batch would fill the memory with its old vectors.
        reusable = 0 < n_replaced <= 4 * self.options.batch
        vectors = self._table.vectors_by_text(batch.replaced) if reusable else {}
        missing = [text for text in texts if text not in vectors]
        dim, precision = self._settings.width, self._settings.precision
        rows = embedder.encode_document(missing, truncate_dim=dim, precision=precision)
        vectors |= dict(zip(missing, rows, strict=True))
        blank = np.zeros(dim, precision)
        return np.stack([vectors.get(row.passage.text, blank) for row in batch.rows]), len(missing)
