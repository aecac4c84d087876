"""The hubs that models come from, and so the only way to the network.

Both clients keep their files where their users expect them, and take endpoint, token, cache and offline mode
from the environment variables that their users know. What they fetch is compared here with the digests of the
repository's listing, because huggingface_hub compares sizes alone. This file knows no models.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .checksums import checksum
from .client import SOURCES, Advance, HubClient, RemoteFile
from .huggingface import HUGGING_FACE
from .modelscope import MODELSCOPE
from qsift.errors import DownloadError

HUBS: dict[str, HubClient] = dict(zip(SOURCES, (HUGGING_FACE, MODELSCOPE), strict=True))
"""The hubs by the name of their source."""


@dataclass(frozen=True)
class Snapshot:
    """A repository at a commit.

    Attributes:
        source: name of the hub.
        repo: the repository's id.
        commit: the commit; where a hub does not tell it, a digest of the listing.
        files: what is in it, by name.
    """

    source: str
    repo: str
    commit: str
    files: Mapping[str, RemoteFile]

    @classmethod
    def look_up(cls, source: str, repo: str, revision: str | None, wanted: str) -> Snapshot | None:
        """Returns a repository as the hub lists it; None where there is no such repository or revision.

        Args:
            source: "hf" or "modelscope".
            repo: its id.
            revision: a branch, tag or commit; None is the newest.
            wanted: the file to name if this fails.

        Raises:
            DownloadError: the hub cannot be asked, or refuses.
            MissingExtraError: the hub's client is not installed.
        """
        hub = HUBS[source]
        try:
            commit, files = hub.listing(repo, revision)
        except hub.failures() as error:
            if hub.is_missing(error):
                return None
            raise DownloadError(repo, wanted, hub.reason(error)) from error
        return cls(source, repo, commit, {file.name: file for file in files})

    def cached(self, name: str) -> Path | None:
        """Returns where a file lies on this machine, whole or not; None where it is not here. Opens no socket."""
        return HUBS[self.source].cached(self.repo, self.commit, name)

    def fetch(self, name: str, advance: Advance = lambda _: None) -> Path:
        """Returns where a file lies after it was fetched, if need be, and found to be the one that is listed.

        Raises:
            DownloadError: it cannot be fetched, or what comes is not what is listed. Nothing is left of it.
        """
        hub, file = HUBS[self.source], self.files[name]
        was_here, anew = self.cached(name) is not None, False
        while True:
            try:
                path = hub.download(self.repo, self.commit, file, advance, anew=anew)
            except hub.failures() as error:
                raise DownloadError(self.repo, name, hub.reason(error)) from error
            if path.stat().st_size == file.nbytes and checksum(path, file.algorithm) == file.digest:
                return path
            discard(path)
            if anew or not was_here:
                raise DownloadError(self.repo, name, "What came is not what the repository lists; it was removed.")
            anew = True

    def remove_partial(self, name: str) -> None:
        """Removes what killed downloads of a file left behind."""
        HUBS[self.source].remove_partial(self.repo, self.files[name])


def discard(path: Path) -> None:
    """Removes a file from a hub's cache, and what it links to unless another snapshot links there too."""
    blob = path.parent / os.readlink(path) if path.is_symlink() else None
    path.unlink(missing_ok=True)
    snapshots = next((folder for folder in path.parents if folder.name == "snapshots"), None)
    if blob and snapshots:
        others = (other for other in snapshots.rglob("*") if other.is_symlink())
        if not any(os.path.normpath(other.parent / os.readlink(other)) == os.path.normpath(blob) for other in others):
            blob.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == snapshots or snapshots is None:
            break
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
