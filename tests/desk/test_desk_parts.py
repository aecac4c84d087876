"""The desk's parts without a browser: sentences, what opens files, shelves, and a job beside a search."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsift import DocumentError, Embedder, SearchIndex, SearchIndexError
from qsift.desk import Desk, Opener, Shelf
from qsift.desk.job import Job
from qsift.desk.known_scores import KnownScores
from qsift.desk.sentences import sentences, utf16_length
from qsift.documents import KINDS, find_documents

SENTENCES = {
    "The tea is hot. It steeps for 2.5 minutes! Really?": ["The tea is hot.", "It steeps for 2.5 minutes!", "Really?"],
    "茶是热的。泡两分钟！真的吗？": ["茶是热的。", "泡两分钟！", "真的吗？"],
    "# Tea\n\nGreen tea steeps for\ntwo minutes.\n\nThe pot is blue.": [
        "# Tea\n\nGreen tea steeps for\ntwo minutes.",
        "The pot is blue.",
    ],
    "- the first item is short\n- the second one is longer": [
        "- the first item is short",
        "- the second one is longer",
    ],
    "Only one sentence is here": [],
    "": [],
}


@pytest.mark.parametrize("text", SENTENCES)
def test_a_passage_falls_into_sentences(text: str) -> None:
    assert [text[start:end] for start, end in sentences(text, "text")] == SENTENCES[text]


def test_code_falls_into_lines() -> None:
    lines = "alpha = function()\n\n    beta = another.one()\n}\ngamma = 1"
    assert [lines[start:end] for start, end in sentences(lines, "code")] == [
        "alpha = function()",
        "beta = another.one()",
        "}\ngamma = 1",
    ]


@given(st.text("ab .!?。\n\t-1)é😀", max_size=2000), st.sampled_from(KINDS))
def test_sentences_stand_in_order_and_hold_all_letters(text: str, kind: str) -> None:
    spans = sentences(text, kind)  # type: ignore[arg-type]
    assert len(spans) <= 48
    kept = "".join(text[start:end] for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert not spans or "".join(kept.split()) == "".join(text.split())


def test_a_place_is_counted_as_javascript_counts() -> None:
    assert utf16_length("a😀é") == len("a😀é".encode("utf-16-le")) // 2 == 4


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that come first; each writes its arguments into a file of its name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("xdg-open", "edit"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"{folder}/{name}.txt"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.mark.posix
@pytest.mark.skipif(sys.platform == "darwin", reason="there is no xdg-open")
def test_a_file_is_opened_by_the_systems_program_or_the_editor(programs: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a name; touch harm $(id) {line}.md"
    odd.write_text("x")
    Opener().open(str(odd), "markdown", 3)
    assert (programs / "xdg-open.txt").read_text() == f"{odd}\n"
    Opener("edit --goto {path}:{line}").open(str(odd), "markdown", 3)
    assert (programs / "edit.txt").read_text() == f"--goto\n{odd}:3\n"
    Opener("edit --goto {path}:{line}").open(str(odd), "pdf", 3)
    assert (programs / "xdg-open.txt").read_text() == f"{odd}\n", "an editor shows no PDF"


@pytest.mark.posix
def test_what_cannot_be_opened_is_said(programs: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.desktop"
    file.write_text("[Desktop Entry]")
    (programs / "fails").write_text("#!/bin/sh\nexit 3\n")
    (programs / "fails").chmod(0o755)
    for editor, said in (("fails {path}", "ended with 3"), ("no-such-program {path}", "cannot be run")):
        with pytest.raises(DocumentError, match=said):
            Opener(editor).open(str(file), "text", 1)
    if sys.platform != "darwin":
        with pytest.raises(DocumentError, match="might run it"):
            Opener().open(str(file), "text", 1)
    with pytest.raises(DocumentError, match="not there any more"):
        Opener().open(str(tmp_path / "gone.txt"), "text", 1)
    with pytest.raises(ValueError, match="without a place for the file"):
        Opener("code")
    with pytest.raises(ValueError, match="No closing quotation"):
        Opener("code '{path}")


def test_a_folder_has_one_index_whatever_it_is_called(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "my notes"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shelves = [Shelf.open(str(path), embedder) for path in (folder, "../my notes/", ".")]
    assert len({shelf.index.path for shelf in shelves}) == 1
    assert [shelf.name for shelf in shelves] == ["my notes"] * 3 and [root.path for root in shelves[0].roots] == [
        str(folder)
    ]
    assert SearchIndex.is_there(shelves[0].index.path)
    with pytest.raises(DocumentError, match="no such file or folder"):
        Shelf.open(str(tmp_path / "nothing"), embedder)


def test_an_index_knows_its_folders_at_the_next_start_and_from_where_it_was_made_alone(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("notes", "papers"):
        (tmp_path / name).mkdir()
    with SearchIndex.open("my.index", embedder) as made:
        made.keep(["notes", "papers"])
    assert [root.path for root in Shelf.open("my.index", embedder).roots] == ["notes", "papers"]
    monkeypatch.chdir(tmp_path / "notes")
    assert Shelf.open("../my.index", embedder).roots == []


@pytest.fixture
def shelf(tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An index of two folders, made in the working folder, beside which is another with files of the same names."""
    for name in ("notes/tea.txt", "papers/bees.txt", "elsewhere/notes/tea.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"About {name}.", "utf-8")
    monkeypatch.chdir(tmp_path)
    with SearchIndex.open("my.index", embedder) as made:
        made.keep(["notes", "papers"])
        made.update(find_documents(["notes", "papers"], on_skip=pytest.fail), within=None)
    return Shelf.open("my.index", embedder)


class _Alone:
    """A lane without a server: whoever computes is alone."""

    def __init__(self, embedder: Embedder) -> None:
        self.in_turns = lambda _on_rows: embedder


def updated(shelf: Shelf, embedder: Embedder) -> Job:
    job = Job(shelf, _Alone(embedder))  # type: ignore[arg-type]
    job.start()
    job.join()
    return job


def test_names_that_lead_elsewhere_are_neither_updated_nor_opened(
    shelf: Shelf, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("elsewhere")
    there = Shelf.open("../my.index", embedder)
    job = updated(there, embedder)
    assert job.state == "failed" and "leads elsewhere" in (job.error or ""), job.error
    assert set(there.contents().documents) == {"notes/tea.txt", "papers/bees.txt"}
    with pytest.raises(SearchIndexError, match="leads elsewhere"):
        Desk([there], Opener("false {path}")).open(0, "notes/tea.txt", 1)


def test_what_was_made_of_a_path_that_is_gone_stays_and_the_rest_is_updated(shelf: Shelf, embedder: Embedder) -> None:
    shutil.rmtree("papers")
    Path("notes/new.txt").write_text("About new ones.", "utf-8")
    job = updated(shelf, embedder)
    ((source, reason),) = job.skipped
    assert job.state == "done" and source == "papers" and reason.startswith("It is not there now. What the index has")
    assert set(shelf.contents().documents) == {"notes/tea.txt", "notes/new.txt", "papers/bees.txt"}


def test_a_broken_index_leaves_the_others_on_the_desk(shelf: Shelf, embedder: Embedder) -> None:
    other = Shelf.open("notes", embedder)
    shutil.rmtree("my.index")
    broken, whole = Desk([shelf, other]).facts()
    assert broken["error"] and not broken["documents"] and whole["error"] is None


def test_scores_that_are_pushed_out_meanwhile_are_still_known() -> None:
    scores = KnownScores()

    async def compute(texts: list[str]) -> list[float]:
        scores._scores.clear()  # as another request does that fills the memory
        return [0.5] * len(texts)

    async def asked() -> list[float]:
        await scores.of("q", ["a"], compute)
        return (await scores.of("q", ["a", "b"], compute)).tolist()

    assert asyncio.run(asked()) == [0.5, 0.5]


def test_an_index_of_another_model_is_refused(index: Path, gguf, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with Embedder.load(gguf("embed")) as other, pytest.raises(SearchIndexError, match="was made with the model"):
        Shelf.open(str(index), other)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing"], 1, "'{here}/nothing': There is no such file or folder."),
        (["--editor", "code"], 2, "Write it as: code {path}"),
        (["--embedding", "demo-reranker"], 1, "This is a reranker."),
    ],
)
def test_a_desk_that_cannot_open_says_why(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    command = [sys.executable, "-m", "qsift", "desk", "--no-open", *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == code and said.replace("{here}", str(tmp_path)) in result.stderr, result.stderr
