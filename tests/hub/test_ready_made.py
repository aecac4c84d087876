"""Ready-made files are compared with their model: a right one is taken, one that gives other numbers is converted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gguf import GGUFReader
from gguf_files import rewritten
from hub_server import Fault, HubServer
from no_network import no_network
from released import files_in, publish
from texts import SENTENCES

from qsift import DownloadError, Embedder
from qsift.bench.reference import Reference
from qsift.cli import cli
from qsift.convert import convert
from qsift.hub.pulling import pull
from qsift.hub.store import shelves

EMBEDDING, RERANKER = "qwen3-embedding-0.6b", "qwen3-reranker-0.6b"
READY, FILE = "Qwen/Qwen3-Embedding-0.6B-GGUF", "Qwen3-Embedding-0.6B-Q8_0.gguf"


def edit(path: Path, change: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value), "utf-8")


def older_vocabulary(folder: Path) -> None:
    edit(folder / "tokenizer.json", lambda tokenizer: [tokenizer["added_tokens"].pop() for _ in range(4)])


def other_order_of_merges(folder: Path) -> None:
    def swap(tokenizer: Any) -> None:
        merges = tokenizer["model"]["merges"]
        merges[1], merges[2] = merges[2], merges[1]

    edit(folder / "tokenizer.json", swap)


def wrong_rope_base(folder: Path) -> None:
    edit(folder / "config.json", lambda config: config.update(rope_theta=1e4))


def shorter_context(folder: Path) -> None:
    edit(folder / "config.json", lambda config: config.update(max_position_embeddings=8192))


def made_from(folder: Path, place: Path, change: Callable[[Path], None] = lambda _: None) -> Path:
    """Returns a folder with the GGUF that a converter made of a checkpoint after a change."""
    changed = place / folder.name
    shutil.copytree(folder, changed)
    change(changed)
    out = place / "gguf"
    convert(changed, out, quants="q8_0", task="rerank" if "Reranker" in folder.name else None)
    return out


def info(*arguments: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(CliRunner().invoke(cli, ["info", *arguments, "--json"]).stdout)
    return facts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (older_vocabulary, "4 tokens differ from the model's"),
        (other_order_of_merges, "2 merges differ from the model's"),
        (wrong_rope_base, "Its qwen3.rope.freq_base is 10000; the model's is 1e+06."),
        (shorter_context, "Its context is 8192 tokens and the model's 32768"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_ready_made_file_that_gives_other_numbers_is_converted_instead(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Path], None], said: str
) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    commit = hub.add(READY, made_from(folder, tmp_path / "theirs", change))
    path = pull(EMBEDDING)[0]
    assert path.read_bytes() == convert(folder, tmp_path / "right.gguf")[0].read_bytes()
    [sentence] = [record.getMessage() for record in caplog.records if record.name == "qsift.pull"]
    assert sentence.startswith(
        f"{FILE} of {READY} is of no use, so a conversion has to take its place: It is not what Qwen/Qwen3-"
    )
    assert said in sentence
    assert not [name for name in files_in(tmp_path / "huggingface") if name.endswith((".gguf", ".json"))]
    [record] = [record for shelf in shelves() for record in shelf.records()]
    assert record.instead_of == f"hf {READY} {commit}"
    # It is not fetched again to find that out again.
    n_requests = len(hub.requests)
    assert pull(EMBEDDING, revision="main") == [path]
    assert not [one for one in hub.requests[n_requests:] if one.file]


@pytest.mark.parametrize("source", ["hf", "modelscope"])
def test_a_right_one_is_taken_and_info_says_offline_with_what_it_was_compared(
    hub: HubServer, tmp_path: Path, source: str
) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    hub.add(READY, made_from(folder, tmp_path / "theirs"))
    path = pull(EMBEDDING, source=source)[0]
    assert path.is_relative_to(tmp_path / {"hf": "huggingface", "modelscope": "modelscope"}[source])
    with no_network():
        against = info(EMBEDDING)["against"]
    assert against["model"].startswith("Qwen/Qwen3-Embedding-0.6B at ") and against["differences"] == []
    assert info(str(path))["against"] == against
    # What was needed to compare is gone.
    assert [Path(name).name for name in files_in(path.parents[1]) if name.endswith((".gguf", ".json"))] == [FILE]


def test_one_that_asks_for_no_end_token_gives_torchs_numbers_and_is_named(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    made = made_from(folder, tmp_path / "theirs") / FILE
    changes = {"tokenizer.ggml.add_eos_token": False, "tokenizer.ggml.eos_token_id": None}
    hub.add(READY, {FILE: rewritten(made, tmp_path / "other.gguf", changes).read_bytes()})
    with Embedder.load(EMBEDDING) as embedder:
        assert Path(embedder.file.path).is_relative_to(tmp_path / "huggingface")
        theirs = Reference(folder).embed([embedder.token_ids(text).tolist() for text in SENTENCES[:3]])
        assert (embedder.encode_document(SENTENCES[:3]) * theirs).sum(axis=1).min() > 0.999
    [difference] = info(EMBEDDING)["against"]["differences"]
    assert "add_eos_token is False instead of True" in difference["sentence"] and not difference["changes_numbers"]
    table = CliRunner().invoke(cli, ["info", EMBEDDING]).stdout
    assert "Compared with Qwen/Qwen3-Embedding-0.6B at" in table and "harmless: It asks for other special" in table


def test_one_whose_vocabulary_has_no_end_token_is_converted_instead(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    made = made_from(folder, tmp_path / "theirs") / FILE
    lists = {key: GGUFReader(made).fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type")}
    end = lists["tokens"].index("<|endoftext|>")
    lists["tokens"][end], lists["token_type"][end] = f"[PAD{end}]", 5
    other = rewritten(made, tmp_path / "other.gguf", {f"tokenizer.ggml.{key}": value for key, value in lists.items()})
    hub.add(READY, {FILE: other.read_bytes()})
    assert pull(EMBEDDING)[0].is_relative_to(tmp_path / "qsift")
    assert f"the first is token {end}, '[PAD{end}]' instead of '<|endoftext|>'." in caplog.text


def test_a_rerankers_file_is_compared_with_the_repository_that_it_lies_in(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", RERANKER)
    right, wrong = (made_from(folder, tmp_path / name, change) for name, change in CHANGES.items())
    for made in (right, wrong):
        shutil.copytree(folder, tmp_path / "both", dirs_exist_ok=True)
        shutil.copytree(made, tmp_path / "both", dirs_exist_ok=True)
        hub.add("Qwen/Qwen3-Reranker-0.6B", tmp_path / "both")
        path = pull(RERANKER, revision="main")[0]
        assert path.is_relative_to(tmp_path / "huggingface") is (made == right)


CHANGES: dict[str, Callable[[Path], None]] = {"right": lambda _: None, "wrong": other_order_of_merges}


@pytest.mark.parametrize(
    ("card", "compared"),
    [
        ("base_model: someone/model\n", True),
        ("base_model:\n- someone/model\nbase_model_relation: quantized\n", True),
        ("base_model: someone/model\nbase_model_relation: finetune\n", False),
        ("base_model: someone/model\ntags:\n- qsift\n", False),
        ("base_model: someone/nobody\n", False),
        ("license: apache-2.0\n", False),
    ],
)
def test_the_card_of_a_repository_says_whose_quantisation_it_is(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, card: str, compared: bool
) -> None:
    hub.add("someone/model", folder := publish(hub, tmp_path / "source", EMBEDDING))
    made = made_from(folder, tmp_path / "theirs")
    (made / "README.md").write_text(f"---\n{card}---\n# A model\n")
    hub.add("someone/model-GGUF", made)
    pull("someone/model-GGUF")
    model = info("someone/model-GGUF")["against"]["model"]
    assert model.startswith("someone/model at") if compared else model is None
    assert ("was not compared with its model" in caplog.text) is not compared


def test_an_unfit_file_without_a_checkpoint_to_convert_is_refused(
    hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add("someone/model", folder := publish(hub, tmp_path / "source", EMBEDDING))
    made = made_from(folder, tmp_path / "theirs", wrong_rope_base)
    (made / "README.md").write_text("---\nbase_model: someone/model\n---\n")
    hub.add("someone/model-GGUF", made)
    with pytest.raises(DownloadError, match="neither a fit GGUF in q8_0 nor a safetensors checkpoint"):
        pull("someone/model-GGUF")
    assert "It is not what someone/model is" in caplog.text
    assert not shelves() or not shelves()[0].records()


def test_a_file_is_not_used_by_its_name_while_its_model_cannot_be_read(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    hub.add(READY, made_from(folder, tmp_path / "theirs"))
    hub.fail("tokenizer.json", Fault.GATED)
    with pytest.raises(DownloadError, match=r"gated.*cannot be compared with its model, and is not used by its name"):
        pull(EMBEDDING)
    hub.heal()
    n_requests = len(hub.requests)
    assert pull(EMBEDDING)[0].name == FILE
    assert FILE not in {one.file for one in hub.requests[n_requests:] if one.method == "GET"}, "it was here already"


def test_info_compares_with_a_repository_and_its_exit_code_says_what_it_found(hub: HubServer, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "source", EMBEDDING)
    right = made_from(folder, tmp_path / "right") / FILE
    wrong = made_from(folder, tmp_path / "wrong", wrong_rope_base) / FILE
    for checkpoint in (EMBEDDING, "Qwen/Qwen3-Embedding-0.6B", str(folder)):
        done = CliRunner().invoke(cli, ["info", str(right), "--against", checkpoint])
        assert done.exit_code == 0 and "no difference" in done.stdout
        done = CliRunner().invoke(cli, ["info", str(wrong), "--against", checkpoint])
        assert done.exit_code == 1 and "changes numbers: Its qwen3.rope.freq_base is 10000" in done.stdout
    assert not any("safetensors" in request.path for request in hub.requests)
    assert info(str(wrong), "--against", str(folder))["against"]["differences"][0]["changes_numbers"]
    with pytest.raises(DownloadError, match="There is no such repository"):
        CliRunner().invoke(cli, ["info", str(right), "--against", "someone/nobody"], catch_exceptions=False)
