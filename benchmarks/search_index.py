"""How fast is the index beside the bare model, and how fast and how complete is its first stage?

    python benchmarks/search_index.py MODEL.gguf [--texts FILE] [--passages 60000] [--rows 1000000] [--trial]

Texts are the lines of FILE, or seeded ones of twenty words. Indexing and the second update run in a child of
their own, whose peak memory counts. The large table is filled with synthetic vectors in clusters, without the
model. An exact search is what recall is measured against. Figures go to benchmarks/results/search_index.jsonl.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, Child, machine_facts, machine_line, peak_rss, sha256

from qsift import Candidate, Document, Embedder, IndexOptions, Passage, SearchIndex
from qsift.vectors import normalize

N_CANDIDATES = 50
N_QUERIES = 100
TARGETS = {
    "share of the raw rate": (">=", 0.9),
    "peak RSS, MB": ("<=", 1000.0),
    "second update, s": ("<=", 5.0),
    "first stage p50, ms": ("<=", 20.0),
    "first stage p50, ms, large": ("<=", 100.0),
    "recall@50": (">=", 0.98),
    "recall@50, large": (">=", 0.98),
}


@dataclass(frozen=True)
class Figure:
    """One line of results/search_index.jsonl: a value, over how many passages, and its target if it has one."""

    name: str
    value: float
    n_passages: int
    width: int
    model_sha256: str
    target: str | None
    question: str = "search_index"
    machine: dict[str, Any] = field(default_factory=machine_facts)
    measured_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))


def texts(path: str | None, n: int) -> list[str]:
    """Returns n different texts."""
    if path:
        lines = dict.fromkeys(line.strip() for line in Path(path).read_text("utf-8").splitlines() if line.strip())
        return list(lines)[:n]
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnoprstuvw", k=generator.randint(2, 8))) for _ in range(5000)]
    return [f"{number} {' '.join(generator.choices(words, k=20))}" for number in range(n)]


def documents(lines: list[str]) -> list[Document]:
    """Returns a document for each text."""
    return [Document.of_text(line, f"{number % 97}/{number}.txt") for number, line in enumerate(lines)]


def answer() -> None:
    """Child: indexes what the question on stdin says, and answers with figures.

    The bare model runs over every eighth batch again, right after it and outside of the indexer's time, so that
    what slows the machine down slows both.
    """
    job = json.loads(sys.stdin.readline())
    lines = texts(job["texts"], job["passages"])
    raw: list[tuple[int, float]] = []
    n_batches = 0
    with Embedder.load(job["model"]) as embedder, SearchIndex.open(job["path"], embedder) as index:
        embedder.encode_document(lines[:8])

        def alternate(passages: Sequence[Passage]) -> None:
            nonlocal n_batches
            if n_batches % 8 == 0:
                again = [passage.text for passage in passages]
                raw.append((len(again), seconds(lambda: embedder.encode_document(again))))
            n_batches += 1

        total = seconds(lambda: index.update(documents(lines), on_batch=alternate))
        second = seconds(lambda: index.update(documents(lines)))
        assert index.info().documents == len(lines)
        n_raw, raw_seconds = (sum(column) for column in zip(*raw, strict=True))
        rate, raw_rate = len(lines) / (total - raw_seconds), n_raw / raw_seconds
        figures = {
            "passages a second": rate,
            "raw passages a second": raw_rate,
            "share of the raw rate": rate / raw_rate,
            "peak RSS, MB": peak_rss() / 1e6,
            "second update, s": second,
        }
    print(json.dumps(figures), flush=True)


def seconds(work: Callable[[], object]) -> float:
    """Returns how long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def first_stage(path: Path, embedder: Embedder, queries: list[str], vectors: np.ndarray) -> dict[str, float]:
    """Returns the latency of hybrid and vector searches, and what share of the exact best 50 the latter find."""
    exact = SearchIndex.open(path, embedder, options=IndexOptions(exact_rows=1 << 40))
    figures = {}
    with SearchIndex.open(path, embedder) as index:
        for name, mode in (("first stage p50, ms", "hybrid"), ("vector stage p50, ms", "vector")):
            took = []
            for text, vector in zip(queries, vectors, strict=True):
                search = lambda: index.search(vector, text, candidates=N_CANDIDATES, mode=mode)  # noqa: B023, E731
                took.append(seconds(search))
            figures[name] = statistics.median(took) * 1000
        found = [names(index.search(vector, "", candidates=N_CANDIDATES, mode="vector")) for vector in vectors]
    due = [names(exact.search(vector, "", candidates=N_CANDIDATES, mode="vector")) for vector in vectors]
    figures["recall@50"] = statistics.mean(len(a & b) / len(b) for a, b in zip(found, due, strict=True))
    return figures


def names(hits: list[Candidate]) -> set[str]:
    """Returns the sources of hits; each document has one passage."""
    return {hit.passage.source for hit in hits}


class Synthetic:
    """Vectors in clusters whose first entries weigh most, in the model's place; texts are row numbers and words."""

    def __init__(self, width: int) -> None:
        self._generator = np.random.default_rng(0)
        self._weights = (1 / np.sqrt(1 + np.arange(width) / 16)).astype(np.float32)
        self._centres = self._generator.normal(size=(2000, width)).astype(np.float32)

    def rows(self, n: int) -> np.ndarray:
        """Returns n unit rows."""
        centres = self._centres[self._generator.integers(len(self._centres), size=n)]
        return normalize((centres + self._generator.standard_normal(centres.shape, np.float32)) * self._weights)


def fill(path: Path, embedder: Embedder, n: int, width: int) -> tuple[list[str], np.ndarray]:
    """Indexes n synthetic rows and returns queries: texts and vectors."""
    synthetic = Synthetic(width)
    embedder.encode_document = lambda lines, **_: synthetic.rows(len(lines))  # type: ignore[method-assign]
    words = texts(None, 5000)

    def rows() -> Iterator[Document]:
        for number in range(n):
            text = f"{number} {words[number % 5000]} {words[number // 5000 % 5000][:20]}"
            yield Document.of_text(text, f"{number % 97}/{number}.txt")

    with SearchIndex.open(path, embedder, options=IndexOptions(batch=1 << 14)) as index:
        index.splitter.count_tokens = len
        index.update(rows())
    return words[:N_QUERIES], synthetic.rows(N_QUERIES)


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--texts", help="a file with a passage a line; default: seeded words")
    parser.add_argument("--passages", type=int, default=60_000)
    parser.add_argument("--rows", type=int, default=1_000_000, help="synthetic rows of the large table; 0: none")
    parser.add_argument("--trial", action="store_true", help="record nothing, as on a machine that is busy")
    options = parser.parse_args()
    print(machine_line())
    digest, recorded = sha256(options.model), []

    def record(figures: dict[str, float], n_passages: int, width: int, suffix: str = "") -> None:
        for name, value in figures.items():
            target = TARGETS.get(name + suffix)
            verdict = ""
            if target:
                is_met = value >= target[1] if target[0] == ">=" else value <= target[1]
                verdict = f"  (target {target[0]} {target[1]:g}: {'met' if is_met else 'MISSED'})"
            print(f"  {n_passages:9} passages  {name:24} {value:10.3f}{verdict}", flush=True)
            bound = f"{target[0]} {target[1]:g}" if target else None
            recorded.append(Figure(name, round(value, 4), n_passages, width, digest, bound))

    with tempfile.TemporaryDirectory() as folder, Embedder.load(options.model) as embedder:
        path, width = Path(folder) / "index", embedder.width
        child = Child("search_index.py")
        job = {"model": str(options.model), "path": str(path), "texts": options.texts, "passages": options.passages}
        figures = child.ask(job)
        child.close()
        record(figures, options.passages, width)
        queries = texts(options.texts, options.passages)[:: max(1, options.passages // N_QUERIES)][:N_QUERIES]
        record(first_stage(path, embedder, queries, embedder.encode_query(queries)), options.passages, width)
        if options.rows:
            large = Path(folder) / "large"
            queries, vectors = fill(large, embedder, options.rows, width)
            record(first_stage(large, embedder, queries, vectors), options.rows, width, ", large")
    if not options.trial:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / "search_index.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(figure), ensure_ascii=False) + "\n" for figure in recorded)


if __name__ == "__main__":
    main() if len(sys.argv) > 1 else answer()
