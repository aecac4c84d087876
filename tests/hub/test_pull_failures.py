"""Every way in which a pull can fail: a sentence, nothing half-done that counts, and a later success."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import no_network
import pytest
from hub_server import Fault, HubServer
from huggingface_hub import constants
from released import files_in, publish

from qsift import DownloadError, Reranker, UnknownModelError
from qsift.convert import convert
from qsift.hub.pulling import pull, remove

EMBEDDING, RERANKER = "qwen3-embedding-0.6b", "qwen3-reranker-8b"
QSIFT = (sys.executable, "-m", "qsift")
LAST = "model-00003-of-00003.safetensors"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the clients try again at once instead of in seconds."""
    hurry = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    monkeypatch.setattr("huggingface_hub.file_download.time", hurry)
    monkeypatch.setattr("huggingface_hub.utils._http.time", hurry)


@pytest.fixture
def reranker(hub: HubServer, tmp_path: Path) -> Iterator[Path]:
    """A model of three shards on the hub; its folder. At the end it must be possible to load it after all."""
    folder = publish(hub, tmp_path / "source", RERANKER)
    yield folder
    hub.heal()
    hub.token = None
    with Reranker.load(RERANKER) as model:
        assert 0 <= model.predict([("a", "b")])[0] <= 1
    assert leftovers(tmp_path) == ["Qwen3-Reranker-8B-Q8_0.gguf", "q8_0.json"]


def leftovers(folder: Path) -> list[str]:
    """Returns what qsift and the clients keep of weights and of qsift's own notes, by the names of the files."""
    names = [name for name in files_in(folder) if not name.startswith("source/")]
    return [
        Path(name).name
        for name in names
        if name.startswith("qsift/") or name.endswith((".incomplete", ".safetensors", ".gguf"))
    ]


@pytest.mark.parametrize(
    ("pattern", "fault", "said"),
    [
        ("api/models/*", 500, "The hub answered 500. Try again later."),
        ("api/models/*", 429, "too many requests"),
        ("api/models/*", 401, "The hub refuses it (401). Set HF_TOKEN"),
        ("api/models/*", 403, "The hub refuses it (403). Set HF_TOKEN"),
        ("api/models/*", 404, "The hub does not have it"),
        (LAST, 404, "The hub does not have it"),
        (LAST, 401, "The hub refuses it (401). Set HF_TOKEN"),
        (LAST, 403, "The hub refuses it (403). Set HF_TOKEN"),
        (LAST, 416, "The hub answered 416"),
        (LAST, 429, "too many requests"),
        (LAST, 500, "The hub answered 500"),
        (LAST, 503, "The hub answered 503"),
        (LAST, Fault.GATED, "The repository is gated. Accept its terms"),
        (LAST, Fault.CUT, "Check the connection"),
        (LAST, Fault.WRONG_LENGTH, "should be of size"),
        (LAST, Fault.WRONG_DIGEST, "What came is not what the repository lists; it was removed"),
    ],
)
def test_a_failure_of_the_hub_is_a_sentence_and_the_next_pull_goes_on(
    hub: HubServer, reranker: Path, tmp_path: Path, pattern: str, fault: Fault | int, said: str
) -> None:
    hub.fail(pattern, fault)
    with pytest.raises(DownloadError) as caught:
        Reranker.load(RERANKER)
    assert said in str(caught.value) and "run: qsift pull qwen3-reranker-8b:q8_0" in str(caught.value)
    assert caught.value.repo == "Qwen/Qwen3-Reranker-8B"
    assert caught.value.filename == (LAST if pattern == LAST else "Qwen3-Reranker-8B-Q8_0.gguf")
    left = leftovers(tmp_path)
    assert LAST not in left and not any(name.endswith((".incomplete", ".gguf")) for name in left)
    # What was whole is not fetched again.
    n_requests = len(hub.requests)
    hub.heal()
    pull(RERANKER)
    again = {request.file for request in hub.requests[n_requests:] if request.method == "GET" and request.file}
    assert again == {LAST} or pattern != LAST


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (404, "404"),
        (403, "Set MODELSCOPE_API_TOKEN"),
        (Fault.WRONG_LENGTH, "Check the connection"),
        (Fault.WRONG_DIGEST, "Hash mismatch"),
    ],
)
def test_a_failure_of_modelscope_is_a_sentence_too(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault | int, said: str
) -> None:
    pytest.importorskip("modelscope_hub")
    for name in ("DOWNLOAD_INTEGRITY_RETRY_BACKOFF", "DOWNLOAD_RETRY_TIMES"):
        monkeypatch.setattr(f"modelscope_hub._download.{name}", 0)
    monkeypatch.setenv("QSIFT_SOURCE", "modelscope")
    publish(hub, tmp_path / "source", RERANKER)
    hub.fail(LAST, fault)
    with pytest.raises(DownloadError, match="run: qsift pull") as caught:
        Reranker.load(RERANKER)
    assert said in str(caught.value)
    assert LAST not in leftovers(tmp_path)
    hub.heal()
    Reranker.load(RERANKER).close()
    assert leftovers(tmp_path) == ["Qwen3-Reranker-8B-Q8_0.gguf", "q8_0.json"]


def test_a_cut_connection_is_taken_up_where_it_broke(
    hub: HubServer, reranker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    hub.fail(LAST, Fault.CUT, times=1)
    pull(RERANKER)
    ranges = [one.headers.get("range") for one in hub.requests if one.file == LAST and one.method == "GET"]
    assert len(ranges) == 2 and ranges[0] is None and ranges[1] and int(ranges[1][6:-1]) > 0


def test_a_disk_that_fills_up_meanwhile_is_named(
    reranker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as filling:
        filling.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(DownloadError, match=r"The disk is full\. Make room\."):
            Reranker.load(RERANKER)
    assert leftovers(tmp_path) == ["fetched.json"]


def test_a_hub_that_cannot_be_reached_is_named(reranker: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as nowhere:
        nowhere.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(DownloadError, match=r"Check the connection"):
            Reranker.load(RERANKER)
    assert leftovers(tmp_path) == []


def test_a_cache_that_cannot_be_written_to_is_named(
    reranker: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("QSIFT_CACHE", str(tmp_path / "file"))
        with pytest.raises(
            DownloadError, match=r"file/models.*Not a directory.*choose another folder with QSIFT_CACHE"
        ):
            Reranker.load(RERANKER)


def test_a_private_model_needs_the_token(hub: HubServer, reranker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    with pytest.raises(DownloadError, match=r"the token if it is private"):
        pull(RERANKER)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert pull(RERANKER)


def test_a_full_disk_is_seen_before_the_first_byte(
    hub: HubServer, reranker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = sum(path.stat().st_size for path in reranker.glob("*.safetensors"))
    usage = shutil.disk_usage(reranker)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(1.4 * weights)))
        with pytest.raises(DownloadError, match=r"GB are needed on the disk of .*Make room|MB are needed on the disk"):
            pull(RERANKER)
    assert not any(request.file for request in hub.requests)


def test_unknown_sources_quants_revisions_and_repositories_are_told_what_there_is(
    hub: HubServer, reranker: Path
) -> None:
    with pytest.raises(ValueError, match="source is 'ollama'; allowed are hf, modelscope"):
        pull(RERANKER, source="ollama")
    with pytest.raises(ValueError, match=r"no Qwen/Qwen3-Reranker-8B in 'q3_k'; it can be made in f32, f16"):
        pull(f"{RERANKER}:q3_k")
    with pytest.raises(DownloadError, match="no such repository at revision 'v9'"):
        pull(RERANKER, revision="v9")
    with pytest.raises(DownloadError, match="There is no such repository"):
        pull("no-one/nothing")
    with pytest.raises(UnknownModelError, match="It comes with qsift"):
        pull("demo-embedding")
    with pytest.raises(UnknownModelError, match=r"'demo-embedding' cannot be removed\. It comes with qsift"):
        remove("demo-embedding")
    with pytest.raises(DownloadError, match="This cannot be the name of a repository") as caught:
        pull("no--one/nothing")
    assert "connection" not in str(caught.value)
    with pytest.raises(UnknownModelError, match="'qwen3-reranker-8b:f16' is not on this machine"):
        remove(f"{RERANKER}:f16")
    hub.add("no-one/documents", {"README.md": b"nothing but words"})
    with pytest.raises(DownloadError, match=r"neither a GGUF in this quant nor a safetensors checkpoint.*README\.md"):
        pull("no-one/documents")
    hub.add("no-one/adapter", {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"})
    with pytest.raises(DownloadError, match=r"is a LoRA adapter .* qsift convert ADAPTER --base CHECKPOINT"):
        pull("no-one/adapter")


def test_a_damaged_file_that_was_in_the_cache_before_is_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    ready = convert(folder, tmp_path / "ready")[0]
    hub.add("Qwen/Qwen3-Embedding-0.6B-GGUF", tmp_path / "ready")
    place = Path(huggingface_hub.hf_hub_download("Qwen/Qwen3-Embedding-0.6B-GGUF", ready.name))
    data = bytearray(ready.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    assert pull(EMBEDDING) == [place]
    assert place.read_bytes() == ready.read_bytes()


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*QSIFT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.posix
@pytest.mark.parametrize("moment", ["first shard", "last shard", "conversion"])
def test_a_killed_pull_is_completed_by_the_next(hub: HubServer, reranker: Path, tmp_path: Path, moment: str) -> None:
    shard = {"first shard": "model-00001-of-00003.safetensors", "last shard": LAST}.get(moment)
    if shard:
        hub.fail(shard, Fault.HOLD)
    process = started("pull", RERANKER)
    if shard:
        hub.wait_until_sending(shard)
    else:
        wait_for(lambda: list(tmp_path.glob("qsift/models/*/*/*.part-*")) or process.poll() is not None)
    process.kill()
    process.communicate()
    assert process.returncode == (-signal.SIGKILL if shard else process.returncode)
    if shard:
        assert any(name.endswith(".incomplete") for name in leftovers(tmp_path))


@pytest.mark.posix
def test_a_pull_may_be_killed_at_any_moment(hub: HubServer, reranker: Path) -> None:
    hub.fail(LAST, Fault.SLOW)
    generator, n_killed = random.Random(0), 0
    for _ in range(6):
        process = started("pull", RERANKER)
        try:
            process.wait(generator.uniform(0.4, 2))
        except subprocess.TimeoutExpired:
            process.kill()
            n_killed += 1
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
    assert n_killed > 2


def wait_for(happened: Callable[[], object]) -> None:
    while not happened():
        time.sleep(0.001)


def test_two_processes_take_turns_and_fetch_once(hub: HubServer, reranker: Path) -> None:
    hub.fail(LAST, Fault.HOLD, times=1)
    first = started("pull", RERANKER)
    hub.wait_until_sending(LAST)
    second = started("pull", RERANKER)
    assert second.stderr and "Another process is fetching or converting" in second.stderr.readline()
    hub.heal()
    outputs = [first.communicate()[0], second.communicate()[0]]
    assert (first.returncode, second.returncode) == (0, 0) and outputs[0] == outputs[1]
    assert len([one for one in hub.requests if one.file == LAST and one.method == "GET"]) == 1


def test_with_everything_here_commands_open_no_socket(hub: HubServer, reranker: Path, tmp_path: Path) -> None:
    publish(hub, tmp_path / "source", EMBEDDING)
    pull(EMBEDDING, RERANKER)
    environment = os.environ | no_network.environment()
    for command in (
        ("embed", EMBEDDING, "a"),
        ("rerank", RERANKER, "a", "b"),
        ("info", EMBEDDING),
        ("models",),
        ("pull", EMBEDDING, RERANKER),
        ("rm", EMBEDDING),
    ):
        done = subprocess.run([*QSIFT, *command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert subprocess.run([*QSIFT, "embed", EMBEDDING, "a"], env=environment).returncode == no_network.EXIT_STATUS
