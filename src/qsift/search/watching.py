"""Changes of files, as they happen. The only door to watchfiles; this file knows no index."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from .roots import Root
from qsift.documents import IGNORE_FILES, source_name
from qsift.errors import DocumentError, MissingExtraError

# Milliseconds: changes are told when there were none for so long, or after so many; files are looked at so often.
_QUIET, _AT_MOST, _POLL = 500, 5_000, 2_000


@dataclass(frozen=True)
class Changes:
    """What changed.

    Attributes:
        roots: in which.
        names: the sources, and folders of sources, that may be others now.
    """

    roots: list[Root]
    names: list[str]


def changes_of(roots: Sequence[Root], *, but: str) -> Generator[Changes, None, None]:
    """Yields what changed since the last time; first, at once, that all did, because from there on nothing is lost.

    Ends when a root that is a folder goes, comes back or is another one: it would no longer be watched. What lies
    in a folder whose ignore file changed has changed. Roots that are files are looked at every two seconds: editors put
    a new file in the place of the old one, and the system would go on watching that one.

    Args:
        roots: what is watched.
        but: a folder whose changes do not count.

    Raises:
        MissingExtraError: watchfiles is not installed.
        DocumentError: the system cannot watch a folder.
    """
    try:
        from watchfiles import watch
    except ImportError as error:
        raise MissingExtraError("Watching files", "watchfiles", "index") from error
    folders = {root: identity for root in roots if (identity := _folder(root))}
    files = {root: _stamp(root) for root in roots if root not in folders}
    but = os.path.realpath(but)
    told = watch(
        *(root.place for root in folders),
        watch_filter=lambda _, path: not _is_in(path, but),
        step=_QUIET,
        debounce=_AT_MOST,
        rust_timeout=_POLL,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    with closing(told):
        try:
            next(told)
            yield Changes(list(roots), [root.source for root in roots])
            for changes in told:
                if any(_folder(root) != folders.get(root) for root in roots):
                    return
                paths = {_what_changed(path) for _, path in changes}
                names = {root: [_name(root, path) for path in paths if _is_in(path, root.place)] for root in folders}
                for root, known in files.items():
                    # While there is none, an editor may be about to put it back.
                    if (now := _stamp(root)) and now != known:
                        files[root], names[root] = now, [root.source]
                if changed := [root for root in names if names[root]]:
                    yield Changes(changed, [name for root in changed for name in names[root]])
        except (OSError, RuntimeError) as error:
            places = ", ".join(root.path for root in folders)
            raise DocumentError(places, f"The system cannot watch it: {error}.") from error


def _what_changed(path: str) -> str:
    folder, name = os.path.split(path)
    return folder if name in IGNORE_FILES else path


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _name(root: Root, path: str) -> str:
    if path == root.place:
        return root.source
    return source_name(os.path.join(root.path, os.path.relpath(path, root.place)))


def _folder(root: Root) -> tuple[int, int] | None:
    """Returns which folder a root is now; None where it is none."""
    try:
        status = os.stat(root.place)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _stamp(root: Root) -> tuple[int, int] | None:
    try:
        status = os.stat(root.place)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
