"""A desk with a folder and an index of 5,000 passages that several tests look at, and a browser."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from desking import Desking

from qsift import Document, Embedder, Reranker, SearchIndex

FILES = {
    "notes/tea.md": "# Tea\n\nThe kettle is on the left shelf. Green tea steeps for two minutes at 75 °C. "
    "The pot is blue.\n",
    "notes/面包.md": "# 面包\n\n面包放在陶罐里。切片冷冻可以保存几个月。\n",
    "notes/hostile.txt": "The volcano report. <script>window.harm = 1</script> "
    "<img src=x onerror='window.harm = 2'> ends.\n",
    'notes/<img src=x onerror="harm=3">.txt': "A submarine in a bottle is shown in the harbour museum.\n",
    "code/parser.py": "def parse(line):\n    # Splits a line of the log at its tabs.\n    return line.split('\\t')\n",
    "picture.bin": "\0\0\0",
}
N_LINES = 5000


@pytest.fixture(scope="session")
def embedder() -> Iterator[Embedder]:
    """The library's embedding model."""
    with Embedder.load("demo-embedding") as embedder:
        yield embedder


@pytest.fixture(scope="session")
def reranker() -> Iterator[Reranker]:
    """The library's reranker."""
    with Reranker.load("demo-reranker") as reranker:
        yield reranker


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files, some of them hostile."""
    root = tmp_path_factory.mktemp("desk") / "home"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


@pytest.fixture(scope="session")
def index(folder: Path, embedder: Embedder) -> Path:
    """An index of 5,000 passages, of documents that are no files."""
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnoprstuvw", k=5)) for _ in range(400)]
    lines = [f"{number} {' '.join(generator.choices(words, k=4))}" for number in range(N_LINES - 1)]
    lines.append("The lighthouse keeper writes down the ships that pass.")
    path = folder.parent / "lines.index"
    with SearchIndex.open(path, embedder) as index:
        index.update(Document.of_text(line, f"lines/{number % 7}/{number}.txt") for number, line in enumerate(lines))
    return path


@pytest.fixture(scope="session")
def desk(folder: Path, index: Path) -> Iterator[Desking]:
    """A desk with the folder and the index, up to date."""
    with Desking(folder.parent / "run", folder, index) as desk, httpx.Client(base_url=desk.url) as client:
        until_done(client, desk)
        yield desk


@pytest.fixture(scope="session")
def http(desk: Desking) -> Iterator[httpx.Client]:
    """A client of that desk that shows its token."""
    with httpx.Client(base_url=desk.url, timeout=120, headers=desk.headers) as client:
        yield client


def until_done(client: httpx.Client, desk: Desking, shelf: int = 0) -> dict[str, object]:
    """Waits for the end of what is being indexed and returns the job's facts."""
    for _ in range(600):
        job = client.get("/desk/state", headers=desk.headers).json()["shelves"][shelf]["job"]
        if job and job["state"] not in ("running", "stopping"):
            return job
        time.sleep(0.1)
    raise AssertionError(job)


@pytest.fixture(scope="module")  # while it is there an event loop runs in this thread, and other modules run their own
def browser() -> Iterator[object]:
    """Debian's Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
