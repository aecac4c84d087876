"""ModelScope. The only door to modelscope_hub, its official client, which is an extra and loaded when it is needed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from .client import Advance, HubClient, RemoteFile, refusal
from qsift.errors import MissingExtraError


@cache
def _client(repo: str) -> Any:
    """Returns a client for the site that has a repository; it asks for both and for its region, so it is kept."""
    from modelscope_hub import HubApi
    from modelscope_hub.config import HubConfig

    config = HubConfig()
    return HubApi(config, endpoint=HubApi(config).resolve_endpoint_for_read(repo))


class _ModelScope(HubClient):
    def listing(self, repo: str, revision: str | None) -> tuple[str, list[RemoteFile]]:
        revision = revision or "master"
        entries = _client(repo).list_repo_files(repo, "model", revision=revision)
        files = [RemoteFile(e.path, e.size, "sha256", str(e.sha256)) for e in entries if not e.is_dir]
        told = "".join(f"{file.digest}  {file.name}\n" for file in sorted(files, key=lambda file: file.name))
        return f"{revision}@{hashlib.sha256(told.encode()).hexdigest()[:40]}", files

    def cached(self, repo: str, commit: str, name: str) -> Path | None:
        from modelscope_hub import HubApi, HubError
        from modelscope_hub.config import HubConfig

        where = {"revision": commit.partition("@")[0], "local_files_only": True}
        with contextlib.suppress(HubError, ValueError):
            return Path(HubApi(HubConfig()).download_file(repo, "model", name, **where))
        return None

    def download(self, repo: str, commit: str, file: RemoteFile, advance: Advance, *, anew: bool) -> Path:
        import modelscope_hub

        class Told(modelscope_hub.ProgressCallback):  # type: ignore[misc]
            def update(self, size: int) -> None:
                advance(size)

        # The client draws a bar of its own whatever it is told.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            return Path(
                _client(repo).downloader.download_file(
                    repo,
                    "model",
                    file.name,
                    revision=commit.partition("@")[0],
                    force=anew,
                    expected_sha256=file.digest,
                    file_size=file.nbytes,
                    progress_callbacks=[Told],
                )
            )

    def remove_partial(self, repo: str, file: RemoteFile) -> None:
        return  # the client goes on with what is there

    def folder(self) -> Path:
        from modelscope_hub.config import HubConfig

        return Path(HubConfig().cache_dir)

    def failures(self) -> tuple[type[Exception], ...]:
        try:
            from modelscope_hub import HubError
        except ImportError as error:
            raise MissingExtraError("Pulling from ModelScope", "modelscope-hub", "modelscope") from error
        return OSError, ValueError, RuntimeError, HubError

    def is_missing(self, error: Exception) -> bool:
        return type(error).__name__ == "NotExistError"

    def reason(self, error: Exception) -> str:
        return refusal(error, getattr(error, "status_code", None), "MODELSCOPE_API_TOKEN")


MODELSCOPE: HubClient = _ModelScope()
"""Fetches into the cache that modelscope_hub's users know, by the variables that they know."""
