"""`qsift bench` with the bundled pair, and with children that die."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qsift import EngineError
from qsift.bench.rows import Job
from qsift.bench.run import ask
from qsift.hub.opening import BUNDLED

EMBEDDING, RERANKER = (str(BUNDLED / f"demo-{kind}.gguf") for kind in ("embedding", "reranker"))


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qsift", "bench", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_both_tasks_are_measured_and_judged_in_one_call() -> None:
    references = ("--reference", "demo-embedding", "--reference", "demo-reranker")
    result = bench("--repeat", "1", "--threads", "1", "--accel", "off", "--json", *references)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("\n") == 2 and "1/2  demo-embedding" in result.stderr
    facts = json.loads(result.stdout)
    assert [row["task"] for row in facts["rows"]] == ["embed", "rerank"] and facts["cores"] >= 1
    for row in facts["rows"]:
        assert row["threads"] == 1 and row["accel"] == "off" and row["failure"] is None
        assert set(row["ratios"].values()) == {1}
        figures = row["figures"]
        assert 20 < figures["peak_mb"] < 1000 and 0 < figures["p50_ms"] <= figures["p95_ms"]
        assert min(figures["uniform_tokens_per_s"], figures["ragged_tokens_per_s"], figures["load_s"]) > 0
        assert row["quality"]["max_change"] < 1e-6
    assert facts["rows"][0]["quality"]["min_cosine"] == pytest.approx(1, abs=1e-6)


def test_rows_are_compared_in_a_table_and_one_that_cannot_run_says_why() -> None:
    result = bench(EMBEDDING, "--repeat", "1", "--threads", "1,2", "--accel", "off,bf16", "--quiet")
    lines = [line.split("  ") for line in result.stdout.splitlines() if line.startswith("demo-embedding.gguf")]
    assert len(lines) == 4
    for line in lines[:2]:
        assert "(" in line[-1] and "not measured" not in line
    # Without the plug-in, and where the CPU gains nothing from it, there is a reason and no figure.
    if "not measured" in result.stdout:
        assert result.returncode == 1 and result.stdout.count("The accelerator stays off") == 2
    else:
        assert result.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["demo-embedding", "--reference", "demo-reranker"], "--reference is a reranker, and no MODEL is."),
        (["--reference", "demo-reranker", "--reference", RERANKER], "--reference names a reranker twice."),
        (["--threads", "2,0"], "'2,0' is no list of whole numbers from 1"),
        (["--accel", "fast"], "'fast' is no list of modes, which are auto, off, exact, bf16, int8."),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], sentence: str) -> None:
    result = bench(*arguments)
    assert result.returncode == 2 and sentence in result.stderr, result.stderr


@pytest.mark.posix
def test_a_child_that_dies_or_refuses_is_told() -> None:
    job = Job(EMBEDDING, "embed", {})
    with pytest.raises(EngineError, match=r"The process died of SIGKILL\."):
        ask(job, [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(EngineError, match="is a reranker"):
        ask(Job(RERANKER, "embed", {}))


def test_a_damaged_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(Path(EMBEDDING).read_bytes()[:100_000])
    result = bench(str(path))
    assert result.returncode == 1 and result.stderr.startswith("Error: ") and "damaged" in result.stderr
