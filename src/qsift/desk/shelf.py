"""What the desk searches: an index, and the files and folders that it is made of."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from qsift.documents import source_name
from qsift.embedder import Embedder
from qsift.engine import cache_folder
from qsift.errors import SearchIndexError
from qsift.search import IndexedSource, IndexInfo, IndexOptions, Root, SearchIndex

OPTIONS = IndexOptions(batch=256)
"""Passages become visible by so many, and an end that was asked for costs no more."""
_MOST_FOLDERS = 500


@dataclass(frozen=True)
class Contents:
    """What is in an index at a moment.

    Attributes:
        version: of the index.
        info: its facts.
        documents: by source.
        kinds: how many documents there are of each.
        folders: how many documents are in each folder and below, by its path; the largest ones, in order.
    """

    version: int
    info: IndexInfo
    documents: dict[str, IndexedSource]
    kinds: dict[str, int]
    folders: dict[str, int]


class Shelf:
    """An index that is open for searching. Any thread may use it; the one who made it closes it.

    Attributes:
        name: what people call it: the name of the folder, or of the index.
        index: the index.
        roots: the files and folders that it is made of; grows as others are added. Empty for an index that does not
            know them, or that was made in another folder.
    """

    def __init__(self, name: str, index: SearchIndex, roots: list[Root]) -> None:
        """Keeps them; `open` makes one."""
        self.name, self.index, self.roots = name, index, roots
        self._contents: Contents | None = None
        self._good_until = 0.0
        self._lock = Lock()

    @classmethod
    def open(cls, path: str, embedder: Embedder) -> Shelf:
        """Returns the shelf of an index, or of a file or folder, which gets an index in qsift's cache.

        Raises:
            DocumentError: there is nothing of this name.
            SearchIndexError: an index of another model, or a damaged one.
            MissingExtraError: lancedb is not installed.
        """
        whole = os.path.abspath(path)
        name = os.path.basename(whole) or whole
        if SearchIndex.is_there(path):
            index = SearchIndex.open(path, embedder, create=False, options=OPTIONS)
            return cls(name, index, _roots_of(index))
        root = Root.of(whole)
        index = SearchIndex.open(_kept_at(whole, embedder), embedder, options=OPTIONS)
        if not (roots := _roots_of(index)):
            index.keep(roots := [root])
        return cls(name, index, roots)

    def contents(self, *, is_changing: bool = False) -> Contents:
        """Returns what is in the index now; reads it where it changed.

        Args:
            is_changing: whether it changes all the time: then what was read is good for ten times as long as that took.

        Raises:
            SearchIndexError: the index is damaged or gone.
        """
        with self._lock:
            started = time.monotonic()
            if is_changing and self._contents is not None and started < self._good_until:
                return self._contents
            version = self.index.version()
            if self._contents is None or self._contents.version != version:
                documents = {document.source: document for document in self.index.sources()}
                folders = Counter(folder for source in documents for folder in _folders_of(source))
                largest = dict(sorted(folders.most_common(_MOST_FOLDERS)))
                kinds = dict(Counter[str](document.kind for document in documents.values()))
                self._contents = Contents(version, self.index.info(), documents, kinds, largest)
                self._good_until = started + 11 * (time.monotonic() - started)
            return self._contents

    def shown(self, source: str) -> str:
        """Returns a document's name as it stands in its folder."""
        for root in self.roots:
            folder = source_name(root.path if root.is_folder else os.path.dirname(root.path)).rstrip("/")
            if source.startswith(f"{folder}/"):
                return source[len(folder) + 1 :]
        return source

    def close(self) -> None:
        """Frees what searching keeps in memory."""
        self.index.close()


def _roots_of(index: SearchIndex) -> list[Root]:
    try:
        return index.roots()
    except SearchIndexError:  # it does not know them, or they lie elsewhere from here
        return []


def _kept_at(path: str, embedder: Embedder) -> Path:
    """Returns where the index of a folder lies: by its path and the model, for vectors mean nothing to another."""
    key = f"{os.path.realpath(path)}\0{embedder.file.fingerprint()}".encode("utf-8", "surrogateescape")
    readable = "".join(c if c.isalnum() or c in "-_" else "_" for c in os.path.basename(path))[:40]
    return cache_folder() / "desk" / f"{readable}-{hashlib.sha256(key).hexdigest()[:16]}"


def _folders_of(source: str) -> Iterator[str]:
    end = source.rfind("/")
    while end > 0:
        yield source[:end]
        end = source.rfind("/", 0, end)
