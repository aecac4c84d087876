"""Tables in files, cut into partitions that are written whole or not at all; no model, no Ray."""

from __future__ import annotations

import json
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qsift.integrations.partitions import Target, partitions_of, read


def table(ids: range) -> pa.Table:
    return pa.table({"id": [str(i) for i in ids], "text": [f"text {i}" for i in ids]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 rows in Parquet of several row groups, 12 in JSON lines below a folder, and what is no table."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    pq.write_table(table(range(30)), tmp_path / "in" / "a.parquet", row_group_size=7)
    lines = [json.dumps(row) + "\n" for row in table(range(30, 42)).to_pylist()]
    (tmp_path / "in" / "sub" / "b.jsonl").write_text("".join(lines))
    (tmp_path / "in" / "empty.jsonl").touch()
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "in" / ".hidden.parquet").write_bytes(b"no")
    return tmp_path / "in"


@given(rows=st.integers(1, 50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_partitions_hold_every_row_once_in_order(folder: Path, rows: int) -> None:
    partitions = partitions_of(str(folder), rows)
    found = [[row for piece in read(partition) for row in piece["id"].to_pylist()] for partition in partitions]
    assert [len(ids) for ids in found] == [partition.rows for partition in partitions]
    assert [int(i) for ids in found for i in ids] == list(range(42))
    assert len({partition.part for partition in partitions}) == len(partitions)


def test_a_single_file_a_uri_and_a_lance_dataset_are_sources_too(folder: Path) -> None:
    lance.write_dataset(table(range(25)), folder / "c.lance")
    for source, count in ((folder / "a.parquet", 30), (folder / "c.lance", 25), (folder.as_uri(), 42)):
        ids = [i for p in partitions_of(str(source), 10) for piece in read(p) for i in piece["id"].to_pylist()]
        assert ids == [str(i) for i in range(count)]


@pytest.mark.parametrize("name", ["out", "out.lance"])
def test_parts_are_seen_when_they_are_whole_and_a_second_writing_counts_once(folder: Path, name: str) -> None:
    target, partitions = Target(str(folder.parent / name)), partitions_of(str(folder), 10)
    assert target.begin({"dim": 3}) == set()
    for partition in [*partitions[1:], partitions[1]]:
        assert target.write(partition, read(partition)) == partition.rows

    def stopped() -> object:
        yield next(iter(read(partitions[0]))).slice(0, 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        target.write(partitions[0], stopped())
    assert target.begin({"dim": 3}) == {partition.part for partition in partitions[1:]}
    with pytest.raises(ValueError, match="has 0 rows from row 0 on, where it had 10"):
        target.write(partitions[0], [table(range(0))])
    target.write(partitions[0], read(partitions[0]))
    target.finish([partition.part for partition in partitions])
    place = folder.parent / name
    result = lance.dataset(place).to_table() if target.is_lance else pq.read_table(place)
    assert sorted(map(int, result["id"].to_pylist())) == list(range(42))
    notes = folder.parent / ("out.lance.job" if target.is_lance else "out")
    assert not [path for path in notes.iterdir() if path.name.startswith(".")]


def test_another_job_and_strange_files_are_left_alone(tmp_path: Path) -> None:
    target = Target(str(tmp_path / "out"))
    target.begin({"dim": 3, "model": "a"})
    with pytest.raises(ValueError, match=r"holds another job: dim was 3 and is 4. Choose another place"):
        target.begin({"dim": 4, "model": "a"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(ValueError, match="holds files and no job of qsift"):
        Target(str(tmp_path / "mine")).begin({})


def test_a_part_has_another_name_when_its_file_is_another(folder: Path) -> None:
    before = partitions_of(str(folder / "a.parquet"), 10)
    pq.write_table(table(range(29)), folder / "a.parquet", row_group_size=7)
    assert not {p.part for p in before} & {p.part for p in partitions_of(str(folder / "a.parquet"), 10)}


def test_what_cannot_be_read_gets_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no '.*nowhere'"):
        partitions_of(str(tmp_path / "nowhere"), 10)
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match=r"holds no table. Files that can be read end with \.parquet, \.jsonl"):
        partitions_of(str(tmp_path / "bare"), 10)
    (folder / "broken.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ValueError, match=r"broken\.parquet' cannot be read"):
        partitions_of(str(folder), 10)
    with pytest.raises(ValueError, match="partition_rows is 0"):
        partitions_of(str(folder), 0)
