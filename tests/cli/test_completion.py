"""What the tab key gives, in real shells where they are installed, and what it costs."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.posix  # shells on a terminal

READY = "ready$ "
_PROMPT = "PS1='rea''dy$ '"  # so that the echo of what is typed is no prompt
CONTROLS = re.compile(r"\x1b\[[?\d;]*\w|[\x07\x08\r]")
BEGIN = {
    "bash": f'{_PROMPT}; eval "$(qsift completion bash)"\n',
    "zsh": f'{_PROMPT}; autoload -U compinit; compinit -u; eval "$(qsift completion zsh)"\n',
}
PLAIN = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
TYPED = {
    "qsift rera": "qsift rerank",
    "qsift embed demo": "qsift embed demo-embedding",
    "qsift rerank demo": "qsift rerank demo-reranker",
    "qsift embed sub/m": "qsift embed sub/my.gguf",
    "qsift search a --index n": "qsift search a --index notes.index",
    "qsift search a --index sub/ol": "qsift search a --index sub/old.index",
    "qsift completion fi": "qsift completion fish",
    "qsift search a --form": "qsift search a --format",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("notes.index", "sub/old.index", "nothing", "note$(touch pwned)", "no te"):
        (tmp_path / name / ("passages.lance" if name != "nothing" else "other")).mkdir(parents=True)
    (tmp_path / "sub/my.gguf").touch()
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb", **more}


def completed(folder: Path, *words: str) -> list[str]:
    """Returns what click answers a shell for the last of the words."""
    asked = environment(_QSIFT_COMPLETE="bash_complete", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1))
    result = subprocess.run(["qsift"], cwd=folder, env=asked, capture_output=True, text=True, check=True)
    return result.stdout.split("\n")[:-1]


@pytest.mark.parametrize("shell", BEGIN)
def test_a_shell_completes_commands_models_and_indices(folder: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(shell, [shell, *PLAIN[shell]], environment(ZDOTDIR=str(folder)))
    try:
        os.write(terminal, BEGIN[shell].encode())
        until(terminal, rf"{re.escape(READY)}$")
        for typed, wanted in TYPED.items():
            os.write(terminal, f"{typed}\t".encode())
            until(terminal, rf"{re.escape(wanted)} ?$")
            os.write(terminal, b"\x15")  # Ctrl-U: the line is taken back
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert not (folder / "pwned").exists()


def until(terminal: int, pattern: str) -> None:
    """Reads what a terminal shows until a pattern matches it."""
    shown, end = "", time.monotonic() + 30
    while not re.search(pattern, CONTROLS.sub("", shown)):
        ready, _, _ = select.select([terminal], [], [], max(end - time.monotonic(), 0))
        assert ready, f"{pattern!r} does not come: {shown!r}"
        shown += os.read(terminal, 4096).decode("utf-8", "replace")


def test_fish_completes_commands_models_and_indices(folder: Path) -> None:
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    asked = "; ".join(f"complete -C '{typed}'" for typed in TYPED)
    command = ["fish", "--no-config", "-c", f"qsift completion fish | source; {asked}"]
    result = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=True)
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [line.split()[-1] for line in TYPED.values()]


def test_names_fit_the_task_and_where_none_fits_the_shell_completes_paths(folder: Path) -> None:
    assert completed(folder, "qsift", "embed", "q")[0] == "plain,qwen3-embedding-0.6b"
    assert not [item for item in completed(folder, "qsift", "rerank", "") if "embedding" in item]
    assert {"plain,demo-embedding", "plain,demo-reranker"} < {*completed(folder, "qsift", "info", "")}
    assert completed(folder, "qsift", "embed", "./gone") == ["file,./gone"]
    assert completed(folder, "qsift", "index", "info", "gone/") == ["dir,gone/"]
    # What a shell would have to quote is left to it: it inserts what it is given as it stands.
    assert completed(folder, "qsift", "index", "info", "") == ["plain,notes.index"]
    assert completed(folder, "qsift", "index", "info", "note$") == ["dir,note$"]


def test_completing_loads_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from qsift.cli import main\n"
        "try: main()\n"
        "finally: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    for words in ("qsift search a --index n", "qsift embed d", "qsift "):
        asked = environment(_QSIFT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, cwd=folder, env=asked, capture_output=True, text=True, check=True)
        assert result.stdout.startswith("plain,")
        heavy = {"fastapi", "huggingface_hub", "lancedb", "llama_cpp", "mcp", "pyarrow", "pydantic", "torch", "tqdm"}
        assert not {*result.stderr.split()} & heavy
