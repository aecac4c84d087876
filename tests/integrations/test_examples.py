"""The examples run as they stand, offline, and give the right answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import no_network
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ANSWERS = {
    "how long do I bake bread?": ("bread.md", "Bake it for fifty minutes"),
    "how do I get an old version of a file back?": ("backup.txt", "write its name and the day"),
}
SEARCHES = ("haystack_pipeline", "langchain_rag", "llama_index_rag")


def run(name: str, *arguments: str, offline: bool = True) -> str:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    environment = {**os.environ, **(no_network.environment(sockets_allowed=True) if offline else {})}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SEARCHES, "mteb_local_task", "ray_parquet"}


@pytest.mark.parametrize("name", SEARCHES)
def test_the_passages_that_answer_are_quoted_with_their_files(name: str) -> None:
    told = " ".join(run(name, *ANSWERS).split())
    assert all(file in told and answer in told for file, answer in ANSWERS.values())
    assert told.index("Bake it") < told.index("write its name")


def test_the_local_task_gives_figures_of_both_models() -> None:
    lines = run("mteb_local_task").splitlines()
    assert [line.split(":")[0].split("/")[0] for line in lines] == ["qsift", "qsift"]
    assert all(0.5 < float(line.split("nDCG@10 ")[1].split(",")[0]) <= 1 for line in lines)


def test_a_folder_of_parquet_gets_vectors_and_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        rows = pa.table({"id": [f"{number}-{i}" for i in range(30)], "text": [f"text {i}" for i in range(30)]})
        pq.write_table(rows, tmp_path / "in" / f"{number}.parquet")
    places = str(tmp_path / "in"), str(tmp_path / "out")
    # Ray's own processes talk to each other by sockets.
    assert "60 rows in 2 partitions, 0 partitions" in run("ray_parquet", *places, "--actors", "1", offline=False)
    assert len(set(pq.read_table(places[1])["id"].to_pylist())) == 60
    assert "0 rows in 0 partitions, 2 partitions" in run("ray_parquet", *places)
