"""Hugging Face and its mirrors. With `uploading`, the door to huggingface_hub."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import huggingface_hub
from filelock import FileLock, Timeout
from huggingface_hub import constants, errors
from tqdm import tqdm

from .client import Advance, HubClient, RemoteFile, refusal

# The root of what its HTTP library raises, which has changed its name from version to version.
_HTTP_ERROR: type[Exception] = errors.HfHubHTTPError.__mro__[1]


class _HuggingFace(HubClient):
    def listing(self, repo: str, revision: str | None) -> tuple[str, list[RemoteFile]]:
        info = huggingface_hub.HfApi().model_info(repo, revision=revision or "main", files_metadata=True)
        files = []
        for entry in info.siblings or ():
            if entry.lfs:
                files.append(RemoteFile(entry.rfilename, entry.lfs.size, "sha256", entry.lfs.sha256))
            else:
                files.append(RemoteFile(entry.rfilename, entry.size or 0, "git-sha1", str(entry.blob_id)))
        return str(info.sha), files

    def cached(self, repo: str, commit: str, name: str) -> Path | None:
        found = huggingface_hub.try_to_load_from_cache(repo, name, revision=commit)
        return Path(found) if isinstance(found, str) else None

    def download(self, repo: str, commit: str, file: RemoteFile, advance: Advance, *, anew: bool) -> Path:
        path = huggingface_hub.hf_hub_download(
            repo, file.name, revision=commit, force_download=anew, tqdm_class=_bar(advance)
        )
        return Path(path)

    def remove_partial(self, repo: str, file: RemoteFile) -> None:
        folder = f"models--{repo.replace('/', '--')}"
        # huggingface_hub gives each attempt a name of its own and goes on with none.
        for partial in self.folder().joinpath(folder, "blobs").glob(f"{file.digest}.*.incomplete"):
            # The lock under which huggingface_hub downloads this file: held by whoever is still at it.
            lock = self.folder() / ".locks" / folder / f"{file.digest}.lock"
            with contextlib.suppress(Timeout, OSError), FileLock(lock, timeout=0):
                partial.unlink()

    def folder(self) -> Path:
        return Path(constants.HF_HUB_CACHE)

    def failures(self) -> tuple[type[Exception], ...]:
        return OSError, ValueError, RuntimeError, _HTTP_ERROR, errors.EntryNotFoundError, errors.XetDownloadError

    def is_missing(self, error: Exception) -> bool:
        missing = isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError)
        return missing and not isinstance(error, errors.GatedRepoError)

    def reason(self, error: Exception) -> str:
        if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
            return self.reason(error.__cause__)
        if isinstance(error, errors.OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set, so nothing is fetched. Unset it when you are online."
        if isinstance(error, errors.GatedRepoError):
            return f"The repository is gated. Accept its terms at {constants.ENDPOINT}, then set HF_TOKEN or log in."
        if isinstance(error, errors.EntryNotFoundError):
            return "The hub does not have it."
        if isinstance(error, errors.HFValidationError):
            return f"This cannot be the name of a repository. {str(error).splitlines()[0].rstrip('.')}."
        return refusal(error, getattr(getattr(error, "response", None), "status_code", None), "HF_TOKEN")


def _bar(advance: Advance) -> Any:
    """Returns what huggingface_hub takes for a class of progress bars."""

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, **_: Any) -> None:
            super().__init__(disable=True)

        def update(self, n: float | None = 1) -> None:
            advance(int(n or 0))

    return Bar


HUGGING_FACE: HubClient = _HuggingFace()
"""Fetches into the cache that huggingface_hub's users know, by the variables that they know."""
