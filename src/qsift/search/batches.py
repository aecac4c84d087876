"""Which passages are embedded and written together: what changed, in batches of whole documents.

A document has a row for each passage, numbered by its ``part``; the last row says so. A document without
text has one row without a vector, so that it is not read again. So a killed writer leaves, of the one
document that is larger than a batch, rows from the first on without a last one, and the next run goes
on behind them. This file knows neither LanceDB nor a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from qsift.documents import Document, Kind, OnSkip, Passage, Splitter
from qsift.errors import DocumentError
from qsift.text import check_text


@dataclass(frozen=True)
class Stored:
    """What an index holds of a document: its stamp, its number of rows, and whether the last one is among them."""

    stamp: str
    n_rows: int
    complete: bool


@dataclass(frozen=True, order=True)
class IndexedSource:
    """A document in an index.

    Attributes:
        source: its name.
        kind: what it is, such as "markdown".
        passages: how many it has.
        modified: when it was last changed, in unix seconds; 0.0 where that is unknown.
    """

    source: str
    kind: Kind
    passages: int
    modified: float


@dataclass(frozen=True)
class Row:
    """A passage of a document; one without text where the document has none."""

    passage: Passage
    stamp: str
    last: bool


@dataclass(frozen=True)
class Batch:
    """Rows that become visible together.

    Attributes:
        rows: in the order of the documents.
        replaced: documents whose other rows, if they have any, go at the same moment.
        overlaps: whether any row may be there already.
    """

    rows: list[Row]
    replaced: list[str]
    overlaps: bool


@dataclass
class Batches:
    """Makes batches of documents, skipping what is stored; iterate it once.

    Attributes:
        documents: in any order; each source once, or again with the same stamp.
        stored: what the index holds, by source.
        splitter: makes the passages.
        size: rows that fill a batch.
        on_skip: is told the source and the reason of what cannot be read; None raises its DocumentError.
        seen: stamps of the documents met so far, by source.
        skipped: sources that could not be read.
        written: sources whose last row was handed out.
    """

    documents: Iterable[Document]
    stored: Mapping[str, Stored]
    splitter: Splitter
    size: int
    on_skip: OnSkip | None
    seen: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[Batch]:
        pending: list[Row] = []
        for document in self._changed():
            start = len(pending)
            try:
                for row in self._rows(document, self._start(document)):
                    if len(pending) >= self.size:
                        # Whole documents, unless this one fills a batch alone.
                        cut = start or len(pending)
                        if not start and pending[0].passage.part == 0 and document.source in self.stored:
                            # Its old rows go with its first new ones, so it must be readable to its end.
                            deque(self.splitter.split(document), maxlen=0)
                        yield self._batch(pending[:cut])
                        pending, start = pending[cut:], 0
                    pending.append(row)
            except DocumentError as error:
                if self.on_skip is None:
                    raise
                del pending[start:]
                self.skipped.append(document.source)
                self.on_skip(document.source, error.reason)
        if pending:
            yield self._batch(pending)

    def _changed(self) -> Iterator[Document]:
        for number, document in enumerate(self.documents):
            source = check_text(document.source, number, kind="The name of document")
            if source in self.seen:
                if self.seen[source] != document.stamp:
                    raise ValueError(f"Document {number} is another one named {source!r}; give each a name of its own.")
                continue
            self.seen[source] = document.stamp
            stored = self.stored.get(source)
            if not (stored and stored.complete and stored.stamp == document.stamp):
                yield document

    def _rows(self, document: Document, start: int) -> Iterator[Row]:
        """Yields what is to be written of a document, from the passage number ``start`` on."""
        held = None
        for passage in self.splitter.split(document):
            if held is not None:
                yield Row(held, document.stamp, last=False)
            held = passage if passage.part >= start else None
        if held is None and start:  # what is stored was split otherwise
            yield from self._rows(document, 0)
            return
        if held is None:
            held = Passage("", document.source, document.kind, 1, 1, "", document.modified)
        yield Row(held, document.stamp, last=True)

    def _start(self, document: Document) -> int:
        """Returns the first passage to write; one that was broken off goes on at the last row it has."""
        stored = self.stored.get(document.source)
        return stored.n_rows - 1 if stored and stored.stamp == document.stamp else 0

    def _batch(self, rows: list[Row]) -> Batch:
        known = {row.passage.source for row in rows} & self.stored.keys()
        replaced = [row.passage.source for row in rows if row.passage.part == 0 and row.passage.source in known]
        self.written |= {row.passage.source for row in rows if row.last}
        return Batch(rows, replaced, bool(known))
