"""The hub on loopback, held against huggingface_hub itself: what the client makes of it is what is true."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import huggingface_hub.file_download
import pytest
from hub_server import Fault, HubServer
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

REPO = "Qwen/Qwen3-Embedding-0.6B"
LARGE = "model.safetensors"
FILES = {
    "config.json": b'{"hidden_size": 1024}',
    "1_Pooling/config.json": b'{"pooling_mode_lasttoken": true}',
    "README.md": b"---\nlicense: apache-2.0\n---\nA model.\n",
    LARGE: bytes(range(256)) * 1000,
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name, value in {
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DOWNLOAD_TIMEOUT": 600,
        "DOWNLOAD_CHUNK_SIZE": 4096,
    }.items():
        monkeypatch.setattr(constants, name, value)
    with HubServer() as server:
        yield server


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


@pytest.fixture
def download(hub: HubServer, tmp_path: Path) -> Callable[..., bytes]:
    def get(file: str = LARGE, repo: str = REPO, **options: Any) -> bytes:
        options = {"token": False, "etag_timeout": 600, "endpoint": hub.url, "cache_dir": tmp_path / "cache"} | options
        return Path(hf_hub_download(repo, file, **options)).read_bytes()

    return get


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the client try again at once instead of in a second."""
    hurry = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    monkeypatch.setattr(huggingface_hub.file_download, "time", hurry)


def of_files(hub: HubServer) -> list[tuple[str, str]]:
    return [(one.server, one.method) for one in hub.requests]


def test_the_facts_of_a_repo_are_its_files_sizes_and_digests_at_a_commit(hub: HubServer, api: HfApi) -> None:
    commit = hub.add(REPO, FILES)
    facts = api.model_info(REPO, files_metadata=True)
    assert facts.sha == commit and not facts.private and not facts.gated
    assert {one.rfilename: one.size for one in facts.siblings} == {name: len(data) for name, data in FILES.items()}
    large = {one.rfilename: one.lfs.sha256 for one in facts.siblings if one.lfs}
    assert large == {LARGE: hashlib.sha256(FILES[LARGE]).hexdigest()}


def test_a_folder_is_added_with_all_that_lies_below_it(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    write(tmp_path / "model", FILES)
    hub.add(REPO, tmp_path / "model")
    assert sorted(api.list_repo_files(REPO)) == sorted(FILES)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_git_hashes_are_those_of_git(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    hub.add(REPO, FILES)
    write(tmp_path, FILES)
    told = {one.path: one.blob_id for one in api.get_paths_info(REPO, list(FILES)) if not one.lfs}
    assert told == {name: git_hash(tmp_path / name) for name in told} and len(told) == 3


def git_hash(path: Path) -> str:
    return subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True).stdout.strip()


def test_a_tree_comes_in_pages(hub: HubServer, api: HfApi) -> None:
    hub.add(REPO, FILES)
    hub.page_size = 2
    entries = list(api.list_repo_tree(REPO, recursive=True))
    assert sorted(one.path for one in entries) == sorted([*FILES, "1_Pooling"])
    assert len(hub.requests) == 3
    assert [one.path for one in api.list_repo_tree(REPO, "1_Pooling")] == ["1_Pooling/config.json"]


def test_a_new_upload_is_a_new_commit_and_the_old_one_stays(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    old = hub.add(REPO, FILES)
    new = hub.add(REPO, {"config.json": b"{}"})
    assert api.model_info(REPO).sha == new != old
    options: dict[str, Any] = {"endpoint": hub.url, "cache_dir": tmp_path, "token": False, "etag_timeout": 600}
    for revision, files in ((old, FILES), ("main", {"config.json": b"{}"})):
        folder = Path(snapshot_download(REPO, revision=revision, **options))
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        assert found == files


def test_names_with_slashes_and_spaces_are_names(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    hub.add(REPO, {"a b/ü.txt": b"here"}, branch="refs/pr/1")
    assert download("a b/ü.txt", revision="refs/pr/1") == b"here"


def test_small_files_come_from_the_hub_and_large_ones_from_elsewhere(
    hub: HubServer, download: Callable[..., bytes]
) -> None:
    hub.add(REPO, FILES)
    for file in ("config.json", LARGE):
        hub.requests.clear()
        assert download(file) == FILES[file]
        assert of_files(hub) == [("hub", "HEAD"), ("cdn" if file == LARGE else "hub", "GET")]


def test_the_token_stays_at_the_hub(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    hub.token = "hf_secret"
    assert download(token="hf_secret") == FILES[LARGE]
    carried = {one.server: "authorization" in one.headers for one in hub.requests}
    assert carried == {"hub": True, "cdn": False}


def test_an_unchanged_file_is_asked_for_and_not_sent_again(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    download()
    hub.add(REPO, FILES | {"config.json": b"{}"})
    hub.requests.clear()
    assert download() == FILES[LARGE]
    assert of_files(hub) == [("hub", "HEAD")]


def test_a_plain_client_is_sent_to_large_files(hub: HubServer) -> None:
    hub.add(REPO, FILES)
    request = urllib.request.Request(f"{hub.url}/{REPO}/resolve/main/{LARGE}", headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 206 and answer.headers["Content-Range"] == f"bytes 10-19/{len(FILES[LARGE])}"
        assert answer.read() == FILES[LARGE][10:20]


@pytest.mark.parametrize("file", ["README.md", LARGE])
def test_a_cut_connection_heals_with_the_bytes_that_were_missing(
    file: str, hub: HubServer, download: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, hurried: None
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 8)
    hub.add(REPO, FILES)
    hub.fail(file, Fault.CUT, times=1)
    assert download(file) == FILES[file]
    last = hub.requests[-1].headers["range"]
    assert last == f"bytes={len(FILES[file]) // 2 // 8 * 8}-"


def test_a_connection_that_is_always_cut_fails_and_the_client_keeps_nothing(
    hub: HubServer, download: Callable[..., bytes], tmp_path: Path, hurried: None
) -> None:
    """The reason why qsift resumes by itself: the client's next call starts from nothing."""
    hub.add(REPO, FILES)
    hub.fail(LARGE, Fault.CUT)
    with pytest.raises(Exception, match="peer closed connection"):
        download()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    hub.heal()
    assert download() == FILES[LARGE]


STATUSES = {
    401: HfHubHTTPError,
    403: HfHubHTTPError,
    404: EntryNotFoundError,
    416: HfHubHTTPError,
    500: HfHubHTTPError,
    503: HfHubHTTPError,
    Fault.GATED: GatedRepoError,
}


@pytest.mark.parametrize("fault", STATUSES, ids=str)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_refusal_is_the_clients_error_and_passes(
    method: str, fault: Fault | int, hub: HubServer, api: HfApi, download: Callable[..., bytes]
) -> None:
    hub.add(REPO, FILES)
    hub.fail("*.safetensors", fault, times=1, method=method)
    with pytest.raises(STATUSES[fault]) as caught:
        if method == "HEAD":
            api.get_hf_file_metadata(url=f"{hub.url}/{REPO}/resolve/main/{LARGE}")
        else:
            download()
    assert caught.value.response.status_code == (401 if fault is Fault.GATED else fault)
    assert download() == FILES[LARGE]


def test_too_many_requests_are_told_how_long_to_wait(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    hub.fail(LARGE, 429, method="HEAD", retry_after=7)
    with pytest.raises(HfHubHTTPError, match="Retry after 7 seconds") as caught:
        HfApi(endpoint=hub.url).get_hf_file_metadata(url=f"{hub.url}/{REPO}/resolve/main/{LARGE}")
    assert caught.value.response.headers["Retry-After"] == "7"


def test_the_facts_of_a_repo_can_be_refused_too(hub: HubServer, api: HfApi) -> None:
    hub.add(REPO, FILES)
    hub.fail("api/models/*", 500, times=1)
    with pytest.raises(HfHubHTTPError, match="500"):
        api.model_info(REPO)
    assert api.model_info(REPO).id == REPO


def test_a_wrong_length_is_noticed_by_the_client(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    hub.fail(LARGE, Fault.WRONG_LENGTH, times=1)
    with pytest.raises(OSError, match="Consistency check failed"):
        download()


def test_a_wrong_digest_is_not_noticed_by_the_client(hub: HubServer, download: Callable[..., bytes]) -> None:
    """The reason why qsift takes the sha256 itself."""
    hub.add(REPO, FILES)
    hub.fail(LARGE, Fault.WRONG_DIGEST, times=1)
    got = download()
    assert [at for at, (a, b) in enumerate(zip(got, FILES[LARGE], strict=True)) if a != b] == [len(got) // 2]


def test_a_slow_body_is_whole_and_slow(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    hub.pause = 0.003
    hub.fail(LARGE, Fault.SLOW)
    started = time.monotonic()
    assert download() == FILES[LARGE]
    assert time.monotonic() - started > 0.25


def test_a_held_body_goes_on_when_the_test_lets_it(hub: HubServer, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    hub.fail(LARGE, Fault.HOLD)
    got: list[bytes] = []
    client = threading.Thread(target=lambda: got.append(download()))
    client.start()
    hub.wait_until_sending(LARGE, len(FILES[LARGE]) // 2)
    assert client.is_alive() and not got
    hub.release()
    client.join()
    assert got == [FILES[LARGE]]


@pytest.mark.posix
def test_a_client_that_is_killed_in_the_middle_leaves_a_part_and_no_file(hub: HubServer, tmp_path: Path) -> None:
    large = os.urandom(25_000_000)  # more than the client's pieces of 10 MB, so that one is on disk
    hub.add(REPO, {LARGE: large})
    hub.fail(LARGE, Fault.HOLD)
    code = f"import huggingface_hub as h; print(h.hf_hub_download({REPO!r}, {LARGE!r}), end='')"
    options: Any = {"env": {**os.environ, **hub.environment(tmp_path)}, "stdout": subprocess.PIPE, "text": True}
    victim = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, **options)
    hub.wait_until_sending(LARGE, len(large) // 2)
    wait_for(lambda: [one for one in tmp_path.rglob("*.incomplete") if one.stat().st_size])
    victim.kill()
    assert victim.wait() == -signal.SIGKILL
    assert not list(tmp_path.rglob(LARGE))
    hub.heal()
    path = Path(subprocess.run([sys.executable, "-c", code], check=True, **options).stdout)
    assert path.read_bytes() == large and path.is_relative_to(tmp_path)


def wait_for(what: Callable[[], Any], seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "It did not happen."
        time.sleep(0.01)
    return found


def test_what_is_not_there_is_told_apart(hub: HubServer, api: HfApi, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    with pytest.raises(RepositoryNotFoundError, match="401"):
        download(repo="Qwen/Qwen9")
    with pytest.raises(RepositoryNotFoundError, match="404"):
        download(repo="Qwen/Qwen9", token="hf_any")
    with pytest.raises(RevisionNotFoundError):
        download(revision="no-such-branch")
    with pytest.raises(EntryNotFoundError):
        download("no-such-file")


def test_a_token_that_is_demanded_is_checked(hub: HubServer, api: HfApi, download: Callable[..., bytes]) -> None:
    hub.add(REPO, FILES)
    hub.token = "hf_secret"
    with pytest.raises(RepositoryNotFoundError):
        download()
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        api.model_info(REPO, token="hf_wrong")
    assert api.model_info(REPO, token="hf_secret").id == REPO


def test_a_private_repo_needs_any_token_and_a_gated_one_gives_no_file(
    hub: HubServer, api: HfApi, download: Callable[..., bytes]
) -> None:
    hub.add(REPO, FILES, private=True)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(REPO)
    assert api.model_info(REPO, token="hf_any").private
    hub.add("meta/gated", FILES, gated=True)
    assert api.model_info("meta/gated").gated == "manual"
    with pytest.raises(GatedRepoError):
        download(repo="meta/gated", token="hf_any")


def test_a_folder_is_uploaded(hub: HubServer, api: HfApi, download: Callable[..., bytes], tmp_path: Path) -> None:
    folder = write(tmp_path / "model", FILES)
    assert api.whoami(token="hf_any")["name"] == "tester"
    for _ in range(2):
        api.create_repo("tester/model", private=True, exist_ok=True, token="hf_any")
    made = api.upload_folder(repo_id="tester/model", folder_path=folder, commit_message="First", token="hf_any")
    assert api.model_info("tester/model", token="hf_any").sha == made.oid
    assert {name: download(name, "tester/model", token="hf_any") for name in FILES} == FILES
    assert [one.path.partition("/")[0] for one in hub.requests if one.method == "PUT"] == [""]
    assert [commit.title for commit in hub.repos["tester/model"].commits.values()] == ["initial commit", "First"]


def test_a_second_upload_sends_what_changed(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", FILES)
    api.create_repo("tester/model", token="hf_any")
    first = api.upload_folder(repo_id="tester/model", folder_path=folder, token="hf_any").oid
    hub.requests.clear()
    assert api.upload_folder(repo_id="tester/model", folder_path=folder, token="hf_any").oid == first
    (folder / "config.json").write_bytes(b"{}")
    assert api.upload_folder(repo_id="tester/model", folder_path=folder, token="hf_any").oid != first
    assert not [one for one in hub.requests if one.method == "PUT"]


def test_an_upload_needs_a_token_and_a_model_card_that_can_be_read(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    with pytest.raises(HfHubHTTPError, match="401"):
        api.create_repo("tester/model")
    api.create_repo("tester/model", token="hf_any")
    folder = write(tmp_path / "model", {"README.md": b"---\nlicense: [\n---\n"})
    with pytest.raises(ValueError, match="Invalid metadata in README"):
        api.upload_folder(repo_id="tester/model", folder_path=folder, token="hf_any")


def test_what_has_no_route_says_so(hub: HubServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.urlopen(f"{hub.url}/api/unheard-of")
    assert b"No route for GET /api/unheard-of" in caught.value.read()
    assert hub.requests[-1].path == "/api/unheard-of"
