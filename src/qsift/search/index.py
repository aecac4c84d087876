"""An index that lasts: documents in, candidates for a query out.

    with Embedder.load("model.gguf") as embedder, SearchIndex.open("notes.index", embedder) as index:
        index.update([Document.of_text("a text", "a name")])
        query = "a question"
        candidates = index.search(embedder.encode_query(query), query)

How it is stored is `table`'s affair, which is loaded when the first index is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .batches import Batch, Batches, IndexedSource
from .filter import Filter, inside
from .progress import OnProgress, counting
from .ranking import Candidate
from .retrieval import FirstStage, Mode
from .roots import Root, as_roots, check_here, documents_of, keep_roots, kept_roots
from .settings import IndexOptions, Settings
from .watching import changes_of
from qsift.documents import Document, OnBatch, OnSkip, Passage, Splitter
from qsift.embedder import Embedder
from qsift.errors import SearchIndexError

if TYPE_CHECKING:
    from .table import IndexTable


_MAX_PARTS = 2**31 - 1
"""More passages than a document has: their numbers are int32."""


@dataclass(frozen=True)
class IndexInfo:
    """What is in an index.

    Attributes:
        path: its folder.
        passages, documents: how many there are; documents without text count.
        incomplete: documents whose indexing was broken off; the next update goes on with them.
        model, quant: what made the vectors.
        width, precision: their width and type.
        nbytes: size of the files in the folder.
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
    """What an update did: documents by what became of them, and how many passages were embedded.

    Those that were skipped could not be read; the index keeps what it has of them.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    embedded: int = 0


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
        on_progress: OnProgress | None = None,
    ) -> IndexChanges:
        """Indexes documents that are new or changed; arguments, result and errors as `update`."""
        return self._write(documents, inside(()), (), on_skip, on_batch, on_progress)

    def update(
        self,
        documents: Iterable[Document],
        *,
        within: Iterable[str] | None = None,
        unread: Iterable[str] = (),
        on_skip: OnSkip | None = None,
        on_batch: OnBatch | None = None,
        on_progress: OnProgress | None = None,
    ) -> IndexChanges:
        """Makes the index hold these documents: embeds what is new or changed, removes what is gone.

        May be killed at any moment: what was written stays, and the next call goes on where it was. A passage
        whose document changed elsewhere keeps its vector.

        Args:
            documents: any number of them, read one at a time; each needs a source of its own.
            within: sources and folders outside of which nothing is removed; None removes whatever is
                not among ``documents``.
            unread: sources and folders that could not be read, as `find_documents` tells them; nothing of them is
                removed. Looked at behind the last document.
            on_skip: is told source and reason of a document that cannot be read, which keeps what the
                index has of it; None raises its DocumentError.
            on_batch: is told the passages of each batch once they are safe.
            on_progress: is told after each decode call how many passages are embedded, and how many are cut so far.

        Raises:
            SearchIndexError: another process is writing, or the disk refuses.
            DocumentError: a document cannot be read, and ``on_skip`` is None.
            ValueError: two documents of one source, a text with a lone surrogate, or an index that was
                opened without an embedder.
            EngineError: from the engine.
        """
        return self._write(documents, inside(within), unread, on_skip, on_batch, on_progress)

    def keep(self, paths: Iterable[Root | str | os.PathLike[str]]) -> None:
        """Keeps in the index what it is made of, for `roots`; a path that is kept is replaced.

        Args:
            paths: files and folders; a `Root` says how it is walked, too.

        Raises:
            TypeError: ``paths`` is a single path.
            DocumentError: a path is not there.
            SearchIndexError: another process is writing, or the disk refuses.
        """
        roots = as_roots(paths)
        with self._table.writing():
            kept = {root.source: root for root in (*kept_roots(self.path), *roots)}
            keep_roots(self.path, list(kept.values()))

    def roots(self) -> list[Root]:
        """Returns what the index is made of, as `keep` was told.

        Raises:
            SearchIndexError: nothing was kept, or a path leads elsewhere from this folder than from where it was given.
        """
        roots = kept_roots(self.path)
        check_here(self.path, roots)
        return roots

    def watch(
        self, paths: Iterable[Root | str | os.PathLike[str]], *, on_skip: OnSkip
    ) -> Generator[IndexChanges, None, None]:
        """Yields what it did each time when it has brought the index up to date with files; ends by an error alone.

        The first update looks at all files, the others at what changed, half a second after the last change or five
        after the first. Between them nothing is held: others search and write, and what happens meanwhile counts later.
        A folder among the paths that goes keeps what the index has of it, and is looked at again when it comes back.

        Args:
            paths: files and folders; a `Root` says how it is walked, too.
            on_skip: is told source and reason of what cannot be read.

        Raises:
            TypeError: ``paths`` is a single path.
            MissingExtraError: watchfiles is not installed.
            DocumentError: a path is not there or cannot be watched.
            SearchIndexError, EngineError: as `update`. With `IndexOptions.wait` below 0 another writer is waited for.
        """
        roots = as_roots(paths)
        is_first = True
        while True:
            with closing(changes_of(roots, but=self.path)) as told:
                for changes in told:
                    unread: list[str] = []
                    found = list(
                        documents_of(changes.roots, on_skip=on_skip, on_unread=unread.append, among=changes.names)
                    )
                    # Else it was something that is left out.
                    if is_first or found or self._has_any_of(changes.names):
                        done = self.update(found, within=changes.names, unread=unread, on_skip=on_skip)
                        if is_first or done != IndexChanges(unchanged=done.unchanged):
                            yield done
                        is_first = False

    def remove(self, sources: Iterable[str]) -> int:
        """Removes documents by their sources or the folders they are in; returns how many there were.

        Raises:
            SearchIndexError: another process is writing.
            TypeError: a str, where several are needed.
        """
        is_meant = inside(sources)
        with self._table.writing():
            kept = kept_roots(self.path)
            if any(is_meant(root.source) for root in kept):
                keep_roots(self.path, [root for root in kept if not is_meant(root.source)])
            gone = [source for source in self._table.documents() if is_meant(source)]
            self._table.delete(gone)
            if gone:
                self._table.optimize(self.options.exact_rows)
        return len(gone)

    def version(self) -> int:
        """Returns the number of the index's newest state, which grows with whatever is written."""
        return self._table.refresh()

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
            nbytes=_size_of(self.path),
            search="IVF_SQ" if self._table.is_approximate else "exact",
        )

    def sources(self, where: Filter | None = None) -> list[IndexedSource]:
        """Returns the documents in the index by name; those without text are left out.

        Args:
            where: which of them; None is all.

        Raises:
            ValueError: a glob that is none.
            SearchIndexError: the index is damaged or gone.
        """
        self._table.refresh()
        return self._table.sources((where or Filter()).to_sql())

    def passages(self, source: str, *, start: int = 0, stop: int | None = None) -> list[Passage]:
        """Returns passages of a document in order, as they were when it was indexed: no file is read.

        Args:
            source: the document's name; one that is not in the index has none.
            start, stop: numbers of the first passage and of that behind the last; None goes to the end.

        Raises:
            SearchIndexError: the index is damaged or gone.
        """
        self._table.refresh()
        return self._table.passages(source, start, _MAX_PARTS if stop is None else stop)

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
        unread: Iterable[str],
        on_skip: OnSkip | None,
        on_batch: OnBatch | None,
        on_progress: OnProgress | None,
    ) -> IndexChanges:
        embedder, embedded, done = self.embedder, 0, 0
        if embedder is None:
            raise ValueError("The index was opened without an embedder. Pass one to SearchIndex.open.")
        limits = {"max_tokens": self._settings.max_tokens, "overlap": self._settings.overlap}
        with self._table.writing():
            stored = self._table.documents()
            batches = Batches(documents, stored, Splitter(embedder.token_count, **limits), self.options.batch, on_skip)
            for batch in batches:
                passages = [row.passage for row in batch.rows if row.passage.text]
                count = counting(on_progress, done, done + len(passages))
                n_replaced = sum(stored[source].n_rows for source in batch.replaced)
                vectors, n_embedded = self._vectors(embedder, batch, n_replaced, count)
                self._table.write(batch, vectors)
                embedded += n_embedded
                done += len(passages)
                if on_batch:
                    on_batch(passages)
            missing = [source for source in stored if source not in batches.seen and may_go(source)]
            is_unread = inside(unread)
            gone = [source for source in missing if not is_unread(source)]
            self._table.delete(gone)
            if batches.written or gone or not self._table.is_optimized():
                self._table.optimize(self.options.exact_rows)
        added = len(batches.written - stored.keys())
        changed = len(batches.written) - added
        unchanged = len(batches.seen) - len(batches.written | set(batches.skipped))
        skipped = len(batches.skipped) + len(missing) - len(gone)
        return IndexChanges(added, changed, len(gone), unchanged, skipped, embedded)

    def _has_any_of(self, names: Iterable[str]) -> bool:
        self._table.refresh()
        return any(map(inside(names), self._table.documents()))

    def _vectors(
        self, embedder: Embedder, batch: Batch, n_replaced: int, count: Callable[[int], None] | None
    ) -> tuple[NDArray[Any], int]:
        """Returns a vector for each row, and how many were computed; those of unchanged texts are there already."""
        texts = list(dict.fromkeys(row.passage.text for row in batch.rows if row.passage.text))
        # A document many times larger than a batch would fill the memory with its old vectors.
        reusable = 0 < n_replaced <= 4 * self.options.batch
        vectors = self._table.vectors_by_text(batch.replaced) if reusable else {}
        missing = [text for text in texts if text not in vectors]
        dim, precision = self._settings.width, self._settings.precision
        if count:  # what needs no embedding
            count(sum(bool(row.passage.text) for row in batch.rows) - len(missing))
        rows = embedder.encode_document(missing, truncate_dim=dim, precision=precision, on_progress=count)
        vectors |= dict(zip(missing, rows, strict=True))
        blank = np.zeros(dim, precision)
        return np.stack([vectors.get(row.passage.text, blank) for row in batch.rows]), len(missing)


def _size_of(folder: str) -> int:
    """Returns the size of the files in a folder; those that a writer removes meanwhile may count or not."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(place, name)).st_size
    return size
