"""qsift convert --push: a folder that is a repository, and its upload to a real HTTP hub on loopback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from checkpoints import K_QUANT, write_adapter, write_checkpoint
from hub_server import HubServer
from huggingface_hub import ModelCard

from qsift import Embedder, Reranker
from qsift.bench.parity import DOCUMENTS, QUERIES
from qsift.hub.checksums import checksum

REPO = "tester/Tiny-GGUF"
CARD_OF_THE_CHECKPOINT = "---\nlicense: apache-2.0\nbase_model:\n- Qwen/Qwen3-0.6B-Base\n---\n# Tiny\n"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("push") / "Tiny", shape=K_QUANT)
    (folder / "README.md").write_text(CARD_OF_THE_CHECKPOINT)
    return folder


def push(hub: HubServer, place: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs qsift convert in a process of its own, with ``place`` as the current folder."""
    environment = {**os.environ, **hub.environment(place / "home"), **variables}
    command = [sys.executable, "-m", "qsift", "convert", *map(str, arguments)]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def uploaded(hub: HubServer) -> dict[str, str]:
    """Returns the SHA-256 of each file in the repository."""
    commit = hub.repos[REPO].find("main")
    assert commit is not None
    return {name: blob.sha256 for name, blob in commit.files.items() if name != ".gitattributes"}


def test_what_is_pushed_is_the_folder_and_private(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path, checkpoint, "out", "--quant", "bf16,q4_k_m", "--push", REPO, HF_TOKEN="hf_any")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "Tiny-GGUF"
    names = ["Tiny-BF16.gguf", "Tiny-Q4_K_M.gguf", "README.md", "SHA256SUMS"]
    *paths, url = done.stdout.splitlines()
    assert paths == [str(Path("out/Tiny-GGUF") / name) for name in names]
    assert url == f"{hub.url}/{REPO}"
    assert sorted(names) == sorted(path.name for path in folder.iterdir() if path.name != ".cache")
    assert uploaded(hub) == {name: checksum(folder / name) for name in names}
    assert hub.repos[REPO].private
    assert "%|" not in done.stderr, "a bar, and there is no terminal"


def test_a_public_repository_takes_a_word(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path, checkpoint, "--push", REPO, "--public", HF_TOKEN="hf_any")
    assert done.returncode == 0, done.stderr
    assert not hub.repos[REPO].private
    assert push(hub, tmp_path, checkpoint, "--public").returncode == 2


def test_the_sums_are_those_that_sha256sum_checks(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    assert push(hub, tmp_path, checkpoint, "--push", REPO).returncode == 0
    lines = (tmp_path / "Tiny-GGUF" / "SHA256SUMS").read_text().splitlines()
    found = dict(reversed(line.split("  ")) for line in lines)
    assert found == {name: checksum(tmp_path / "Tiny-GGUF" / name) for name in ("Tiny-Q8_0.gguf", "README.md")}


def test_the_card_says_what_was_measured(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    assert push(hub, tmp_path, checkpoint, "--quant", "bf16,q8_0,q4_0", "--push", REPO).returncode == 0
    folder = tmp_path / "Tiny-GGUF"
    card = ModelCard.load(folder / "README.md")
    rows = re.findall(r"^\| (\S+\.gguf) \| (\w+) \| ([\d.,]+) MB \| (\S+) \|$", card.text, re.MULTILINE)
    assert [(quant, figure == "reference") for _, quant, _, figure in rows] == [
        ("bf16", True),
        ("q8_0", False),
        ("q4_0", False),
    ]
    vectors = {}
    for name, *_ in rows:
        with Embedder.load(folder / name) as embedder:
            parts = embedder.encode_query(list(QUERIES)), embedder.encode_document(list(DOCUMENTS))
            vectors[name] = np.concatenate(parts)
    for name, _, size, figure in rows:
        assert float(size.replace(",", "")) == pytest.approx((folder / name).stat().st_size / 1e6, abs=0.5)
        if figure != "reference":
            cosines = (vectors[name] * vectors[rows[0][0]]).sum(axis=1)
            assert float(figure) == pytest.approx(cosines.min(), abs=1e-4)
    assert float(rows[2][3]) < float(rows[1][3]) < 1


def test_an_adapter_is_measured_against_its_own_merge(hub: HubServer, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    adapter = write_adapter(tmp_path / "Tuned")
    assert push(hub, tmp_path, adapter, "--base", base, "--quant", "q8_0", "--push", REPO).returncode == 0
    card = (tmp_path / "Tiny-GGUF" / "README.md").read_text("utf-8")
    figure = re.search(r"^\| Tuned-Q8_0.gguf \| q8_0 \| \S+ MB \| (\S+) \|$", card, re.MULTILINE)
    assert figure and 0.99 < float(figure[1]) < 1


def test_the_card_carries_what_the_hub_reads(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    assert push(hub, tmp_path, checkpoint, "--push", REPO).returncode == 0
    data = ModelCard.load(tmp_path / "Tiny-GGUF" / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "gguf", "feature-extraction")
    assert data.base_model == ["Qwen/Qwen3-0.6B-Base"]
    assert "base_model_relation" not in data.to_dict()


@pytest.mark.parametrize(
    ("place", "repo"),
    [
        ("Qwen3-Embedding-0.6B", "Qwen/Qwen3-Embedding-0.6B"),
        (f"models--someone--Fine-Tune/snapshots/{'a' * 40}", "someone/Fine-Tune"),
    ],
)
def test_a_checkpoint_that_is_known_is_the_base_model(hub: HubServer, tmp_path: Path, place: str, repo: str) -> None:
    checkpoint = write_checkpoint(tmp_path / place)
    assert push(hub, tmp_path, checkpoint, "--push", REPO).returncode == 0
    data = ModelCard.load(tmp_path / "Tiny-GGUF" / "README.md").data
    assert data.base_model == repo
    assert data.to_dict()["base_model_relation"] == "quantized"
    assert data.license is None


def test_a_rerankers_card_has_its_prompt_and_the_change_of_its_scores(hub: HubServer, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "Judge", shape=K_QUANT, task="rerank", prefix=True)
    assert push(hub, tmp_path, checkpoint, "--quant", "f16,q4_0", "--push", REPO).returncode == 0
    folder = tmp_path / "Tiny-GGUF"
    text = (folder / "README.md").read_text("utf-8")
    assert "pipeline_tag: text-ranking" in text
    assert "<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>" in text
    figure = re.search(r"q4_0 \| [\d.,]+ MB \| ([\d.]+) \|", text)
    assert figure is not None
    pairs = [(query, document) for query in QUERIES for document in DOCUMENTS]
    scores = []
    for quant in ("F16", "Q4_0"):
        with Reranker.load(folder / f"Judge-{quant}.gguf") as reranker:
            scores.append(reranker.predict(pairs))
    assert float(figure[1]) == pytest.approx(np.abs(scores[0] - scores[1]).max(), abs=1e-3)
    assert float(figure[1]) > 0


def test_without_a_token_the_folder_is_made_and_the_hub_hears_nothing(
    hub: HubServer, checkpoint: Path, tmp_path: Path
) -> None:
    done = push(hub, tmp_path, checkpoint, "--push", REPO)
    assert done.returncode == 0
    assert "'Tiny-GGUF' is ready, and nothing was uploaded" in done.stderr
    assert "hf upload tester/Tiny-GGUF Tiny-GGUF --private" in done.stderr
    assert hub.requests == []
    assert sorted(os.listdir(tmp_path / "Tiny-GGUF")) == ["README.md", "SHA256SUMS", "Tiny-Q8_0.gguf"]


def test_a_token_that_is_refused_is_told_before_anything_is_converted(
    hub: HubServer, checkpoint: Path, tmp_path: Path
) -> None:
    hub.token = "hf_another"
    done = push(hub, tmp_path, checkpoint, "--push", REPO, HF_TOKEN="hf_wrong")
    assert done.returncode == 1
    assert "Error: 'tester/Tiny-GGUF' was not uploaded: The hub answers 401" in done.stderr
    assert not (tmp_path / "Tiny-GGUF").exists()


@pytest.mark.parametrize(
    ("pattern", "fault", "sentence"),
    [
        ("api/repos/create", 403, "Use one with write access"),
        ("api/models/*", 404, "There is no such owner"),
        ("*commit*", 413, "See the hub's answer"),
    ],
)
def test_an_upload_that_fails_says_why_and_a_second_one_succeeds(
    hub: HubServer, checkpoint: Path, tmp_path: Path, pattern: str, fault: int, sentence: str
) -> None:
    hub.fail(pattern, fault)
    done = push(hub, tmp_path, checkpoint, "--push", REPO, HF_TOKEN="hf_any")
    assert done.returncode == 1
    assert f"The hub answers {fault}" in done.stderr and sentence in done.stderr
    assert "To upload it without converting again: hf upload tester/Tiny-GGUF Tiny-GGUF --private" in done.stderr
    hub.heal()
    again = push(hub, tmp_path, checkpoint, "--push", REPO, "--force", HF_TOKEN="hf_any")
    assert again.returncode == 0, again.stderr
    assert "SHA256SUMS" in uploaded(hub)


def test_offline_nothing_is_converted_to_be_pushed(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path, checkpoint, "--push", REPO, HF_TOKEN="hf_any", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "HF_HUB_OFFLINE is set" in done.stderr
    assert hub.requests == [] and not (tmp_path / "Tiny-GGUF").exists()


def test_a_hub_that_is_not_there_is_named(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path, checkpoint, "--push", REPO, HF_TOKEN="hf_any", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "'tester/Tiny-GGUF' was not uploaded" in done.stderr and "Check the connection" in done.stderr


@pytest.mark.parametrize("repo", ["Tiny", "a/b/c", "tester/..", "tester/a b", "tester/a.git", "/x", ""])
def test_a_name_that_no_repository_can_have_is_refused(
    hub: HubServer, checkpoint: Path, tmp_path: Path, repo: str
) -> None:
    done = push(hub, tmp_path, checkpoint, "--push", repo)
    assert done.returncode == 2
    assert f"{repo!r}; an id such as 'owner/name' is needed" in done.stderr


def test_a_file_is_no_place_for_a_repository(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path, checkpoint, "model.gguf", "--push", REPO)
    assert done.returncode == 2
    assert "Pass a folder" in done.stderr


def test_a_card_that_is_there_is_replaced_only_by_force(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Tiny-GGUF"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    done = push(hub, tmp_path, checkpoint, "--push", REPO)
    assert done.returncode == 1
    assert "README.md' exists" in done.stderr
    assert os.listdir(folder) == ["README.md"]
    assert push(hub, tmp_path, checkpoint, "--push", REPO, "--force").returncode == 0
    assert (folder / "README.md").read_text("utf-8").startswith("---\n")


def test_other_files_of_the_folder_stay_at_home(hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "Tiny-GGUF").mkdir()
    (tmp_path / "Tiny-GGUF" / "secret.txt").write_text("mine")
    done = push(hub, tmp_path, checkpoint, "--push", REPO, HF_TOKEN="hf_any")
    assert done.returncode == 0, done.stderr
    assert set(uploaded(hub)) == {"Tiny-Q8_0.gguf", "README.md", "SHA256SUMS"}
