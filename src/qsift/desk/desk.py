"""The desk's shelves and what is being done to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .job import Job, short_path, whole_path
from .known_scores import KnownScores
from .opening import Opener
from .shelf import Shelf
from qsift.errors import SearchIndexError
from qsift.search import Candidate, Filter
from qsift.server import EmbeddingLane, ProblemError


class Desk:
    """Shelves that are searched together or one by one. Each has one job at a time.

    Attributes:
        shelves: in the order in which they were given; a shelf's number is its place here.
        opener: what opens files.
        threads: what searches, so that the event loop does not wait.
        known_scores: what the reranker said lately.
    """

    def __init__(self, shelves: Sequence[Shelf] = (), opener: Opener | None = None) -> None:
        """Keeps them; without shelves there is only what the models do by themselves."""
        self.shelves, self.opener = list(shelves), opener or Opener()
        self.threads = ThreadPoolExecutor(max(2, len(self.shelves)), thread_name_prefix="qsift-desk")
        self.known_scores = KnownScores()
        self._jobs: dict[int, Job] = {}

    def shelf(self, number: int) -> Shelf:
        """Returns a shelf.

        Raises:
            ProblemError: there is none of this number.
        """
        if not 0 <= number < len(self.shelves):
            raise ProblemError("not found", f"There is no shelf {number}; there are {len(self.shelves)}, from 0.")
        return self.shelves[number]

    def start(self, number: int, lane: EmbeddingLane, added: str | None = None) -> Job:
        """Starts to update a shelf, or to add a path to it, and returns the job.

        Raises:
            ProblemError: another one is at work there.
        """
        shelf, current = self.shelf(number), self._jobs.get(number)
        if current is not None and current.state == "running":
            raise ProblemError("busy", "This index is being written to. Stop that, or wait for its end.", retry_after=5)
        job = self._jobs[number] = Job(shelf, lane, None if added is None else whole_path(added))
        job.start()
        return job

    def job(self, number: int) -> Job | None:
        """Returns the last job of a shelf, if there was one."""
        return self._jobs.get(number)

    def update_folders(self, lane: EmbeddingLane) -> None:
        """Starts to update each shelf whose folders are known."""
        for number, shelf in enumerate(self.shelves):
            if shelf.roots:
                self.start(number, lane)

    def candidates(self, vector: Any, query: str, number: int, where: Filter, n: int) -> list[Candidate]:
        """Returns the passages of a shelf for a query, the best first; see `SearchIndex.search`."""
        return self.shelf(number).index.search(vector, query, candidates=n, where=where)

    def open(self, number: int, source: str, line: int) -> None:
        """Opens a file, if it is in the index, at a line if the editor can do that.

        Raises:
            ProblemError: it is not in the index.
            SearchIndexError: its name leads elsewhere from here.
            DocumentError: it is gone, or nothing opens it.
        """
        shelf = self.shelf(number)
        document = shelf.contents().documents.get(source)
        if document is None:
            raise ProblemError("not found", f"{source[:200]!r} is not in this index, so it is not opened.")
        if os.path.exists(source) and not os.path.isabs(source):
            shelf.index.roots()  # refuses where names lead elsewhere than when they were indexed
        self.opener.open(source, document.kind, line)

    def facts(self) -> list[dict[str, Any]]:
        """Returns what the page shows of each shelf."""
        return [self._facts(number, shelf) for number, shelf in enumerate(self.shelves)]

    def _facts(self, number: int, shelf: Shelf) -> dict[str, Any]:
        job = self._jobs.get(number)
        facts = {
            "number": number,
            "name": shelf.name,
            "path": short_path(shelf.index.path),
            "roots": [short_path(root.path) for root in shelf.roots],
            "job": job.facts() if job else None,
            "error": None,
        }
        try:
            contents = shelf.contents(is_changing=job is not None and job.state == "running")
        except SearchIndexError as error:  # the others are still there
            nothing = dict.fromkeys(("documents", "passages", "incomplete", "nbytes"), 0)
            return facts | nothing | {"model": "", "kinds": {}, "folders": [], "error": str(error)}
        return facts | {
            "documents": contents.info.documents,
            "passages": contents.info.passages,
            "incomplete": contents.info.incomplete,
            "model": contents.info.model,
            "nbytes": contents.info.nbytes,
            "kinds": contents.kinds,
            "folders": [
                {"path": path, "name": shelf.shown(path), "documents": n}
                for path, n in contents.folders.items()
                if not shelf.roots or shelf.shown(path) != path
            ],
        }

    def close(self) -> None:
        """Stops what is being written, waits for it, and closes the shelves."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.stop()
        for job in jobs:
            job.join()
        self.threads.shutdown(wait=True)
        for shelf in self.shelves:
            shelf.close()
