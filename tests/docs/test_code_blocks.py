"""Every code block of the READMEs and the pages runs, each page in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkpoints import K_QUANT, Checkpoint, write_adapter, write_checkpoint
from hub_server import HubServer

from qsift.convert import convert

pytestmark = pytest.mark.posix  # blocks of shell, links to models

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(<!-- not run: (?P<reason>[^\n]+?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)
BLOCKS = [(page.relative_to(ROOT).as_posix(), *m.group("reason", "language", "code"))
          for page in PAGES for m in BLOCK.finditer(page.read_text("utf-8"))]  # fmt: skip
# What stands on several pages runs once.
RUNNABLE = {
    code: (page, language) for page, reason, language, code in reversed(BLOCKS) if not reason and language != "text"
}
IDS = {code: f"{page}-{number}" for number, (code, (page, _)) in enumerate(reversed(RUNNABLE.items()))}
MODELS = {"embed": "Qwen3-Embedding-0.6B", "rerank": "Qwen3-Reranker-0.6B"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what a reader has: two checkpoints, their GGUFs, and an adapter."""
    folder = tmp_path_factory.mktemp("models")
    for task, name in MODELS.items():
        convert(write_checkpoint(folder / name, Checkpoint(task=task, shape=K_QUANT)), folder)
    write_adapter(folder / "my-adapter", K_QUANT, base_model_name_or_path="Qwen/Qwen3-Embedding-0.6B")
    return folder


@pytest.fixture(scope="module")
def folder_of(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a page, in which its blocks run one after the other, with the models."""
    folders: dict[str, Path] = {}

    def folder_of(page: str) -> Path:
        if page not in folders:
            folders[page] = tmp_path_factory.mktemp("page")
            for path in models.iterdir():
                (folders[page] / path.name).symlink_to(path)
        return folders[page]

    return folder_of


@pytest.fixture(scope="module")
def hub(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that lead to a hub with the same two checkpoints."""
    cache = tmp_path_factory.mktemp("cache")
    with HubServer() as server:
        for name in MODELS.values():
            server.add(f"Qwen/{name}", models / name)
        yield {**server.environment(cache), "QSIFT_CACHE": str(cache / "qsift")}


@pytest.mark.parametrize("code", reversed(RUNNABLE), ids=IDS.__getitem__)
def test_a_block_runs(folder_of: Callable[[str], Path], hub: dict[str, str], code: str) -> None:
    page, language = RUNNABLE[code]
    assert language in ("python", "sh"), f"{page}: nothing runs a block of {language or 'no language'}"
    environment = {**os.environ, **hub, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-c", code] if language == "python" else ["sh", "-euc", code]
    result = subprocess.run(command, cwd=folder_of(page), env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{code}\n{result.stdout}\n{result.stderr}"


def test_only_installing_is_not_run() -> None:
    for page, reason, _, code in BLOCKS:
        if reason:
            assert reason == "installs", f"{page}: {reason}"
            assert all(line.startswith(("make ", "pip ")) for line in code.splitlines()), code
