"""`qsift verify`: what is right passes, and each way of being wrong does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_checkpoint
from stub import StubEngine, StubTokenizer, model_file

from qsift import SPECS, Embedder, EngineOptions, ModelFile, ModelFileError, Reranker
from qsift.bench.published import OVERFLOWING, PUBLISHED, Published, published_results, spec_of
from qsift.bench.reference import Reference
from qsift.bench.texts import SENTENCES
from qsift.bench.verify import Check, _row, check_finite, check_published, check_reference, computed, tolerance
from qsift.cli.models import _offer_verify
from qsift.engine import TokenIds
from qsift.hub.opening import BUNDLED
from qsift.models import SCHEMES, read_header

ONE = EngineOptions(threads=1)
LOST_END = 0.1
"""What a lost end token moves a cosine of the model cards by."""


def verify(*arguments: object, without: str = "") -> tuple[int, str, str]:
    """Runs the command; ``without`` names a package that is not installed."""
    code = f"import sys; sys.modules.update({{name: None for name in {without.split()!r}}}); from qsift.cli import main"
    command = [sys.executable, "-c", f"{code}; main()", "verify", "--threads", "1", *map(str, arguments)]
    # Tiny matrices gain nothing from a second thread, and lose much where another process has the core.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def edited(name: str, target: Path, edit: Callable[[Any, bytearray], None]) -> Path:
    """Writes a bundled model's file with other bytes."""
    source = BUNDLED / f"{name}.gguf"
    data = bytearray(source.read_bytes())
    edit(read_header(source), data)
    target.write_bytes(data)
    return target


def test_the_bundled_pair_is_what_torch_says_it_is() -> None:
    code, out, err = verify("demo-embedding", "demo-reranker", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["passed"] and not err
    rows = [check for model in facts["models"] for check in model["checks"]]
    assert [len(model["checks"]) for model in facts["models"]] == [4, 2]
    # Activations in 8 bits, or attention in bfloat16, add up to 0.32 of what is allowed.
    assert all(row["off"] <= row["tolerance"] / 2 for row in rows), rows
    assert any(row["off"] > 0 for row in rows) and all(
        "http" in row["source"] or "torch" in row["source"] for row in rows
    )


class Forgetful:
    """A tokenizer that loses the end token."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str, *, control_tokens: bool) -> TokenIds:
        ids: TokenIds = self.tokenizer.encode(text, control_tokens=control_tokens)
        return ids[:0] if control_tokens else ids


def test_a_lost_end_token_fails_in_every_row() -> None:
    with Embedder.load("demo-embedding", options=ONE) as embedder:
        broken = Embedder(embedder.engine, Forgetful(embedder.engine.tokenizer), embedder.file)  # type: ignore[attr-defined]
        assert not any(check.passed for check in check_published(broken))
        assert all(check.passed for check in check_published(embedder))


def test_tokens_that_changed_places_fail(tmp_path: Path) -> None:
    def swap(header: Any, data: bytearray) -> None:
        known = header.strings("tokenizer.ggml.tokens")
        a = "Ġcapital".encode()
        b = next(token for token in known if len(token) == len(a) and token.startswith("Ġ".encode()) and token != a)
        # A string in GGUF is its length and its bytes.
        places = [data.index(len(token).to_bytes(8, "little") + token) + 8 for token in (a, b)]
        for place, token in zip(places, (b, a), strict=True):
            data[place : place + len(token)] = token

    code, out, _ = verify(edited("demo-embedding", tmp_path / "swapped.gguf", swap))
    assert code == 1 and "FAILED" in out.splitlines()[2], out


@pytest.mark.parametrize("name", ["demo-embedding", "demo-reranker"])
def test_weights_in_a_wrong_scale_fail(name: str, tmp_path: Path) -> None:
    def scale(header: Any, data: bytearray) -> None:
        tensor = header.tensors["blk.1.ffn_down.weight"]
        # A block of Q8_0 is a scale in F16 and 32 bytes.
        blocks = np.frombuffer(data, np.uint8, tensor.nbytes, tensor.offset).reshape(-1, 34)
        scales = (blocks[:, :2].copy().view(np.float16) * np.float16(1.5)).view(np.uint8)
        blocks[:, :2] = scales

    code, out, _ = verify(edited(name, tmp_path / f"{name}.gguf", scale))
    assert code == 1 and "FAILED" in out, out


def test_a_model_that_nobody_published_about_fails_with_a_sentence(gguf: Callable[..., Path]) -> None:
    code, out, _ = verify(gguf("embed"))
    assert code == 1 and "'embed', and no values were published for that." in out and "--reference CHECKPOINT" in out
    assert "finite" in out and "FAILED" not in out


@pytest.mark.parametrize("name", [name for name in SPECS if not name.startswith("demo")])
def test_a_released_model_is_known_by_name_and_size_and_a_fine_tune_is_not(name: str) -> None:
    spec = SPECS[name]
    sizes = {"n_layers": spec.num_hidden_layers, "n_vocab": 151_936}
    file = model_file(spec.task, spec.hidden_size, name=spec.repo.rpartition("/")[2], **sizes)  # type: ignore[union-attr]
    assert published_results(file) == PUBLISHED[name]
    for spelt in (name, name.upper(), name.replace("-", " "), name.replace("-", "_")):
        assert spec_of(replace(file, name=spelt)) is spec
    for change in ({"name": f"{name}-legal"}, {"n_layers": 3}, {"width": 64}):
        assert published_results(replace(file, **change)) == ()
    assert published_results(replace(file, task="rerank" if spec.task == "embed" else "embed")) == ()


def test_the_published_inputs_go_the_way_of_a_users_texts() -> None:
    hello = Published("query", (0.0,) * 5, "", queries=("hello world",))
    with Embedder.load("demo-embedding", options=ONE) as embedder:
        cosines = next(one for one in PUBLISHED["qwen3-embedding-4b"])
        expected = embedder.similarity(
            embedder.encode_query(["What is the capital of China?", "Explain gravity"]),
            embedder.encode_document(list(cosines.documents)),
        )
        assert np.allclose(computed(embedder, cosines), expected.ravel(), atol=1e-6)
        assert np.array_equal(computed(embedder, hello), embedder.encode_query("hello world")[:5])
        bare = replace(hello, kind="document", queries=(), documents=("hello world",))
        assert np.array_equal(computed(embedder, bare), embedder.encode_document("hello world")[:5])
    with Reranker.load("demo-reranker", options=ONE) as reranker:
        (pairs,) = PUBLISHED["qwen3-reranker-8b"]
        expected = reranker.predict(
            [("What is the capital of China?", text) for text in pairs.documents], raw_scores=True
        )
        assert np.array_equal(computed(reranker, pairs), expected) and len(expected) == len(pairs.values)


def stubbed(name: str, engine: StubEngine) -> Embedder | Reranker:
    """Returns a stub under the name and with the size of a released model."""
    spec = SPECS[name]
    file = model_file(spec.task, spec.hidden_size, name=name, n_layers=spec.num_hidden_layers, quant="q8_0")
    return (Embedder if spec.task == "embed" else Reranker)(engine, StubTokenizer(), file)


@pytest.mark.parametrize(("name", "width", "rows"), [("qwen3-embedding-0.6b", 1024, 3), ("qwen3-reranker-0.6b", 2, 2)])
def test_another_model_under_a_released_name_fails(name: str, width: int, rows: int) -> None:
    checks = check_published(stubbed(name, StubEngine(width)))
    assert len(checks) == rows and not any(check.passed for check in checks)


def test_a_row_that_is_not_finite_fails_and_is_counted() -> None:
    letter = ord("y")  # in "importance of trees" and in "gravity", and in no other text that overflows
    embedder = stubbed("qwen3-embedding-8b", StubEngine(4096, poison=letter))
    (cosines,) = check_published(embedder)
    assert not cosines.passed and np.isnan(cosines.off)
    finite = check_finite(embedder)
    assert not finite.passed and finite.found == (len(OVERFLOWING) - 1,)


def test_every_quant_is_judged_more_tightly_than_half_a_lost_end_token() -> None:
    allowed = [tolerance(quant).similarity for quant in SCHEMES]
    assert max(allowed) <= LOST_END / 2 and len(set(allowed)) > 3
    assert tolerance("q8_0") == tolerance("q8_k") != tolerance("q4_k_m") == tolerance("iq2_xxs")


def test_a_row_passes_up_to_its_tolerance_and_not_beyond() -> None:
    def row(found: float) -> Check:
        return _row("", [0.5, 1.0], [0.5, found], 0.25, "")

    assert row(1.25).passed and row(0.75).passed and row(1.25).off == 0.25
    assert not row(1.2501).passed and not row(float("nan")).passed


def test_a_file_of_its_checkpoint_passes_and_one_of_another_does_not(
    checkpoint: Callable[[str], Path], gguf: Callable[..., Path], tmp_path: Path
) -> None:
    code, out, err = verify(gguf("embed"), "--reference", checkpoint("embed"), "--json")
    facts = json.loads(out)
    assert code == 0 and facts["models"][0]["note"] is None and not err
    ids, cosine, change, finite = facts["models"][0]["checks"]
    assert (ids["found"], finite["found"]) == ([0], [3])
    assert 0 < change["off"] < 0.005 and cosine["off"] < 0.0001
    other = write_checkpoint(tmp_path / "other", seed=99)
    code, out, _ = verify(gguf("embed"), "--reference", other)
    assert code == 1 and out.count("FAILED") == 2, out


def test_a_file_with_an_older_tokenizer_than_its_checkpoint_fails(
    checkpoint: Callable[[str], Path], gguf: Callable[..., Path], tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(checkpoint("embed"), newer)
    tokenizer = json.loads((newer / "tokenizer.json").read_text("utf-8"))
    tokenizer["model"]["merges"] = [merge for merge in tokenizer["model"]["merges"] if "".join(merge) != "Ġthe"]
    (newer / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    with Embedder.load(gguf("embed"), options=ONE) as embedder:
        ids, *_ = check_reference(embedder, Reference(newer), SENTENCES[:4])
        assert not ids.passed and ids.found[0] >= 1


def test_a_rerankers_scores_are_held_against_its_checkpoint(
    checkpoint: Callable[[str], Path], gguf: Callable[..., Path]
) -> None:
    with Reranker.load(gguf("rerank"), options=ONE) as reranker:
        ids, change = check_reference(reranker, Reference(checkpoint("rerank")), SENTENCES[:6])
        assert ids.passed and change.passed and change.off > 0
        ids, change = check_reference(reranker, Reference(checkpoint("rerank-untied")), SENTENCES[:6])
        assert ids.passed and not change.passed


@pytest.mark.parametrize("package", ["torch", "tokenizers"])
def test_without_the_extra_there_is_the_line_that_installs_it(package: str, tmp_path: Path) -> None:
    code, out, err = verify("demo-embedding", "--reference", tmp_path, without=package)
    assert (code, out) == (1, "")
    assert (
        err.strip()
        == f"Error: Comparing with a checkpoint needs {package}. Install it with: pip install 'qsift[reference]'."
    )


def test_without_torch_published_values_are_checked_all_the_same() -> None:
    code, out, _ = verify("demo-embedding", without="torch tokenizers safetensors")
    assert code == 0 and "ok" in out


def test_a_reference_that_is_none_is_refused_with_a_sentence(
    checkpoint: Callable[[str], Path], gguf: Callable[..., Path], tmp_path: Path
) -> None:
    code, out, err = verify(gguf("embed"), "--reference", tmp_path)
    assert (code, out) == (1, "") and "is no checkpoint of a Qwen3" in err and "Pass the folder" in err
    code, out, err = verify(gguf("embed"), "--reference", checkpoint("embed-wide"))
    assert code == 1 and "they are not the same model" in err
    assert verify("demo-embedding", "--reference", tmp_path / "gone")[0] == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"hidden_size": 1}', "null"])
def test_a_damaged_checkpoint_is_told(damage: str, checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    for name, kept in (("config.json", "tokenizer.json"), ("tokenizer.json", "config.json")):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(checkpoint("embed") / kept, folder)
        (folder / name).write_text(damage)
        with pytest.raises(ModelFileError, match="is no checkpoint of a Qwen3"):
            Reference(folder)


def test_a_checkpoint_that_is_not_whole_is_told(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    whole, part = checkpoint("embed-prefix-sharded"), tmp_path / "part"
    shutil.copytree(whole, part)
    (part / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"It has no weight layers\.1\.\w+.*Fetch the checkpoint whole"):
        Reference(part).embed([[1, 2]])
    cut = part / "model-00003-of-00003.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match="is no checkpoint of a Qwen3"):
        Reference(part)


def test_pull_offers_it_for_what_values_were_published_about(
    gguf: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [BUNDLED / "demo-embedding.gguf", gguf("embed")]
    _offer_verify(["demo-embedding", "someone/else"], paths, {"quiet": False})
    assert capsys.readouterr().err == "Hold what came against published values: qsift verify demo-embedding\n"
    _offer_verify(["someone/else"], paths[1:], {"quiet": False})
    _offer_verify(["demo-embedding"], paths[:1], {"quiet": True})
    assert capsys.readouterr().err == ""


def test_a_name_is_as_good_as_a_file() -> None:
    assert spec_of(ModelFile.open(BUNDLED / "demo-reranker.gguf")) is SPECS["demo-reranker"]
