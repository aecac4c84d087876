"""The hub on loopback as ModelScope, held against ModelScope's own client."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import modelscope_hub
import pytest
from hub_server import Fault, HubServer
from modelscope_hub import HubApi

REPO = "Qwen/Qwen3-Reranker-0.6B"
LARGE = "model.safetensors"
FILES = {
    "config.json": b'{"hidden_size": 1024}',
    "1_Pooling/config.json": b'{"pooling_mode_lasttoken": true}',
    LARGE: bytes(range(256)) * 1000,
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        for name, value in server.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        modelscope_hub.set_default_config(None)  # it read the environment once
        # The client waits seconds between its attempts.
        monkeypatch.setattr("modelscope_hub._download.DOWNLOAD_INTEGRITY_RETRY_BACKOFF", 0)
        monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda _: 0.0)
        yield server
    modelscope_hub.set_default_config(None)


@pytest.fixture
def download(hub: HubServer) -> Callable[..., bytes]:
    def get(file: str = LARGE, **options: Any) -> bytes:
        expected = hashlib.sha256(FILES[file]).hexdigest() if file in FILES else None
        path = HubApi().download_file(REPO, "model", file, expected_sha256=expected, **options)
        return path.read_bytes()

    return get


def test_a_listing_has_folders_sizes_and_digests(hub: HubServer) -> None:
    hub.add(REPO, FILES)
    entries = HubApi().list_repo_files(REPO, "model")
    assert {one.path: one.sha256 for one in entries if not one.is_dir} == {
        name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()
    }
    assert {one.path: one.size for one in entries} == {"1_Pooling": 0} | {n: len(data) for n, data in FILES.items()}


def test_a_file_is_listed_with_the_commit_that_last_changed_it(hub: HubServer) -> None:
    old = hub.add(REPO, FILES)
    new = hub.add(REPO, FILES | {"config.json": b"{}"})
    query = urllib.parse.urlencode({"Revision": new, "Recursive": "True"})
    with urllib.request.urlopen(f"{hub.url}/api/v1/models/{REPO}/repo/files?{query}") as answer:
        entries = json.load(answer)["Data"]["Files"]
    changed = {one["Path"]: one["Revision"] for one in entries if one["Type"] == "blob"}
    assert changed == dict.fromkeys(FILES, old) | {"config.json": new}


def test_a_whole_repo_comes_with_its_large_file_from_elsewhere(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, FILES)
    folder = HubApi().download_repo(REPO, "model")
    assert folder.is_relative_to(tmp_path)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    served = {one.file: one.server for one in hub.requests if one.file}
    assert served == {"config.json": "hub", "1_Pooling/config.json": "hub", LARGE: "cdn"}


def test_a_commit_can_be_asked_for_by_its_id(hub: HubServer, download: Callable[..., bytes]) -> None:
    old = hub.add(REPO, FILES)
    hub.add(REPO, {LARGE: b"other"})
    assert download(revision=old) == FILES[LARGE]
    assert [one["Revision"] for one in HubApi().list_repo_revisions(REPO, "model")] == ["master"]


def test_a_cut_connection_is_resumed(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    hub.fail(LARGE, Fault.CUT, times=1)
    assert download() == FILES[LARGE]
    assert hub.requests[-1].headers["range"] == f"bytes={len(FILES[LARGE]) // 2}-"


def test_a_small_file_comes_whole_whatever_range_is_asked_for(hub: HubServer) -> None:
    hub.add(REPO, FILES)
    url = f"{hub.url}/api/v1/models/{REPO}/repo?Revision=master&FilePath=config.json"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=5-"})) as answer:
        assert (answer.status, answer.read()) == (200, FILES["config.json"])


@pytest.mark.parametrize("fault", [Fault.WRONG_DIGEST, Fault.WRONG_LENGTH], ids=str)
def test_what_comes_wrong_once_is_fetched_again_and_what_stays_wrong_fails(
    fault: Fault, hub: HubServer, download: Callable[..., bytes]
) -> None:
    hub.add(REPO, FILES)
    hub.fail(LARGE, fault)
    with pytest.raises(modelscope_hub.FileIntegrityError):
        download(file_size=len(FILES[LARGE]))
    hub.heal()
    hub.fail(LARGE, fault, times=1)
    assert download(file_size=len(FILES[LARGE])) == FILES[LARGE]


STATUSES = {
    401: modelscope_hub.AuthenticationError,
    403: modelscope_hub.PermissionDeniedError,
    404: modelscope_hub.NotExistError,
    429: modelscope_hub.RateLimitError,
    500: modelscope_hub.ServerError,
    503: modelscope_hub.ServerError,
    Fault.GATED: modelscope_hub.PermissionDeniedError,
}


@pytest.mark.parametrize("fault", STATUSES, ids=str)
def test_a_refusal_is_the_clients_error_and_passes(
    fault: Fault | int, hub: HubServer, download: Callable[..., bytes]
) -> None:
    hub.add(REPO, FILES)
    hub.fail(LARGE, fault, retry_after=0)
    with pytest.raises(STATUSES[fault]) as caught:
        download()
    assert caught.value.status_code == (403 if fault is Fault.GATED else fault)
    hub.heal()
    assert download() == FILES[LARGE]


def test_what_is_not_there_and_who_may_not_come_in_is_told(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    for ask in (
        lambda: HubApi().list_repo_files("Qwen/Qwen9", "model"),
        lambda: HubApi().list_repo_files(REPO, "model", revision="no-such-branch"),
        lambda: download("no-such-file"),
    ):
        with pytest.raises(modelscope_hub.NotExistError):
            ask()
    hub.token = "ms-secret"
    with pytest.raises(modelscope_hub.AuthenticationError):
        HubApi().list_repo_files(REPO, "model")
    assert len(HubApi(token="ms-secret").list_repo_files(REPO, "model")) == 4
