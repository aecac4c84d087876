"""Ray on this machine: two actors of one thread, one of them killed half way, every key once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data

from qsift import Embedder, Reranker
from qsift.integrations.ray import Pool, embed, embed_files, rerank, rerank_files

ROWS = 480
TWO = Pool(actors=2, threads=1)
TEXTS = [f"Note {i}: what number {i} of the {i % 7} days brings." for i in range(ROWS)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster of this machine, as large as two CPUs whatever it has."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=150_000_000)
    yield
    ray.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four Parquet files of texts with keys."""
    (tmp_path / "in").mkdir()
    for number in range(4):
        ids = range(number * ROWS // 4, (number + 1) * ROWS // 4)
        rows = pa.table({"id": list(ids), "text": [TEXTS[i] for i in ids]})
        pq.write_table(rows, tmp_path / "in" / f"{number}.parquet")
    return tmp_path


def kill_an_actor() -> None:
    """Kills one of Ray's workers that are descendants of this process and compute batches."""
    workers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and is_own_worker(path)]
    os.kill(workers[0], signal.SIGKILL)


def is_own_worker(process: Path) -> bool:
    try:
        if not (process / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
            return False
        while process.name not in ("0", "1"):
            process = process.parent / (process / "stat").read_text().rpartition(")")[2].split()[1]
            if process.name == str(os.getpid()):
                return True
    except OSError:
        pass
    return False


def library(texts: list[str], **settings: Any) -> np.ndarray:
    with Embedder.load("demo-embedding") as embedder:
        return embedder.encode(texts, **settings)


def assert_every_key_once(ids: list[int], vectors: Any, **settings: Any) -> None:
    assert sorted(ids) == list(range(ROWS))
    found = np.float32(vectors)[np.argsort(ids)]
    # Other texts in a batch change a vector in its last digits.
    assert (found * library(TEXTS, **settings)).sum(axis=1).min() > 0.9999


@pytest.mark.posix
def test_a_dataset_gets_every_vector_once_although_an_actor_is_killed_half_way(folder: Path) -> None:
    dataset = ray.data.read_parquet(str(folder / "in")).repartition(24)
    rows, killed = [], False
    for row in embed(dataset, model="demo-embedding", pool=TWO, truncate_dim=64).iter_rows():
        rows.append(row)
        if len(rows) >= ROWS // 2 and not killed:
            kill_an_actor()
            killed = True
    assert killed
    assert_every_key_once([row["id"] for row in rows], [row["vector"] for row in rows], truncate_dim=64)


@pytest.mark.posix
def test_files_get_every_vector_once_although_an_actor_is_killed_and_the_job_is_stopped(folder: Path) -> None:
    told, source, target = [], str(folder / "in"), str(folder / "out")
    settings = {"model": "demo-embedding", "pool": TWO, "partition_rows": 20, "instruction": "Find notes"}

    def killing(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 6:
            kill_an_actor()
        if done > total * 2 // 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_files(source, target, on_progress=killing, **settings)
    assert told[-1][1] == ROWS and all(a < b for (a, _), (b, _) in pairwise(told))
    done = embed_files(source, target, **settings)
    assert done.kept >= 16 and done.kept + done.partitions == 24 and done.rows == 20 * done.partitions
    result = pq.read_table(target)
    assert_every_key_once(result["id"].to_pylist(), result["vector"].to_pylist(), instruction="Find notes")
    assert result["text"].to_pylist() == [TEXTS[i] for i in result["id"].to_pylist()]
    again = embed_files(source, target, **settings)
    assert (again.rows, again.partitions, again.kept) == (0, 0, 24)
    with pytest.raises(ValueError, match="holds another job: truncate_dim was None and is 64"):
        embed_files(source, target, truncate_dim=64, **settings)
    (folder / "in" / "3.parquet").unlink()
    with pytest.raises(ValueError, match=r"holds 6 parts of rows that .* has no more"):
        embed_files(source, target, **settings)


def test_scores_of_datasets_and_files_are_the_librarys(folder: Path) -> None:
    lines = [{"id": i, "text": TEXTS[i], "asked": "days" if i % 2 else "numbers"} for i in range(60)]
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = rerank_files(
        str(folder / "in.jsonl"), str(folder / "out.lance"), model="demo-reranker", query_column="asked", pool=TWO,
        partition_rows=20,
    )  # fmt: skip
    assert (done.rows, done.partitions) == (60, 3)
    result = lance.dataset(folder / "out.lance").to_table().sort_by("id")
    scored = rerank(
        ray.data.read_json(str(folder / "in.jsonl")), model="demo-reranker", query="days", pool=TWO, output="p"
    )
    by_id = {row["id"]: row["p"] for row in scored.take_all()}
    with Reranker.load("demo-reranker") as reranker:
        own = reranker.predict([(line["asked"], line["text"]) for line in lines])
        one = reranker.predict([("days", line["text"]) for line in lines])
    # The actors' batches are other ones, and Q8_0 rounds their sums to other values: with AVX2 by more than 1e-3.
    assert np.allclose(result["score"].to_numpy(), own, atol=3e-3)
    assert np.allclose([by_id[i] for i in range(60)], one, atol=3e-3)


def test_a_row_without_a_text_is_named(folder: Path) -> None:
    rows = pa.table({"id": [1, 2, 3], "text": ["a", None, "c"]})
    pq.write_table(rows, folder / "in" / "0.parquet")
    with pytest.raises(ValueError, match=r"'0\.parquet', in the rows from 0 on: Row 1 has no text in column 'text'"):
        embed_files(str(folder / "in" / "0.parquet"), str(folder / "out"), model="demo-embedding", pool=TWO)
    with pytest.raises(ValueError, match=r"There is no column 'body'\. The columns are 'id', 'text'"):
        embed_files(
            str(folder / "in" / "1.parquet"), str(folder / "other"), model="demo-embedding", column="body", pool=TWO
        )


def test_a_pool_is_checked_and_a_row_is_judged_by_one_query(folder: Path) -> None:
    with pytest.raises(ValueError, match="actors is 0; the smallest allowed is 1"):
        Pool(actors=0)
    with pytest.raises(TypeError, match="give query or query_column"):
        rerank_files(str(folder / "in"), str(folder / "out"), model="demo-reranker")
    with pytest.raises(TypeError, match="unexpected keyword argument 'dim'"):
        embed_files(str(folder / "in"), str(folder / "out"), model="demo-embedding", dim=64)


def qsift(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qsift", "embed", "demo-embedding", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_line_divides_the_work_too(folder: Path) -> None:
    source, target = str(folder / "in" / "0.parquet"), str(folder / "out")
    result = qsift("--ray", source, target, "--query", "--dim", "64", "--actors", "2", "--threads", "1")
    assert result.returncode == 0, result.stderr
    assert f"120 rows embedded in 1 partitions. The result lies in {target}." in result.stderr and not result.stdout
    rows = pq.read_table(target)
    with Embedder.load("demo-embedding") as embedder:
        expected = embedder.encode_query(TEXTS[:120], truncate_dim=64)
    assert rows["id"].to_pylist() == list(range(120))
    assert (np.float32(rows["vector"].to_pylist()) * expected).sum(axis=1).min() > 0.9999
    assert qsift("--ray", source, target, "--query", "--dim", "64").stderr.startswith("0 rows embedded in 0 partitions")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--ray", "IN"], 2, "With --ray the arguments are MODEL IN OUT"),
        (["--ray", "IN", "OUT", "--format", "npy"], 2, "--format cannot be used with --ray"),
        (["--actors", "2", "a text"], 2, "--actors is for --ray"),
        (["--ray", "nowhere/at/all", "OUT"], 2, "There is no 'nowhere/at/all'"),
    ],
)
def test_wrong_usage_of_the_command_line_gets_a_sentence(arguments: list[str], code: int, sentence: str) -> None:
    result = qsift(*arguments)
    assert result.returncode == code and sentence in result.stderr and "Traceback" not in result.stderr
