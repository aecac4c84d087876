"""What people call a model, and what is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsift import SPECS, UnknownModelError
from qsift.hub.names import ModelName


@pytest.mark.parametrize(
    ("text", "repo", "quant"),
    [
        ("qwen3-embedding-0.6b", "Qwen/Qwen3-Embedding-0.6B", "q8_0"),
        ("QWEN3-Embedding-0.6B:Q4_K_M", "Qwen/Qwen3-Embedding-0.6B", "q4_k_m"),
        ("qwen/qwen3-reranker-8b", "Qwen/Qwen3-Reranker-8B", "q8_0"),
        ("Someone/A-Fine.Tune:f16", "Someone/A-Fine.Tune", "f16"),
        ("demo-embedding", "demo-embedding", "q8_0"),
    ],
)
def test_a_name_is_case_blind_and_may_end_in_a_quant(text: str, repo: str, quant: str) -> None:
    name = ModelName.parse(text)
    assert (name.repo, name.quant) == (repo, quant)
    assert name.spec is next((spec for spec in SPECS.values() if repo in (spec.name, spec.repo)), None)


@pytest.mark.parametrize("text", [*SPECS, "someone/a-fine-tune", "someone/a-fine-tune:q6_k"])
def test_a_name_is_read_as_it_is_written(text: str) -> None:
    name = ModelName.parse(text)
    assert name.bundled or ModelName.parse(str(name)) == name


def test_a_folder_is_a_model_and_has_a_place_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a" / "model").mkdir(parents=True)
    (tmp_path / "b" / "model").mkdir(parents=True)
    names = [ModelName.parse(str(tmp_path / part)) for part in ("a/model", "b/model", "a/model:q6_k")]
    assert [name.quant for name in names] == ["q8_0", "q8_0", "q6_k"]
    assert names[0].folder == (tmp_path / "a" / "model").resolve()
    assert names[0].key != names[1].key and names[0].key == names[2].key


@pytest.mark.parametrize("name", ["demo-embedding", "qwen3-embedding-0.6b"])
def test_a_folder_that_is_called_like_a_model_hides_it_only_with_a_checkpoint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert ModelName.parse(name).folder is None
    assert ModelName.parse(f"./{name}").folder == (tmp_path / name).resolve()
    (tmp_path / name / "config.json").touch()
    assert ModelName.parse(name).folder == (tmp_path / name).resolve()


def test_a_path_is_never_taken_for_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ModelName.parse("./gone").folder == (tmp_path / "gone").resolve()
    assert ModelName.parse("../gone:q6_k").folder == (tmp_path.parent / "gone").resolve()


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("qwen3-embeding-0.6b", "Did you mean 'qwen3-embedding-0.6b'"),
        ("demo-embedding:f16", "comes in one quant: leave out ':f16'"),
        ("word2vec", "Pass one of them, a repository, a folder, or a .gguf file"),
        ("a/b/c", "Pass one of them"),
        ("", "Pass one of them"),
        ("a name", "Pass one of them"),
        ("mé/ünï", "Pass one of them"),
    ],
)
def test_what_names_nothing_is_told_what_would(text: str, advice: str) -> None:
    with pytest.raises(UnknownModelError, match=r"is neither a file nor a model\.") as caught:
        ModelName.parse(text)
    assert advice in str(caught.value) and caught.value.known == tuple(SPECS)
