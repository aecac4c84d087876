"""Making a folder a repository of the Hugging Face hub: the part of the door to huggingface_hub that writes.

Endpoint and token are those of huggingface_hub (HF_ENDPOINT, HF_TOKEN, or the login). This file knows no models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCardData, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import (  # type: ignore[attr-defined, unused-ignore]
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from qsift.errors import UploadError

_ADVICE = {
    401: "The token is not valid. Log in with: hf auth login, or set HF_TOKEN.",
    403: "The token may not write there. Use one with write access, or a repository of your own.",
    404: "There is no such owner, or the token may not see the repository.",
    429: "The hub asks for patience. Try again later.",
}


def checked_repo(repo: str) -> str:
    """Returns ``repo`` if it is an id such as "owner/name".

    Raises:
        ValueError: it is not; the message says why.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"repo is {repo!r}; an id such as 'owner/name' is needed. {error}") from None
    if not re.fullmatch(r"[^/]+/[^/]+", repo):
        raise ValueError(f"repo is {repo!r}; an id such as 'owner/name' is needed.")
    return repo


def account(repo: str) -> str | None:
    """Returns whose token there is, or None without one. Asks the hub, so that a long job fails before it starts.

    Raises:
        UploadError: the hub refuses the token or cannot be reached; names ``repo``.
    """
    if get_token() is None:
        return None
    try:
        return str(HfApi().whoami()["name"])
    except Exception as error:
        raise _translated(repo, error) from error


def front_matter(fields: Mapping[str, Any]) -> str:
    """Returns the YAML head of a model card, between its lines of dashes."""
    return f"---\n{ModelCardData(**fields).to_yaml()}\n---\n"


def upload(
    folder: Path, repo: str, names: Iterable[str], *, private: bool, message: str, show_progress_bar: bool = False
) -> str:
    """Makes files of ``folder`` a commit of a repository and returns its address.

    Args:
        folder: where they lie.
        repo: "owner/name"; it is made if it is not there.
        names: the files; whatever else lies there stays.
        private: whether a repository that is made is private; one that exists stays as it is.
        message: the commit's first line.
        show_progress_bar: on stderr, for each large file.

    Raises:
        UploadError: refused, unreachable or interrupted. A second call sends only what is missing.
    """
    api = HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        patterns = [re.sub(r"([*?[])", r"[\1]", name) for name in names]
        with nullcontext() if show_progress_bar else _no_bars():
            api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=patterns, commit_message=message)
    except Exception as error:
        raise _translated(repo, error) from error
    return str(url)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keeps huggingface_hub from drawing bars, which it does without a terminal too."""
    were_off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            enable_progress_bars()


def _translated(repo: str, error: Exception) -> UploadError:
    if isinstance(error, OfflineModeIsEnabled):
        return UploadError(repo, "HF_HUB_OFFLINE is set. Unset it to upload.")
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        advice = _ADVICE.get(status, "Try again later." if status >= 500 else "See the hub's answer.")
        return UploadError(repo, f"The hub answers {status} ({_first_line(error)}). {advice}")
    return UploadError(repo, f"{_first_line(error)}. Check the connection and try again.")


def _first_line(error: Exception) -> str:
    text = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0].rstrip(".")
