"""Indexing, on a thread of its own, that tells how far it is and can be stopped. What was written before stays."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

from .shelf import Shelf
from qsift.documents import Document
from qsift.errors import QsiftError
from qsift.search import IndexChanges, Root, SearchIndex, documents_of
from qsift.server import EmbeddingLane

logger = logging.getLogger("qsift.desk")

_MOST_SKIPPED = 1000
"""Skipped documents that are named; the others are counted."""


class _StoppedError(Exception):
    """The end was asked for."""


class Job:
    """An update of a shelf, or something that is added to it. `start` it once.

    Attributes:
        shelf: what is written to.
        added: the path that is added; None for an update.
        state: what became of it.
        found, read: documents that there are, and that were looked at.
        passages: how many were embedded.
        skipped: source and reason of documents that could not be read, the first of them.
        n_skipped: how many there were.
        error: why it failed, a sentence.
        changes: what it did, when it is done.
    """

    def __init__(self, shelf: Shelf, lane: EmbeddingLane, added: str | None = None) -> None:
        """Keeps what it needs: the model is driven in turns with the requests that the lane serves."""
        self.shelf, self.added = shelf, added
        self.state: Literal["running", "done", "stopped", "failed"] = "running"
        self.found = self.read = self.passages = self.n_skipped = 0
        self.skipped: list[tuple[str, str]] = []
        self.error: str | None = None
        self.changes: IndexChanges | None = None
        self._embedder = lane.in_turns(self._on_rows)
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._seconds: float | None = None
        self._thread = threading.Thread(target=self._run, name="qsift-indexing", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Asks for the end, which comes after the passages that are being computed."""
        self._stop.set()

    def join(self) -> None:
        """Waits for the end."""
        self._thread.join()

    def facts(self) -> dict[str, Any]:
        """Returns what the page shows of it."""
        seconds = time.monotonic() - self._started if self._seconds is None else self._seconds
        return {
            "state": "stopping" if self.state == "running" and self._stop.is_set() else self.state,
            "found": self.found,
            "read": self.read,
            "passages": self.passages,
            "seconds": round(seconds, 1),
            "skipped": [{"source": self.shelf.shown(name), "reason": reason} for name, reason in list(self.skipped)],
            "n_skipped": self.n_skipped,
            "error": self.error,
            "changes": asdict(self.changes) if self.changes else None,
        }

    def _run(self) -> None:
        try:
            self.changes = self._write()
            self.state = "done"
        except _StoppedError:
            self.state = "stopped"
        except QsiftError as error:
            self.state, self.error = "failed", str(error)
        except Exception as error:
            logger.exception("Indexing failed.")
            self.state, self.error = "failed", f"It failed unexpectedly ({type(error).__name__}); the log says how."
        finally:
            self._seconds = time.monotonic() - self._started

    def _write(self) -> IndexChanges:
        shelf = self.shelf
        roots = shelf.index.roots() if self.added is None else [Root.of(self.added)]
        documents, unread = list[Document](), list[str]()
        for document in documents_of(roots, on_skip=self._on_skip, on_unread=unread.append):
            self._check()
            documents.append(document)
            self.found = len(documents)
        with SearchIndex.open(shelf.index.path, self._embedder, create=False, options=shelf.index.options) as index:
            reading = self._reading(documents)
            if self.added is None:
                within = [root.source for root in roots]
                return index.update(reading, within=within, unread=unread, on_skip=self._on_skip)
            if shelf.roots:
                index.keep(roots)
                shelf.roots = index.roots()
            return index.add(reading, on_skip=self._on_skip)

    def _reading(self, documents: Sequence[Document]) -> Iterator[Document]:
        for document in documents:
            self._check()
            yield document
            self.read += 1

    def _on_rows(self, n_rows: int) -> None:
        self.passages += n_rows
        self._check()

    def _on_skip(self, source: str, reason: str) -> None:
        self.n_skipped += 1
        if len(self.skipped) < _MOST_SKIPPED:
            self.skipped.append((source, reason))

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError


def whole_path(path: str) -> str:
    """Returns what a person typed as an absolute path; ``~`` is the home folder."""
    return os.path.abspath(os.path.expanduser(path.strip()))


def short_path(path: str) -> str:
    """Returns a path as a person writes it, what `whole_path` takes: ``~`` for the home folder."""
    home = os.path.expanduser("~")
    return f"~{path[len(home) :]}" if home != "/" and path.startswith(f"{home}{os.sep}") else path
