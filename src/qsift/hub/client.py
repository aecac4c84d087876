"""What a hub's client is asked for, whichever hub it is. Each is a file beside this one and knows its own package."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .checksums import Algorithm

SOURCES = ("hf", "modelscope")
"""Names of the hubs, the default first."""

Advance = Callable[[int], object]
"""Called with the number of bytes that came; negative where they have to come again."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        name: its path inside the repository.
        nbytes: its size.
        algorithm: what its digest is; see `checksums.checksum`.
        digest: hexadecimal digits.
    """

    name: str
    nbytes: int
    algorithm: Algorithm
    digest: str


def chosen_source(source: str | None) -> str:
    """Returns the name of a hub: ``source``, else $QSIFT_SOURCE, else the first of `SOURCES`.

    Raises:
        ValueError: there is no such hub.
    """
    source = source or os.environ.get("QSIFT_SOURCE") or SOURCES[0]
    if source not in SOURCES:
        raise ValueError(f"source is {source!r}; allowed are {', '.join(SOURCES)}.")
    return source


class HubClient(Protocol):
    """What a hub's client is asked for. Each method raises whatever its client raises."""

    def listing(self, repo: str, revision: str | None) -> tuple[str, list[RemoteFile]]:
        """Returns the commit that a revision means, None being the newest, and the files in it."""

    def cached(self, repo: str, commit: str, name: str) -> Path | None:
        """Returns where a file lies on this machine, or None; opens no socket."""

    def download(self, repo: str, commit: str, file: RemoteFile, advance: Advance, *, anew: bool) -> Path:
        """Returns where a file lies after it was fetched; one that is there is fetched only where ``anew``."""

    def remove_partial(self, repo: str, file: RemoteFile) -> None:
        """Removes what killed downloads of a file left behind and no download can use."""

    def folder(self) -> Path:
        """Returns the folder that files go to."""

    def failures(self) -> tuple[type[Exception], ...]:
        """Returns what the client raises where a request, a transfer or a disk fails; anything else is a bug."""

    def is_missing(self, error: Exception) -> bool:
        """Returns whether the hub said that there is no such repository or revision."""

    def reason(self, error: Exception) -> str:
        """Returns what went wrong and what to do, in sentences."""


def refusal(error: Exception, status: int | None, token: str) -> str:
    """Returns what went wrong and what to do, in sentences.

    Args:
        error: what the client raised.
        status: of the hub's answer; None where there was none.
        token: the environment variable that holds the user's.
    """
    said = next(iter(str(error).strip().splitlines()), "no message")
    if status in (401, 403):
        return f"The hub refuses it ({status}). Set {token} to a token that may read it, or check the name."
    if status == 429:
        return "The hub has had too many requests from here (429). Wait a few minutes."
    if status is not None:
        return f"The hub answered {status}{'. Try again later' if status >= 500 else f': {said}'}."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full. Make room."
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename!r}: {error.strerror}."
    return f"{said.rstrip('.')} ({type(error).__name__}). Check the connection."
