"""The right to write to an index, which one process has at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout

from qsift.errors import SearchIndexError

LOCK = "write.lock"
"""Name of the file in an index's folder that is locked; the system unlocks it where a process dies."""


@contextmanager
def locked(path: str, wait: float) -> Iterator[None]:
    """Holds the lock of the index at ``path``, a folder that is made with its parents if it is not there.

    Raises:
        SearchIndexError: another process holds it for longer than ``wait`` seconds, or the folder takes no files.
    """
    lock = FileLock(os.path.join(path, LOCK), timeout=wait)
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
