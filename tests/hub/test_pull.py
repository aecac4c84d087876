"""Models by name against a hub on loopback: fetched, converted, loaded; the vectors are torch's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_evidence
from hub_server import HubServer
from no_network import no_network
from released import RELEASED, files_in, publish
from texts import SENTENCES

from qsift import SPECS, ConversionError, DownloadError, Embedder, ModelFileError, ModelSpec, Reranker
from qsift.bench.reference import Reference
from qsift.convert import convert
from qsift.hub.names import ModelName
from qsift.hub.pulling import pull, remove
from qsift.hub.store import Shelf

EMBEDDING, RERANKER = "qwen3-embedding-0.6b", "qwen3-reranker-0.6b"
TEXTS = SENTENCES[:6]


def check(name: str, folder: Path, cosine: float = 0.999) -> None:
    """Holds a model that is loaded by its name against torch over its checkpoint."""
    if "embedding" in name.lower():
        with Embedder.load(name) as embedder:
            theirs = Reference(folder).embed([embedder.token_ids(text).tolist() for text in TEXTS])
            assert (embedder.encode_document(TEXTS) * theirs).sum(axis=1).min() > cosine
    else:
        with Reranker.load(name) as reranker:
            pairs = [(TEXTS[0], text) for text in TEXTS]
            theirs = Reference(folder).score([reranker.token_ids(*pair).tolist() for pair in pairs])
            moved = np.abs(reranker.predict(pairs) - 1 / (1 + np.exp(-theirs)))
            assert moved.max() < 0.05 and np.ptp(theirs) > 0.1


@pytest.mark.parametrize("source", ["hf", "modelscope"])
@pytest.mark.parametrize("spec", RELEASED, ids=lambda spec: spec.name)
def test_every_released_model_is_fetched_by_its_name_and_gives_torchs_numbers(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: ModelSpec, source: str
) -> None:
    monkeypatch.setenv("QSIFT_SOURCE", source)
    folder = publish(hub, tmp_path / "source", spec.name)
    check(spec.name.upper(), folder)
    with no_network():
        check(spec.name, folder)
    # The checkpoint went when it was converted, and nothing is left but the model and its record.
    assert [Path(name).name for name in files_in(tmp_path / "qsift")] == [f"{spec.repo[5:]}-Q8_0.gguf", "q8_0.json"]
    assert not [name for name in files_in(tmp_path) if "safetensors" in name and not name.startswith("source/")]


@pytest.mark.parametrize("source", ["hf", "modelscope"])
def test_a_ready_made_file_is_taken_and_stays_where_its_client_keeps_it(
    hub: HubServer, tmp_path: Path, source: str
) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    ready = convert(folder, tmp_path / "ready", quants=["q8_0", "f16"])
    hub.add("Qwen/Qwen3-Embedding-0.6B-GGUF", tmp_path / "ready")
    paths = pull(EMBEDDING, f"{EMBEDDING}:f16", source=source)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in ready]
    client = {"hf": "huggingface", "modelscope": "modelscope"}[source]
    assert all(path.is_relative_to(tmp_path / client) for path in paths)
    assert not any("safetensors" in request.path for request in hub.requests)
    check(EMBEDDING, folder)
    assert {one.quant for one in remove(EMBEDDING)} == {"q8_0", "f16"}
    assert not [name for name in files_in(tmp_path / client) if name.endswith("gguf")]


def test_a_quant_that_is_not_ready_made_is_converted_and_quants_share_a_download(
    hub: HubServer, tmp_path: Path
) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    convert(folder, tmp_path / "ready", quants="q8_0")
    hub.add("Qwen/Qwen3-Embedding-0.6B-GGUF", tmp_path / "ready")
    told: list[str] = []
    pull(EMBEDDING, f"{EMBEDDING}:q6_k", f"{EMBEDDING}:bf16", on_plan=lambda plan: told.append(str(plan)))
    assert len(told) == 1 and "q8_0 ready-made, q6_k, bf16 to convert, at most" in told[0]
    assert len([one for one in hub.requests if one.file == "model.safetensors" and one.method == "GET"]) == 1
    check(f"{EMBEDDING}:bf16", folder)


def test_an_unfit_ready_made_file_is_replaced_by_a_conversion(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    hub.add("Qwen/Qwen3-Embedding-0.6B-GGUF", {"Qwen3-Embedding-0.6B-Q8_0.gguf": b"GGUF, but no more than that"})
    check(EMBEDDING, folder)
    assert "is of no use, so a conversion has to take its place" in caplog.text
    assert [name for name in files_in(tmp_path) if name.endswith("gguf")] == [
        name for name in files_in(tmp_path) if name.startswith("qsift/") and name.endswith("gguf")
    ]


def test_a_checkpoint_is_kept_where_that_is_asked_and_where_it_was_before(hub: HubServer, tmp_path: Path) -> None:
    publish(hub, tmp_path / "source", EMBEDDING)

    def weights() -> list[str]:
        return [name for name in files_in(tmp_path / "huggingface") if name.endswith("model.safetensors")]

    pull(EMBEDDING, keep_checkpoint=True)
    assert len(weights()) == 1
    n_requests = len(hub.requests)
    pull(f"{EMBEDDING}:f16")
    assert len(weights()) == 1, "it was there before this pull, so it is not this pull's to remove"
    assert not any("safetensors" in request.path for request in hub.requests[n_requests:])
    remove(EMBEDDING)
    assert len(weights()) == 1


def test_a_name_keeps_its_commit_until_a_revision_is_asked_for(hub: HubServer, tmp_path: Path) -> None:
    old = publish(hub, tmp_path / "old", EMBEDDING)
    check(EMBEDDING, old)
    new = publish(hub, tmp_path / "new", EMBEDDING, seed=77)
    n_requests = len(hub.requests)
    pull(EMBEDDING)
    check(EMBEDDING, old)
    assert len(hub.requests) == n_requests
    pull(EMBEDDING, revision="main")
    check(EMBEDDING, new)
    assert len([name for name in files_in(tmp_path / "qsift") if name.endswith("gguf")]) == 1
    n_requests = len(hub.requests)
    pull(EMBEDDING, revision="main")
    assert all(request.path.startswith("/api/models/") for request in hub.requests[n_requests:])


def test_two_spellings_of_a_repository_are_one_model(hub: HubServer, tmp_path: Path) -> None:
    hub.add("someone/a-tune", publish(hub, tmp_path / "source", EMBEDDING))
    first, second = pull("someone/a-tune", "Someone/A-Tune")
    assert first == second and first.is_file()


def test_a_fine_tune_is_loaded_by_its_repository(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", RERANKER)
    hub.add("someone/a-reranker", folder)
    with pytest.raises(ConversionError, match="--task rerank"):
        pull("someone/a-reranker")
    assert not any("safetensors" in request.path for request in hub.requests), "the weights need not come for that"
    with Reranker.load("someone/a-reranker") as reranker:
        assert reranker.file.name == "a-reranker"
    write_evidence(folder, "rerank")
    hub.add("someone/another", folder)
    assert pull("someone/another:q4_k_m")[0].name == "another-Q4_K_M.gguf"
    with pytest.raises(ConversionError, match="contradictory"):
        Embedder.load("someone/another")


def test_a_folder_is_converted_once_and_again_when_it_changes(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path))
    folder = checkpoint("embed-wide")
    with no_network():
        with Embedder.load(folder) as embedder:
            first = signature(embedder.file.path)
        with Embedder.load(f"{folder}:q8_0") as embedder:
            assert signature(embedder.file.path) == first
        os.utime(folder / "model.safetensors")
        with Embedder.load(folder) as embedder:
            assert signature(embedder.file.path) != first
    assert len(list(tmp_path.glob("models/*/*/*.gguf"))) == 1


def test_conversions_of_a_folder_that_is_gone_can_be_removed(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path / "qsift"))
    folder = shutil.copytree(checkpoint("embed-wide"), tmp_path / "model")
    pull(str(folder))
    shutil.rmtree(folder)
    with pytest.raises(ModelFileError, match="There is no such file or folder"):
        Embedder.load(folder)
    assert [one.quant for one in remove(str(folder))] == ["q8_0"]
    assert files_in(tmp_path) == []


def signature(path: str) -> tuple[int, int]:
    facts = os.stat(path)
    return facts.st_ino, facts.st_mtime_ns


def test_a_damaged_file_is_found_and_fetched_again_or_named(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    path = pull(EMBEDDING)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(DownloadError, match=r"HF_HUB_OFFLINE is set.*run: qsift pull qwen3-embedding-0.6b:q8_0"):
            Embedder.load(EMBEDDING)
    check(EMBEDDING, folder)
    assert path.read_bytes() != data


def test_a_damaged_record_points_at_nothing_and_is_made_anew(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    record = pull(EMBEDDING)[0].parents[1] / "q8_0.json"
    for damage in ("", "[]", '{"path": 1}', record.read_text()[:-9]):
        record.write_text(damage)
        check(EMBEDDING, folder)
    assert [Path(name).name for name in files_in(tmp_path / "qsift")] == [
        "Qwen3-Embedding-0.6B-Q8_0.gguf",
        "q8_0.json",
    ]


def test_a_cache_may_move(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    pull(EMBEDDING)
    (tmp_path / "qsift").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path / "elsewhere"))
    with no_network():
        check(EMBEDDING, folder)


def test_a_file_that_a_record_points_at_outlives_notes_of_a_dead_process(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    ready = convert(folder, tmp_path / "ready")[0].name
    commit = hub.add("Qwen/Qwen3-Embedding-0.6B-GGUF", tmp_path / "ready")
    path = pull(EMBEDDING)[0]
    # As if killed between the two: the record is there, and so is still the note that the download is unpaid.
    shelf = Shelf.named(ModelName.parse(EMBEDDING).key)
    shelf.note_fetched({f"hf Qwen/Qwen3-Embedding-0.6B-GGUF {commit}": [ready]})
    pull(f"{EMBEDDING}:f16")
    assert path.exists() and shelf.fetched() == {}


def test_a_file_that_was_only_touched_is_compared_and_trusted(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    record = pull(EMBEDDING)[0].parents[1] / "q8_0.json"
    before = json.loads(record.read_text())
    os.utime(pull(EMBEDDING)[0])
    with no_network():
        check(EMBEDDING, folder)
    after = json.loads(record.read_text())
    assert after.pop("signature") != before.pop("signature") and after == before


def test_what_is_missing_offline_is_named_with_the_command(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, tmp_path / "source", EMBEDDING)
    pull(f"{EMBEDDING}:f16")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        DownloadError, match=r"Then run: qsift pull qwen3-embedding-0.6b:q8_0. This model is here in f16"
    ):
        Embedder.load(EMBEDDING)
    with pytest.raises(DownloadError, match=r"'Qwen3-Reranker-4B-Q8_0.gguf' of 'Qwen/Qwen3-Reranker-4B'"):
        Reranker.load("qwen3-reranker-4b")


def test_the_commands_say_what_they_take_where_it_lies_and_what_is_here(hub: HubServer, tmp_path: Path) -> None:
    publish(hub, tmp_path / "source", EMBEDDING)

    def qsift(*arguments: str) -> tuple[str, str]:
        done = subprocess.run([sys.executable, "-m", "qsift", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    out, err = qsift("pull", EMBEDDING)
    assert Path(out.strip()).name == "Qwen3-Embedding-0.6B-Q8_0.gguf"
    assert "MB to download, q8_0 to convert, at most" in err
    # This hub serves another size under the name, about which nothing is published.
    assert "qsift verify" not in err
    assert qsift("pull", EMBEDDING, f"{EMBEDDING}:f16", "--quiet")[1] == ""
    table = qsift("models")[0]
    row = next(line for line in table.splitlines() if line.startswith(EMBEDDING)).split()
    assert row[1:3] == ["1024", "32768"] and [cell for cell in row if cell.endswith("*")] == [row[4], row[6]]
    assert out.strip() in table
    facts = json.loads(qsift("models", "--json")[0])
    assert {model["name"] for model in facts["models"]} == set(SPECS)
    assert [(one["model"], one["quant"]) for one in facts["here"]] == [
        ("Qwen/Qwen3-Embedding-0.6B", quant) for quant in ("f16", "q8_0")
    ]
    assert "Removed Qwen/Qwen3-Embedding-0.6B:f16" in qsift("rm", f"{EMBEDDING}:f16")[1]
    assert json.loads(qsift("models", "--json")[0])["here"][0]["path"] == out.strip()
    os.unlink(out.strip())
    assert json.loads(qsift("models", "--json")[0])["here"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_folder_whose_name_is_no_text_is_converted_and_listed_in_valid_json(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING).rename(tmp_path / os.fsdecode(b"b\xe4r"))
    path = pull(str(folder))[0]
    listed = subprocess.run([sys.executable, "-m", "qsift", "models", "--json"], capture_output=True, check=True)
    assert Path(json.loads(listed.stdout.decode("utf-8"))["here"][0]["path"]) == path
