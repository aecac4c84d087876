"""What an index is made of: the paths that were given, kept beside its table, so that they need not be said again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain

from qsift.documents import Document, OnSkip, find_documents, source_name
from qsift.errors import SearchIndexError

_FILE = "roots.json"


@dataclass(frozen=True)
class Root:
    """A file or folder that an index holds, and how it is walked.

    Attributes:
        path: as it was given; the sources of its documents begin so.
        place: where that is, absolute and without links.
        ignore, hidden: as in `find_documents`.
        is_folder: whether it was a folder when it was given.
    """

    path: str
    place: str
    ignore: bool = True
    hidden: bool = False
    is_folder: bool = True

    @classmethod
    def of(cls, path: str | os.PathLike[str], *, ignore: bool = True, hidden: bool = False) -> Root:
        """Returns the root of a path as it is seen from here.

        Raises:
            DocumentError: it does not exist or is neither file nor folder.
            MissingExtraError: it is a PDF and pypdfium2 is missing.
        """
        find_documents([path], on_skip=lambda _source, _reason: None)  # says what is wrong with the path
        return cls(os.fspath(path), os.path.realpath(path), ignore, hidden, os.path.isdir(path))

    @property
    def source(self) -> str:
        """The source of its document, or the folder that those of its documents are in."""
        return source_name(self.path)


def as_roots(paths: Iterable[Root | str | os.PathLike[str]]) -> list[Root]:
    """Returns the roots among paths as they are, and a root for each other one.

    Raises:
        TypeError: a single path.
        DocumentError, MissingExtraError: as `Root.of`.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(f"paths is the single path {paths!r}; pass a list of paths.")
    return [path if isinstance(path, Root) else Root.of(path) for path in paths]


def documents_of(
    roots: Sequence[Root],
    *,
    on_skip: OnSkip,
    on_unread: Callable[[str], None] | None = None,
    among: Sequence[str] | None = None,
) -> Iterator[Document]:
    """Returns an iterator over the documents of roots; arguments and errors as `find_documents`.

    A root that is not there any more is no error. A file that is missing in its folder was deleted, and what an index
    has of it may go. A folder, or a file whose folder is missing too, may be on a drive that is not there now: it
    counts as unread.
    """
    there = [root for root in roots if _is_there(root, on_skip, on_unread)]
    ways = dict.fromkeys((root.ignore, root.hidden) for root in there)
    paths = {way: [root.path for root in there if (root.ignore, root.hidden) == way] for way in ways}
    walks = [
        find_documents(
            paths[ignore, hidden], on_skip=on_skip, on_unread=on_unread, ignore=ignore, hidden=hidden, among=among
        )
        for ignore, hidden in ways
    ]
    return _each_once(chain.from_iterable(walks))


def _each_once(documents: Iterable[Document]) -> Iterator[Document]:
    """Yields the first document of each source: what several walks find may have changed between them."""
    seen = set()
    for document in documents:
        if document.source not in seen:
            seen.add(document.source)
            yield document


def _is_there(root: Root, on_skip: OnSkip, on_unread: Callable[[str], None] | None) -> bool:
    try:
        os.stat(root.path)
        return True
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        if is_missing and not root.is_folder and os.path.isdir(os.path.dirname(root.place)):
            on_skip(root.source, "It was deleted, and what the index had of it goes.")
            return False
        reason = "It is not there now" if is_missing else f"It cannot be read: {error.strerror or error}"
        on_skip(root.source, f"{reason}. What the index has of it stays, until it is removed by this name.")
        if on_unread:
            on_unread(root.source)
        return False


def kept_roots(index: str) -> list[Root]:
    """Returns what the index in a folder is made of, as far as that was said.

    Raises:
        SearchIndexError: the file that keeps it is damaged.
    """
    path = os.path.join(index, _FILE)
    try:
        with open(path, encoding="ascii") as file:
            return [Root(**fields) for fields in json.load(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise SearchIndexError(
            index, f"{_FILE} cannot be read: {error}. Delete it and pass the paths again."
        ) from error


def keep_roots(index: str, roots: Sequence[Root]) -> None:
    """Keeps what an index is made of; the caller holds the right to write.

    Raises:
        SearchIndexError: the disk refuses.
    """
    path = os.path.join(index, _FILE)
    try:
        with open(path + ".new", "w", encoding="ascii") as file:
            json.dump([asdict(root) for root in roots], file)
        os.replace(path + ".new", path)
    except OSError as error:
        raise SearchIndexError(index, f"{_FILE} cannot be written: {error.strerror}.") from error


def check_here(index: str, roots: Sequence[Root]) -> None:
    """Returns if there are roots, and their paths lead from here where they led when they were given.

    Raises:
        SearchIndexError: there are none, or the working folder is another.
    """
    if not roots:
        raise SearchIndexError(index, "It does not know what it was made of. Pass the paths.")
    for root in roots:
        if os.path.realpath(root.path) != root.place:
            reason = f"It was made of {root.path!r}, which was {root.place!r} and leads elsewhere from this folder."
            raise SearchIndexError(index, f"{reason} Run this where it was made, or pass paths.")
