"""`qsift search` and `qsift index` on real files, with the bundled pair."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from file_formats import write_each

NOTES = {
    "bread.md": "# Bread\n\nKnead the dough for ten minutes.\n\n# Oven\n\nBake it for an hour at 220 degrees.\n",
    "viewer.txt": "A program that shows pictures in a window and lets you zoom.\n",
    "sub/backup.py": 'def save(folder):\n    """Copies the files of a folder to another disk."""\n',
    "量子.md": "量子计算的基本原理\n",
    "photo.bin": "\0\1\2",
}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    for name, text in NOTES.items():
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path


def qsift(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qsift", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def found(folder: Path, *arguments: str) -> list[dict]:
    result = qsift(folder, "search", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["hits"]


def test_files_are_searched_without_an_index(notes: Path) -> None:
    hits = found(notes, "image viewer", "notes", "--top-k", "2")
    assert len(hits) == 2 and hits[0]["source"] == "notes/viewer.txt" and hits[0]["score"] > 2 * hits[1]["score"]
    assert hits[0]["text"] == NOTES["viewer.txt"].strip() and (hits[0]["line"], hits[0]["end_line"]) == (1, 1)
    assert found(notes, "什么是量子计算?", "notes")[0]["source"] == "notes/量子.md"


def test_people_get_place_scores_and_passage_and_hear_of_what_was_skipped(notes: Path) -> None:
    result = qsift(notes, "search", "image viewer", "notes", "--top-k", "1")
    head, passage = result.stdout.splitlines()
    assert head.split()[0] == "1" and "notes/viewer.txt:1" in head and "cosine" in head
    assert passage.strip() == NOTES["viewer.txt"].strip()
    assert "Skipped 'notes/photo.bin': It is binary" in result.stderr
    assert "\x1b" not in result.stdout
    quiet = qsift(notes, "search", "image viewer", "notes", "--top-k", "1", "--quiet")
    assert (quiet.stdout, quiet.stderr) == (result.stdout, "")


def test_a_hit_names_the_part_of_its_file(notes: Path) -> None:
    write_each(notes)
    result = qsift(notes, "search", "spell checker for Welsh", "talk.pptx", "manual.pdf", "--top-k", "1")
    assert " talk.pptx slide 2:1-4 " in result.stdout.splitlines()[0]
    (hit,) = found(notes, "emulator of old game consoles", "talk.pptx", "manual.pdf", "--top-k", "1")
    assert (hit["source"], hit["place"], hit["line"], hit["end_line"]) == ("manual.pdf", "page 2", 1, 1)


def test_without_a_reranker_the_first_stage_is_printed(notes: Path) -> None:
    hits = found(notes, "image viewer", "notes", "--no-reranker")
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    assert all(hit["score"] is None for hit in hits)
    cosines = [hit["similarity"] for hit in hits]
    assert cosines == sorted(cosines, reverse=True)


def test_an_index_is_made_searched_brought_up_to_date_and_emptied(notes: Path) -> None:
    assert "4 added" in qsift(notes, "index", "add", "my.index", "notes").stderr
    assert found(notes, "image viewer", "--index", "my.index")[0]["source"] == "notes/viewer.txt"
    markdown = found(notes, "image viewer", "--index", "my.index", "--kind", "markdown", "--glob", "notes/b*")
    assert {hit["source"] for hit in markdown} == {"notes/bread.md"}
    (notes / "notes/viewer.txt").unlink()
    (notes / "notes/bread.md").write_text("Rye bread keeps for a week.\n")
    assert "1 changed, 1 removed, 2 unchanged" in qsift(notes, "index", "update", "my.index", "notes").stderr
    sources = {hit["source"] for hit in found(notes, "rye bread", "--index", "my.index", "--mode", "text")}
    assert sources == {"notes/bread.md"}
    assert "2 documents removed" in qsift(notes, "index", "remove", "my.index", "notes/sub", "notes/bread.md").stderr
    facts = json.loads(qsift(notes, "index", "info", "my.index", "--json").stdout)
    assert (facts["documents"], facts["model"], facts["incomplete"]) == (1, "demo-embedding", 0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "a"], 2, "Pass either paths to search or --index INDEX"),
        (["search", "a", "notes", "--index", "x"], 2, "Pass either paths to search or --index INDEX"),
        (["search", "a", "notes", "--mode", "text"], 2, "--mode: for --index only"),
        (["search", "a", "--index", "x", "--hidden"], 2, "--hidden: for paths only"),
        (["search", "a", "--index", "x"], 1, "'x': There is no index. Make one with: qsift index add"),
        (["search", "a", "notes", "--json", "--format", "grep"], 2, "--json and --format grep ask for two forms"),
        (["search", "a", "gone"], 1, "'gone': There is no such file or folder"),
        (["search", "a", "notes", "--no-reranker", "--min-score", "0.5"], 2, "--min-score is a score of the reranker"),
        (["index", "watch", "x"], 1, "'x': There is no index"),
        (["index", "update", "x", "notes"], 1, "'x': There is no index"),
    ],
)
def test_mistakes_get_a_sentence(notes: Path, arguments: list[str], code: int, message: str) -> None:
    result = qsift(notes, *arguments)
    assert result.returncode == code and message in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_place_has_one_name_however_it_is_spelt_and_an_index_holds_no_index(notes: Path) -> None:
    odd = os.fsencode(notes) + b"/notes/b\xe4r.txt"
    with open(odd, "w") as file:
        file.write("A bear.\n")
    assert "5 added" in qsift(notes, "index", "add", "my.index", "notes").stderr
    assert "0 added, 0 changed, 0 removed, 5 unchanged" in qsift(notes, "index", "add", "my.index", "./notes/").stderr
    assert "0 documents removed" in qsift(notes, "index", "remove", "my.index", "", "note").stderr
    removed = qsift(notes, "index", "remove", "my.index", "./notes/viewer.txt", os.fsdecode(b"notes/b\xe4r.txt"))
    assert "2 documents removed" in removed.stderr
    assert "2 added" in qsift(notes, "index", "update", "my.index", "notes//").stderr
    around = qsift(notes, "index", "add", "my.index", ".").stderr
    assert "0 added, 0 changed, 0 removed, 5 unchanged" in around and "my.index" not in around
    os.unlink(odd)
    assert "1 removed, 4 unchanged" in qsift(notes, "index", "update", "my.index", "./notes").stderr


def test_what_ignore_files_name_is_not_found_and_leaves_an_index_when_it_is_updated(notes: Path) -> None:
    (notes / "notes/uv.lock").write_text("a lock file\n")
    for number in range(12):
        (notes / f"notes/{number}.bin").write_bytes(b"\0")
    added = qsift(notes, "index", "add", "my.index", "notes", "--no-ignore").stderr
    assert "5 added" in added
    (notes / "notes/.gitignore").write_text("sub/\nviewer.txt\n")
    assert added.count("Skipped 'notes/") == 10 and added.endswith("Skipped 3 more: It is binary.\n")
    updated = qsift(notes, "index", "update", "my.index", "notes").stderr
    assert "3 removed, 2 unchanged" in updated and "Skipped 'notes/uv.lock': It is a lock file" in updated
    assert {hit["source"] for hit in found(notes, "pictures", "notes", "--no-reranker")} == {
        "notes/bread.md",
        "notes/量子.md",
    }


@pytest.mark.posix
def test_an_index_is_kept_up_to_date_until_ctrl_c(notes: Path) -> None:
    (notes / "alone.txt").write_text("It will be deleted.\n")
    qsift(notes, "index", "add", "my.index", "notes", "alone.txt")
    (notes / "notes/bread.md").write_text("Rye bread keeps for a week.\n")
    (notes / "alone.txt").unlink()
    updated = qsift(notes, "index", "update", "my.index").stderr
    assert "1 changed, 1 removed, 3 unchanged" in updated and "Skipped 'alone.txt': It was deleted" in updated
    qsift(notes, "index", "remove", "my.index", "alone.txt")
    command = [sys.executable, "-m", "qsift", "index", "watch", "my.index"]
    with subprocess.Popen(command, cwd=notes, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        lines = iter(process.stderr.readline, "")
        assert "Watching notes. Ctrl-C ends it." in next(line for line in lines if "Watching" in line)
        (notes / "notes/viewer.txt").write_text("A program that plays music.\n")
        assert re.fullmatch(r"\d\d:\d\d:\d\d  1 changed, 1 embedded \(passages\)\.\n", next(lines))
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), "".join(lines).strip()) == (130, "")


def test_an_empty_folder_gives_nothing_and_says_so(notes: Path) -> None:
    (notes / "empty").mkdir()
    result = qsift(notes, "search", "a", "empty")
    assert (result.returncode, result.stdout) == (1, "") and "There is no text in these paths" in result.stderr


def test_editors_and_pipes_get_a_passage_a_line_with_its_place_and_an_exit_code_as_of_grep(notes: Path) -> None:
    (notes / "notes/escape.txt").write_text("A window viewer\x1b[2J\r\n\tof pictures.\n", "utf-8")
    result = qsift(notes, "search", "image viewer", "notes", "--format", "grep", "--min-score", "0.1")
    lines = result.stdout.split("\n")
    assert lines.pop() == "" and result.returncode == 0
    assert f"notes/viewer.txt:1:{NOTES['viewer.txt'].strip()}" in lines
    assert "notes/escape.txt:1:A window viewer [2J of pictures." in lines
    hits = found(notes, "image viewer", "notes", "--min-score", "0.1")
    assert [line.split(":")[:2] for line in lines] == [[hit["source"], str(hit["line"])] for hit in hits]
    nothing = qsift(notes, "search", "image viewer", "notes", "--min-score", "0.999", "--json")
    assert (nothing.returncode, json.loads(nothing.stdout)["hits"]) == (1, [])
