"""An index that is kept up to date while files change; and what it remembers of where they are."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from pdf import pdf

from qsift import (
    Document,
    DocumentError,
    Embedder,
    EngineOptions,
    IndexChanges,
    IndexOptions,
    SearchIndex,
    SearchIndexError,
)
from qsift.search import Root, documents_of

Watch = Callable[..., Iterator[IndexChanges]]
NOT_THERE = "It is not there now. What the index has of it stays, until it is removed by this name."


@pytest.fixture(scope="module")
def embedder(gguf: Callable[..., Path]) -> Iterator[Embedder]:
    with Embedder.load(gguf("embed"), options=EngineOptions(threads=1)) as embedder:
        yield embedder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedder: Embedder) -> Iterator[SearchIndex]:
    """An index in the folder notes of the working folder, which holds a.md and sub/b.txt."""
    monkeypatch.chdir(tmp_path)
    Path("notes/sub").mkdir(parents=True)
    Path("notes/a.md").write_text("Knead the dough.")
    Path("notes/sub/b.txt").write_text("Bake it for an hour.")
    with SearchIndex.open("notes/my.index", embedder, options=IndexOptions(wait=-1)) as index:
        yield index


@pytest.fixture
def watch(index: SearchIndex) -> Iterator[Watch]:
    watches = []

    def watch(*paths: str, skipped: dict[str, str] | None = None) -> Iterator[IndexChanges]:
        on_skip = (lambda *_: None) if skipped is None else skipped.__setitem__
        watches.append(index.watch(paths, on_skip=on_skip))
        return watches[-1]

    yield watch
    for opened in watches:
        opened.close()


def update(index: SearchIndex, *paths: Root | str) -> tuple[IndexChanges, dict[str, str]]:
    """Brings the index up to date with paths; returns what it did, and what was skipped and why."""
    skipped: dict[str, str] = {}
    unread: list[str] = []
    roots = [path if isinstance(path, Root) else Root.of(path) for path in paths]
    documents = documents_of(roots, on_skip=skipped.__setitem__, on_unread=unread.append)
    within = [root.source for root in roots]
    return index.update(documents, within=within, unread=unread, on_skip=skipped.__setitem__), skipped


def sources(index: SearchIndex) -> set[str]:
    hits = index.search(np.ones(index.embedder.width), "", mode="vector", candidates=99)
    return {hit.passage.source for hit in hits}


def test_what_changes_is_looked_at_and_nothing_else(index: SearchIndex, watch: Watch) -> None:
    skipped: dict[str, str] = {}
    updates = watch("notes", skipped=skipped)
    assert next(updates) == IndexChanges(added=2, embedded=2)
    Path("notes/a.md").write_text("Knead the rye dough.")
    assert next(updates) == IndexChanges(changed=1, embedded=1), "no other file counts as unchanged: none was looked at"
    Path("notes/new/deep").mkdir(parents=True)
    Path("notes/new/deep/c.txt").write_text("Let it rise.")
    assert next(updates).added == 1
    os.rename("notes/sub", "notes/oven")
    update = next(updates)
    assert (update.added, update.removed) == (1, 1)
    Path("notes/oven/.gitignore").write_text("*\n")
    assert next(updates).removed == 1, "where nothing is left that could be looked at"
    shutil.rmtree("notes/new")
    Path("notes/oven/d.txt").write_text("It is ignored.")
    Path("notes/z.bin").write_bytes(b"\0")
    assert next(updates).removed == 1
    assert sources(index) == {"notes/a.md"} and skipped == {"notes/z.bin": "It is binary: it holds zero bytes."}


@pytest.mark.parametrize(("folder", "path"), [("notes", "."), ("notes/sub", "../"), (".", "./notes")])
def test_a_folder_is_watched_however_its_path_is_spelt(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path / folder)
    with SearchIndex.open(tmp_path / "notes/my.index", index.embedder) as opened:
        updates = opened.watch([path], on_skip=lambda *_: None)
        assert next(updates).added == 2
        (tmp_path / "notes/.ignore").write_text("sub/\n")  # the folder itself has changed
        assert next(updates) == IndexChanges(removed=1, unchanged=1)
        (tmp_path / "notes/a.md").unlink()
        assert next(updates) == IndexChanges(removed=1)
        updates.close()


def test_what_happens_while_the_first_update_runs_is_not_lost(index: SearchIndex, watch: Watch) -> None:
    updates = watch("notes")
    index.embedder.encode_document("warm")
    lock = FileLock("notes/my.index/write.lock")
    with lock:  # another writer, for which the update waits
        first = threading.Thread(target=lambda: next(updates), daemon=True)
        first.start()
        time.sleep(0.5)
        Path("notes/late.md").write_text("Written meanwhile.")
        time.sleep(0.2)
        assert first.is_alive()
    first.join()
    if "notes/late.md" not in sources(index):
        assert next(updates).added == 1
    assert "notes/late.md" in sources(index)


def test_searches_and_other_writers_go_on_beside_a_watch(index: SearchIndex, watch: Watch) -> None:
    updates = watch("notes")
    next(updates)
    with SearchIndex.open("notes/my.index", index.embedder) as other:
        assert len(sources(other)) == 2
        other.remove(["notes/sub"])
        Path("notes/a.md").write_text("Knead it twice.")
        assert next(updates).changed == 1, "what the index itself writes into the folder is no change"
        assert sources(other) == {"notes/a.md"}


def test_a_file_that_an_editor_replaces_is_watched_on(index: SearchIndex, watch: Watch) -> None:
    Path("alone.txt").write_text("first")
    updates = watch("alone.txt", "notes")
    assert next(updates).added == 3
    Path("new.txt").write_text("second")
    os.replace("new.txt", "alone.txt")
    assert next(updates) == IndexChanges(changed=1, embedded=1)


def test_a_folder_that_goes_keeps_what_the_index_has_of_it_and_is_watched_again_when_it_is_back(
    index: SearchIndex, watch: Watch
) -> None:
    Path("more").mkdir()
    Path("more/c.txt").write_text("Cool it.")
    skipped: dict[str, str] = {}
    updates = watch("more", "notes", skipped=skipped)
    next(updates)
    os.rename("more", "away")
    assert next(updates) == IndexChanges(unchanged=2, skipped=1)
    assert skipped == {"more": NOT_THERE} and len(sources(index)) == 3
    Path("away/c.txt").write_text("Cool it down.")
    os.rename("away", "more")
    assert next(updates) == IndexChanges(changed=1, unchanged=2, embedded=1)
    Path("more/d.txt").write_text("Eat it.")
    assert next(updates) == IndexChanges(added=1, embedded=1)


def test_a_kept_file_that_was_deleted_goes_and_a_folder_that_is_not_there_stays(index: SearchIndex) -> None:
    for name in ("alone.txt", "drive/on_it.txt", "papers/c.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(f"About {name}.")
    roots = [Root.of(path) for path in ("alone.txt", "drive/on_it.txt", "papers", "notes")]
    index.keep(roots)
    assert update(index, *index.roots())[0].added == 5
    Path("alone.txt").unlink()
    for folder in ("drive", "papers"):
        shutil.rmtree(folder)
    changes, skipped = update(index, *index.roots())
    assert changes == IndexChanges(removed=1, unchanged=2, skipped=2)
    assert skipped == {
        "alone.txt": "It was deleted, and what the index had of it goes.",
        "drive/on_it.txt": NOT_THERE,
        "papers": NOT_THERE,
    }
    Path("alone.txt").write_text("It is back.")
    assert index.remove(["papers"]) == 1
    assert update(index, *index.roots())[0] == IndexChanges(added=1, unchanged=2, skipped=1, embedded=1)


def test_what_was_never_there_is_refused(index: SearchIndex) -> None:
    with pytest.raises(DocumentError, match="'typo': There is no such file or folder"):
        index.keep(["notes", "typo"])
    with pytest.raises(DocumentError, match="'typo': There is no such file or folder"):
        next(index.watch(["notes", "typo"], on_skip=lambda *_: None))


def test_a_file_in_two_paths_of_different_ways_may_change_between_their_walks(index: SearchIndex) -> None:
    roots = [Root.of("notes"), Root.of("notes/sub", hidden=True)]

    def changing() -> Iterator[Document]:
        for document in documents_of(roots, on_skip=lambda *_: None):
            Path("notes/sub/b.txt").write_text("Bake it for an hour at most.")
            yield document

    assert index.update(changing(), on_skip=lambda *_: None).added == 2


@pytest.mark.posix
def test_what_could_only_not_be_read_stays_and_what_is_gone_goes(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        Path(f"notes/{name}.pdf").write_bytes(pdf("A page."))
    Path("notes/c.txt").write_text("Cool it.")
    Path("notes/linked.txt").symlink_to("../outside.txt")
    Path("outside.txt").write_text("Elsewhere.")
    assert update(index, "notes")[0].added == 6
    shutil.rmtree("notes/sub")
    for name in ("a.md", "c.txt"):
        Path("notes", name).unlink()
    Path("outside.txt").unlink()
    # What not even root may look at: links that lead to themselves.
    for name in ("sub", "c.txt"):
        Path("notes", name).symlink_to(name)
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    changes, skipped = update(index, "notes")
    assert changes == IndexChanges(removed=1, skipped=5)
    assert sources(index) == {f"notes/{name}" for name in ("sub/b.txt", "c.txt", "linked.txt", "one.pdf", "two.pdf")}
    assert skipped.keys() == {f"notes/{name}" for name in ("sub", "c.txt", "linked.txt", "one.pdf")}
    assert "pip install 'qsift[pdf]'" in skipped["notes/one.pdf"]
    for name in ("sub", "c.txt"):
        Path("notes", name).unlink()
    assert update(index, "notes")[0] == IndexChanges(removed=2, skipped=3)


def test_an_index_knows_what_it_was_made_of(
    index: SearchIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TypeError, match="pass a list of paths"):
        index.keep("notes")
    with pytest.raises(SearchIndexError, match="It does not know what it was made of"):
        index.roots()
    odd = os.fsdecode(b"notes/caf\xe9")
    Path("a.txt").touch()
    index.keep([Root.of("notes"), Root(odd, os.path.realpath(odd), hidden=True), Root.of("a.txt")])
    index.keep([Root.of("./notes", ignore=False)])
    assert [(root.path, root.ignore, root.hidden) for root in index.roots()] == [
        ("./notes", False, False),
        (odd, True, True),
        ("a.txt", True, False),
    ]
    index.remove(["notes"])
    assert [root.path for root in index.roots()] == ["a.txt"]
    monkeypatch.chdir(tmp_path / "notes")
    with (
        SearchIndex.open("my.index", None) as opened,
        pytest.raises(SearchIndexError, match=r"made of 'a\.txt', which"),
    ):
        opened.roots()
    Path("my.index/roots.json").write_text('[{"path": 1')
    with SearchIndex.open("my.index", None) as opened, pytest.raises(SearchIndexError, match="Delete it and pass"):
        opened.roots()
