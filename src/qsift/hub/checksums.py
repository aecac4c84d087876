"""Is this file the one that it should be? Digests as the hubs give them, and a signature that costs nothing.

Standard library alone; this file knows no models.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

Algorithm = Literal["sha256", "git-sha1"]
"""What a hub knows a file by: large files by their SHA-256, small ones by git's name for their content."""

Signature = tuple[int, int, int, int]
"""Size, times of the last change in nanoseconds (content, inode) and inode of a file."""

_BLOCK = 1 << 20


def checksum(path: Path, algorithm: Algorithm = "sha256", *, advance: Callable[[int], object] | None = None) -> str:
    """Returns the digest of a file in hexadecimal digits.

    Args:
        path: the file; it is read a block at a time.
        algorithm: "git-sha1" is what ``git hash-object`` prints.
        advance: called with the number of bytes whenever some were read.
    """
    digest = hashlib.sha256()
    if algorithm == "git-sha1":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if advance:
                advance(len(block))
    return digest.hexdigest()


def signature(path: str | os.PathLike[str]) -> Signature | None:
    """Returns what changes whenever a file is written to or replaced; None where there is no file."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def contents(folder: Path) -> str:
    """Returns a digest that changes when a file in ``folder``, or in a folder in it, comes, goes or is written to."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {signature(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:40]
