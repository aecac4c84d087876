"""How soon after a key does the desk's page show something, and does its server's memory stay flat?

    python benchmarks/desk.py [--passages 60000] [--searches 2000] [--index PATH] [--trial]

`qsift desk` serves an index of passages of 150 words of the documentation with the demo pair; the passages' vectors are
seeded, for making them takes an hour and changes no time. Chromium types five of a passage's own words. Timed in the
page are the ways from the last key to the first stage's passages, to the reranker's first order and to its last one, by
what is on the screen: the passage that the words are from must be among them. Then so many searches go through HTTP,
every tenth reranked and every fifth given up at once, while the server's resident memory is read. Figures go to
benchmarks/results/desk.jsonl. Linux, and Playwright's package.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from harness.command_line import command, record
from harness.rows import Figure, machine_line, verdict

from qsift import Document, Embedder, IndexOptions, SearchIndex
from qsift.hub import checksum, open_model
from qsift.text import normalize

TARGETS = {
    "first stage after a key p50, ms": "<= 150",
    "first stage after a key p95, ms": "<= 150",
    "first reranked after a key p50, ms": "<= 1500",
    "first reranked after a key p95, ms": "<= 1500",
    "all reranked after a key p50, ms": "<= 1500",
    "growth of memory, MB per 1000 searches": "<= 10",
}
WORDS = 150
QUESTIONS = 40
WATCH = """() => {
    window.times = {};
    const note = (name) => (window.times[name] ??= performance.now());
    document.addEventListener("keydown", () => (window.times = { key: performance.now() }), true);
    const hits = document.querySelector("#hits");
    new MutationObserver((changes) => {
        const isDrawn = hits.firstElementChild && changes.some(({ target }) => hits.contains(target));
        if (!window.times.key || !isDrawn) return;
        const isWhole = /the best first/.test(document.querySelector("#search-status").textContent);
        const isRanked = hits.querySelector(".yes") !== null;
        requestAnimationFrame(() => note(isWhole ? "all" : isRanked ? "ranked" : "first"));
    }).observe(document.querySelector("#view-search"), { childList: true, subtree: true, characterData: true });
}"""


def passages(n: int) -> list[str]:
    """Returns n different texts of WORDS words, seeded, out of the words of the documentation."""
    pages = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
    words = sorted({word for page in pages for word in re.findall(r"[a-z]{3,}", page.read_text("utf-8"))})
    generator = random.Random(0)
    return [" ".join(generator.choices(words, k=WORDS)) for _ in range(n)]


def fill(path: Path, texts: list[str]) -> None:
    """Indexes the texts with seeded unit vectors, or what is missing of them."""
    generator = np.random.default_rng(0)
    with Embedder.load("demo-embedding") as embedder:

        def vectors(lines: list[str], **_: Any) -> np.ndarray:
            return normalize(generator.standard_normal((len(lines), embedder.width), np.float32))

        embedder.encode_document = vectors  # type: ignore[method-assign, assignment]
        embedder.token_count = len  # type: ignore[method-assign, assignment]
        with SearchIndex.open(path, embedder, options=IndexOptions(max_tokens=100_000, batch=8192)) as index:
            index.update(Document.of_text(text, f"{n % 97}/{n}.txt") for n, text in enumerate(texts))


@contextmanager
def desk(path: Path) -> Iterator[tuple[str, str, int]]:
    """Gives the address, the token and the process of a desk over an index."""
    started = [sys.executable, "-m", "qsift", "desk", "--no-open", str(path)]
    with subprocess.Popen(started, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r"(http://\S+)/#token=(\S+)", line) for line in process.stderr)))
        try:
            yield found[1], found[2], process.pid
        finally:
            process.terminate()
            if said := process.stderr.read():
                raise SystemExit(f"The desk complained: {said[:2000]}")


def typed(url: str, token: str, questions: list[tuple[str, str]]) -> dict[str, list[float]]:
    """Returns milliseconds from the last key to what was seen: the first stage, the first ranking, the last one."""
    from playwright.sync_api import sync_playwright

    took: dict[str, list[float]] = {"first": [], "ranked": [], "all": []}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}/#token={token}")
        page.locator("#search-status", has_text="passages of").wait_for(timeout=120_000)
        page.evaluate(WATCH)
        for question, source in questions:
            page.fill("#query", "")
            page.type("#query", question, delay=30)
            page.locator("#search-status", has_text="the best first").wait_for(timeout=120_000)
            page.wait_for_timeout(100)  # until it is noted
            if source not in page.inner_text("#hits"):
                raise SystemExit(f"{source} is not among the passages for {question!r}.")
            times = page.evaluate("window.times")
            for name, values in took.items():
                values.append(times[name] - times["key"])
        browser.close()
    return took


def growth(url: str, token: str, pid: int, questions: list[str]) -> tuple[float, float]:
    """Returns the growth of a server's memory in MB per thousand searches in the second half, and its size."""
    counts, sizes = [], []
    for number, question in enumerate(questions):
        body = json.dumps({"query": question, "rerank": 50 if number % 10 == 0 else 0}).encode()
        asked = urllib.request.Request(f"{url}/desk/search", body, {"Authorization": f"Bearer {token}"})
        with suppress(TimeoutError), urllib.request.urlopen(asked, timeout=0.002 if number % 5 == 4 else 120) as answer:
            hits = json.load(answer)["hits"]
            if not hits:
                raise SystemExit(f"Nothing was found for {question!r}.")
        if number >= len(questions) / 2:  # before that the index's own caches fill
            counts.append(number / 1000)
            sizes.append(_resident(pid) / 1e6)
    return float(np.polyfit(counts, sizes, 1)[0]), sizes[-1]


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) * 1024


def main() -> None:
    """Measures, prints and records."""
    parser = command(__doc__)
    parser.add_argument("--passages", type=int, default=60_000)
    parser.add_argument("--searches", type=int, default=2000)
    parser.add_argument("--index", type=Path, help="where the index is kept; without it it is made and thrown away")
    options = parser.parse_args()
    print(machine_line())
    texts = passages(options.passages)
    generator = random.Random(1)
    chosen = generator.sample(range(len(texts)), max(QUESTIONS, options.searches))
    questions = [(" ".join(texts[number].split()[10:15]), f"{number % 97}/{number}.txt") for number in chosen]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = options.index or Path(folder) / "index"
        fill(path, texts)
        with desk(path) as (url, token, pid):
            took = typed(url, token, questions[:QUESTIONS])
            names = {"first": "first stage", "ranked": "first reranked", "all": "all reranked"}
            for name, values in ((names[name], values) for name, values in took.items()):
                figures[f"{name} after a key p50, ms"] = statistics.median(values)
                figures[f"{name} after a key p95, ms"] = float(np.quantile(values, 0.95))
            slope, size = growth(url, token, pid, [question for question, _ in questions[: options.searches]])
            figures |= {"growth of memory, MB per 1000 searches": slope, "memory, MB": size}
    digest = checksum(Path(open_model("demo-embedding", "embed").path))
    settings: dict[str, Any] = {"passages": options.passages, "searches": options.searches}
    rows = []
    for name, value in figures.items():
        print(f"  {name:42} {value:10.2f}  {verdict(value, TARGETS.get(name))}", flush=True)
        rows.append(Figure("desk", name, round(value, 2), settings, digest, TARGETS.get(name)))
    record(rows, "desk", options)


if __name__ == "__main__":
    main()
