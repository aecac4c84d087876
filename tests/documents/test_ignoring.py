"""What ignore files leave out, held against git itself, and what is left out though nobody says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsift import find_documents
from qsift.documents.gitignore import parse, verdict

GIT = shutil.which("git")
WITHOUT_USER = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "XDG_CONFIG_HOME": os.devnull,
}
Write = Callable[..., None]

NAMES = st.text(st.sampled_from("ab1-"), min_size=1, max_size=2)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
# Pieces rather than characters, so that patterns match something now and then.
PIECES = re.findall(
    r"\S+",
    r"""a b ab 1 * ** ? / / **/ /** [ab] [!a] [^b] [a-b] [b-a] []a] [a-] [--1] [[:digit:]] [[:lower:]-1] [[:odd:]]
    \a \* \/ [a\-1] [a/]b ] [ ! - \ #""",
)
LINES = st.tuples(st.sampled_from(("", "", "", "!")), st.lists(st.sampled_from(PIECES), min_size=1, max_size=5)).map(
    lambda parts: parts[0] + "".join(parts[1])
)
PATTERNS = st.lists(LINES, min_size=1, max_size=4).map("\n".join)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes files below an empty working folder: those of the keywords with their text, the others with some."""
    monkeypatch.chdir(tmp_path)

    def write(*names: str, **texts: str) -> None:
        for name, text in {**dict.fromkeys(names, "text"), **texts}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def found(*paths: str, **options: bool) -> list[str]:
    return [document.source for document in find_documents(paths, on_skip=lambda *_: None, **options)]


def skipped(*paths: str) -> dict[str, str]:
    reasons: dict[str, str] = {}
    list(find_documents(paths, on_skip=reasons.__setitem__))
    return reasons


def git(folder: str | os.PathLike[str], *arguments: str) -> str:
    command = ["git", "-C", os.fspath(folder), *arguments]
    return subprocess.run(command, env=WITHOUT_USER, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(GIT is None, reason="git is not installed")
@settings(deadline=None, max_examples=80)
@given(
    files=st.sets(PATHS, min_size=1, max_size=12),
    rules=st.dictionaries(st.one_of(st.just(""), PATHS), PATTERNS, min_size=1, max_size=3),
    exclude=PATTERNS | st.just(""),
)
def test_a_repository_is_walked_as_git_lists_it(files: set[str], rules: dict[str, str], exclude: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # What `git init` makes, without its 20 ms.
        for name in ("refs", "objects", "info"):
            os.makedirs(f"{folder}/.git/{name}")
        Path(folder, ".git/HEAD").write_text("ref: refs/heads/main\n")
        Path(folder, ".git/info/exclude").write_text(exclude + "\n")
        whole = sorted(name for name in files if not any(other.startswith(name + "/") for other in files))
        for name in whole:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text")
        for place, patterns in rules.items():
            if os.path.isdir(f"{folder}/{place}"):
                Path(folder, place, ".gitignore").write_text(patterns)
        listed = git(folder, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
        names = (name.removeprefix(f"{folder}/") for name in found(folder))
        # A "!" line takes in the .gitignore itself.
        assert sorted(name for name in names if not name.endswith(".gitignore")) == sorted(
            name for name in listed if name and not name.endswith(".gitignore")
        )


def test_a_line_is_read_to_the_letter() -> None:
    def ignores(line: str, path: str) -> bool | None:
        return verdict(parse(line), path, is_folder=False)

    assert ignores("a  ", "a") and ignores("a\\ ", "a ") and ignores("a\\\\ ", "a\\") and ignores("a\t", "a\t")
    assert ignores("a\r\nb\r\n", "a") and ignores("\\#a", "#a") and ignores("\\!a", "!a") and ignores("a\nb\n!a", "b")
    assert ignores("a\n!a", "a") is False and ignores("# a", "# a") is None and ignores("", "a") is None
    assert ignores("-**/a", "-a") and ignores("a**/b", "a/c/b") and ignores("a/b**", "a/bc/d")
    assert not ignores("?**/b", "abb") and not ignores("a**", "b/a/b")
    assert ignores("量?.md", "量子.md") and ignores("*.md", "line\nend.md")
    for nothing in ("/", "!", "//", "[a", "a\\", "[[:odd:]]", "[z-a]"):
        assert ignores(nothing, "a") is None


@pytest.mark.parametrize("line", ["*a" * 40 + "*b", "**/a/" * 40 + "b", "a**" * 40, "[" * 5000, "\\" * 5001])
def test_no_line_takes_longer_than_its_length_allows(line: str) -> None:
    started = time.process_time()
    for path in ("a" * 250, "a/" * 1000 + "a"):
        assert not verdict(parse(line), path, is_folder=False) or line == "a**" * 40
    assert time.process_time() - started < 2  # pathspec's took minutes, where two stars were tried against each other


def test_the_stronger_file_decides_and_the_nearer_one_of_its_kind(write: Write) -> None:
    write("d/a.txt", "d/b.txt", "d/c.txt", "d/e/a.txt", "d/e/b.txt")
    write(**{"d/.gitignore": "*.txt", "d/.ignore": "!a.txt", "d/.qsiftignore": "!b.txt"})
    assert found("d") == ["d/a.txt", "d/b.txt", "d/e/a.txt", "d/e/b.txt"]
    write(**{"d/e/.ignore": "a.txt", "d/e/.gitignore": "!c.txt"})
    assert found("d") == ["d/a.txt", "d/b.txt", "d/e/b.txt"]
    assert found("d/e") == ["d/e/b.txt"], "the files of the folders above count, whichever folder is searched"
    assert found("d/e/a.txt") == ["d/e/a.txt"], "what is given is taken"
    assert found("d", ignore=False) == ["d/a.txt", "d/b.txt", "d/c.txt", "d/e/a.txt", "d/e/b.txt"]


def test_a_gitignore_reaches_as_far_as_its_repository(write: Write) -> None:
    write("a.log", "repo/b.log", "repo/sub/c.log", "repo/module/d.log", "repo/b.tmp", "repo/module/d.tmp")
    write(**{".gitignore": "*.log", "repo/.gitignore": "*.tmp", "repo/.git/HEAD": "", "repo/module/.git": "gitdir: x"})
    assert found(".") == ["repo/b.log", "repo/module/d.log", "repo/module/d.tmp", "repo/sub/c.log"]
    assert found("repo/sub") == ["repo/sub/c.log"]
    write(**{".ignore": "*.log"})
    assert found(".") == ["repo/module/d.tmp"], "a .ignore does not ask for repositories"


def test_outside_of_repositories_a_gitignore_counts_from_the_searched_folder_on(write: Write) -> None:
    write("d/a.log", "d/e/b.log", **{"d/.gitignore": "*.log"})
    assert found("d") == []
    assert found("d/e") == ["d/e/b.log"]


@pytest.mark.skipif(GIT is None, reason="git is not installed")
def test_the_exclude_file_of_a_worktree_is_that_of_its_repository(write: Write) -> None:
    write("repo/a.txt")
    git(".", "init", "-q", "repo")
    git("repo", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "first")
    git("repo", "worktree", "add", "-q", "../tree")
    write("tree/a.txt", "tree/b.txt", **{"repo/.git/info/exclude": "b.txt"})
    assert found("tree") == ["tree/a.txt"]


def test_hidden_files_are_taken_where_they_are_asked_for(write: Write) -> None:
    write("d/.a.txt", "d/.b/c.txt", "d/.git/config", "d/e/.f.txt", "d/g.txt")
    assert found("d") == ["d/g.txt"]
    assert found("d", hidden=True) == ["d/.a.txt", "d/.b/c.txt", "d/e/.f.txt", "d/g.txt"]
    assert "d/.git/config" in found("d", hidden=True, ignore=False)
    write(**{"d/.gitignore": "*\n!*/\n!.a.txt\n!.f.txt"})
    assert found("d") == ["d/.a.txt", "d/e/.f.txt"], "as ripgrep does it; but git's own folder stays out"


def test_generated_files_are_left_out_and_said_unless_they_are_asked_for(write: Write) -> None:
    names = ("Cargo.lock", "a.min.js", "app.js.map", "b.py", "b_pb2.py", "go.sum", "package-lock.json", "world.map")
    write(*(f"d/{name}" for name in names))
    assert found("d") == ["d/b.py", "d/world.map"]
    reasons = skipped("d")
    assert len(reasons) == 6 and reasons["d/app.js.map"].startswith("It is a source map. To have it, name it in a ")
    assert found("d", ignore=False) == [f"d/{name}" for name in names] and found("d/go.sum") == ["d/go.sum"]
    write(**{"d/.gitignore": "!go.sum"})
    assert found("d") == ["d/b.py", "d/world.map"], "git speaks of what it keeps, not of what is worth reading"
    write(**{"d/.qsiftignore": "!go.sum\nb.py"})
    assert found("d") == ["d/go.sum", "d/world.map"]


def test_folders_that_programs_fill_can_be_asked_for(write: Write) -> None:
    write("d/node_modules/a.js", "d/venv/pyvenv.cfg", "d/venv/b.py", "d/index/passages.lance", "d/index/c.txt")
    assert found("d") == []
    both = ["d/node_modules/a.js", "d/venv/b.py", "d/venv/pyvenv.cfg"]
    assert found("d", ignore=False) == both
    write(**{"d/.qsiftignore": "!node_modules/\n!venv/"})
    assert found("d") == both


@pytest.mark.posix
def test_what_is_no_ignore_file_does_no_harm(write: Write) -> None:
    write("d/a.txt", "d/.ignore/b.txt", **{"d/.qsiftignore": "*.txt\n" * 200_000})
    os.mkfifo("d/.gitignore")
    assert found("d") == ["d/a.txt"]
    ((name, reason),) = skipped("d").items()
    assert name.endswith("d/.qsiftignore") and reason.startswith("It has 1200000 bytes and is not heeded.")


@pytest.mark.posix
def test_an_ignore_file_of_odd_bytes_is_read(write: Write) -> None:
    write("d/a.txt", "d/中.txt")
    Path("d/.ignore").write_bytes(b"\xef\xbb\xbf" + "中*".encode() + b"\ncaf\xe9*\n")
    with open(b"d/caf\xe9.txt", "w") as file:
        file.write("text")
    assert found("d") == ["d/a.txt"]


def test_only_what_is_among_the_named_is_looked_for(write: Write) -> None:
    write("d/a.txt", "d/b/c.txt", "d/b/e/f.txt", "d/b/e.txt", "d/g/h.txt", **{"d/.ignore": "a.txt"})

    def among(*names: str) -> list[str]:
        return [document.source for document in find_documents(["d"], on_skip=lambda *_: None, among=names)]

    assert among("d/b/e") == ["d/b/e/f.txt"] and among("d/g/h.txt", "d/a.txt", "d/gone") == ["d/g/h.txt"]
    assert among("d") == found("d") and among() == [] and among("d/b/e.t") == []
