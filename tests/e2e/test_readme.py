"""Every code block of the README runs, and it names every command and error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import K_QUANT, Checkpoint, write_checkpoint
from hub_server import HubServer

import qsift
from qsift.cli.main import cli
from qsift.convert import convert

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"(?m)(<!-- not run: installs -->\n)?^```(\w+)\n(.*?)^```", README, re.DOTALL)
RUNNABLE = [(language, code) for marked, language, code in BLOCKS if not marked and language != "text"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that holds what the README's reader has: two checkpoints and their GGUFs."""
    folder = tmp_path_factory.mktemp("readme")
    for task, name in (("embed", "Qwen3-Embedding-0.6B"), ("rerank", "Qwen3-Reranker-0.6B")):
        convert(write_checkpoint(folder / name, Checkpoint(task=task, shape=K_QUANT)), folder)
    yield folder


@pytest.fixture(scope="module")
def hub(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that lead to a hub with the same two checkpoints."""
    cache = tmp_path_factory.mktemp("readme-cache")
    with HubServer() as server:
        for name in ("Qwen3-Embedding-0.6B", "Qwen3-Reranker-0.6B"):
            server.add(f"Qwen/{name}", folder / name)
        yield {**server.environment(cache), "QSIFT_CACHE": str(cache / "qsift")}


@pytest.mark.parametrize(("language", "code"), RUNNABLE, ids=[str(i) for i in range(len(RUNNABLE))])
def test_a_block_runs(folder: Path, hub: dict[str, str], language: str, code: str) -> None:
    assert language in ("python", "sh")
    environment = {**os.environ, **hub, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if language == "sh":
        for path in folder.glob("*.gguf"):
            if "qsift convert Qwen3-Embedding" in code:  # the quickstart starts without them
                path.unlink()
    command = [sys.executable, "-c", code] if language == "python" else ["sh", "-euc", code]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{code}\n{result.stdout}\n{result.stderr}"


def test_only_installing_is_not_run() -> None:
    for marked, _, code in BLOCKS:
        if marked:
            assert all(line.startswith(("make ", "pip ")) for line in code.splitlines()), code


def test_every_command_and_error_is_named() -> None:
    missing = [f"qsift {name}" for name in cli.commands if f"qsift {name}" not in README]
    errors = [name for name in qsift.__all__ if name.endswith("Error")]
    assert not missing + [name for name in errors if name not in README]


def test_every_public_name_is_documented() -> None:
    bare = [name for name in qsift.__all__ if callable(getattr(qsift, name)) and not getattr(qsift, name).__doc__]
    assert not bare
