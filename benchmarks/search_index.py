"""How fast is the index beside the bare model, and how fast and how complete is its first stage?

    python benchmarks/search_index.py MODEL.gguf [--packages LIST] [--passages 60000] [--rows 1000000] [--trial]
    python benchmarks/search_index.py MODEL.gguf --home 20000 [--trial]

Texts are synopsis and description of the packages in LIST, one of apt's Translation-en files (on Debian in
/var/lib/apt/lists, elsewhere fetched by benchmarks/demo/corpus.py), or seeded ones of twenty words. Indexing and
the second update run in a child of their own, whose peak memory counts. The large table is filled with synthetic
vectors in clusters, without the model. An exact search is what recall is measured against. With --home, a folder like
someone's home is made, walked and indexed instead. Figures go to benchmarks/results/search_index.jsonl.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from demo.sources import paragraphs_of
from harness.child import Child
from harness.command_line import command, record
from harness.home import UNSAID, make_home
from harness.rows import Figure, machine_line, verdict
from harness.turns import seconds

from qsift import Document, Embedder, IndexOptions, Passage, SearchIndex
from qsift.engine import peak_rss
from qsift.hub import checksum
from qsift.search import Mode, Root, documents_of
from qsift.text import normalize

N_CANDIDATES = 50
N_QUERIES = 100
STAGES: tuple[tuple[str, Mode, int], ...] = (
    ("first stage p50, ms", "hybrid", IndexOptions.exact_rows),
    ("vector stage p50, ms", "vector", 1),
    ("exact vector stage p50, ms", "vector", 1 << 40),
)
"""What is timed, and above how many passages an approximate index is used where there is one."""
TARGETS = {
    "share of the raw rate": ">= 0.9",
    "peak RSS, MB": "<= 1000",
    "second update, s": "<= 5",
    "first stage p50, ms": "<= 20",
    "first stage p50, ms, large": "<= 100",
    "recall@50": ">= 0.98",
    "recall@50, large": ">= 0.98",
}


def texts(path: str | None, n: int) -> list[str]:
    """Returns n different texts, or as many as there are."""
    if path:
        fields = (value for package in paragraphs_of(Path(path)) for name, value in package.items())
        described = (value for value in fields if value.count("\n") > 1)
        return list(dict.fromkeys(re.sub(r"(?m)^ \.?", "", value).strip() for value in described))[:n]
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnoprstuvw", k=generator.randint(2, 8))) for _ in range(5000)]
    return [f"{number} {' '.join(generator.choices(words, k=20))}" for number in range(n)]


def documents(lines: list[str]) -> list[Document]:
    """Returns a document for each text."""
    return [Document.of_text(line, f"{number % 97}/{number}.txt") for number, line in enumerate(lines)]


def answer() -> None:
    """Child: indexes what the question on stdin says, and answers with figures.

    A bare model of its own runs over every eighth batch again, right after it and outside of the indexer's time,
    so that what slows the machine down slows both.
    """
    job = json.loads(sys.stdin.readline())
    lines = texts(job["packages"], job["passages"])
    raw: list[tuple[int, float]] = []
    n_batches = n_passages = 0
    with (
        Embedder.load(job["model"]) as bare,
        Embedder.load(job["model"]) as embedder,
        SearchIndex.open(job["path"], embedder) as index,
    ):
        bare.encode_document(lines[:8])

        def alternate(passages: Sequence[Passage]) -> None:
            nonlocal n_batches, n_passages
            if n_batches % 8 == 0:
                again = [passage.text for passage in passages]
                raw.append((len(again), seconds(lambda: bare.encode_document(again))))
            n_batches += 1
            n_passages += len(passages)

        total = seconds(lambda: index.update(documents(lines), on_batch=alternate))
        second = seconds(lambda: index.update(documents(lines)))
        assert index.info().documents == len(lines)
        n_raw, raw_seconds = sum(count for count, _ in raw), sum(took for _, took in raw)
        rate, raw_rate = n_passages / (total - raw_seconds), n_raw / raw_seconds
        figures = {
            "passages": n_passages,
            "passages a second": rate,
            "raw passages a second": raw_rate,
            "share of the raw rate": rate / raw_rate,
            "peak RSS, MB": (peak_rss() or 0) / 1e6,
            "second update, s": second,
        }
    print(json.dumps(figures), flush=True)


def first_stage(path: Path, embedder: Embedder, queries: list[str], vectors: np.ndarray) -> dict[str, float]:
    """Returns the latency of each stage, and what share of the exact best 50 the approximate index finds."""
    figures = {}
    found: dict[str, list[set[Passage]]] = {}
    for name, mode, exact_rows in STAGES:
        took, found[name] = [], []
        with SearchIndex.open(path, embedder, options=IndexOptions(exact_rows=exact_rows)) as index:
            for text, vector in zip(queries, vectors, strict=True):
                started = time.perf_counter()
                hits = index.search(vector, text, candidates=N_CANDIDATES, mode=mode)
                took.append((time.perf_counter() - started) * 1000)
                found[name].append({hit.passage for hit in hits})
        figures[name] = statistics.median(took)
    both = zip(found["vector stage p50, ms"], found["exact vector stage p50, ms"], strict=True)
    figures["recall@50"] = statistics.mean(len(a & b) / len(b) for a, b in both)
    return figures


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


def fill(path: Path, model: Path, n: int) -> tuple[list[str], np.ndarray]:
    """Indexes n synthetic rows, approximately whatever their number, and returns queries: texts and vectors."""
    words = texts(None, 5000)

    def rows() -> Iterator[Document]:
        for number in range(n):
            text = f"{number} {words[number % 5000]} {words[number // 5000 % 5000][:20]}"
            yield Document.of_text(text, f"{number % 97}/{number}.txt")

    with Embedder.load(model) as embedder:
        synthetic = Synthetic(embedder.width)
        embedder.encode_document = lambda lines, **_: synthetic.rows(len(lines))  # type: ignore[method-assign]
        embedder.token_count = len  # type: ignore[method-assign, assignment]
        with SearchIndex.open(path, embedder, options=IndexOptions(batch=1 << 14, exact_rows=1)) as index:
            index.update(rows())
    queries = [" ".join(line.split()[1:6]) for line in words[:N_QUERIES]]
    return queries, synthetic.rows(N_QUERIES)


def home(folder: Path, embedder: Embedder, n_files: int) -> dict[str, float]:
    """Returns what it takes to walk a home of so many files and to index it; checks that the right ones are found."""
    made = make_home(folder / "home", n_files)
    print(f"  {made.n_files} files, {made.n_bytes / 1e6:.0f} MB", flush=True)
    root = Root.of(folder / "home")
    reasons: list[str] = []

    def on_skip(_: str, reason: str) -> None:
        reasons.append(re.split(r"[.:] ", reason + " ")[0])

    found: list[Document] = []
    walk = seconds(lambda: found.extend(documents_of([root], on_skip=on_skip)))
    with SearchIndex.open(folder / "index", embedder) as index:
        total = seconds(lambda: index.update(documents_of([root], on_skip=lambda *_: None), on_skip=on_skip))
        info = index.info()
        again = seconds(lambda: index.update(documents_of([root], on_skip=lambda *_: None), on_skip=lambda *_: None))
        name = found[0].source
        Path(name).write_text("It is another now.\n")
        # What `watch` does when one file changed.
        one = seconds(lambda: index.update(documents_of([root], on_skip=on_skip, among=[name]), within=[name]))
    assert {document.source.removeprefix(f"{root.source}/") for document in found} >= made.taken
    assert info.documents == len(made.taken), (info.documents, len(made.taken))
    assert len(reasons) == sum(n for fate, n in made.fates.items() if fate != UNSAID), Counter(reasons)
    for reason, n in sorted(Counter(reasons).items()):
        print(f"  {n:9} files      {reason}", flush=True)
    print(f"  {made.fates[UNSAID]:9} files      {UNSAID}", flush=True)
    return {
        "walk, s": walk,
        "indexing, s": total,
        "passages": info.passages,
        "documents": info.documents,
        "disk, MB": info.nbytes / 1e6,
        "update, nothing changed, s": again,
        "update of one file, s": one,
    }


def main() -> None:
    """Measures, prints and records."""
    parser = command(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--packages", help="one of apt's Translation-en lists; default: seeded words")
    parser.add_argument("--passages", type=int, default=60_000)
    parser.add_argument("--home", type=int, help="files of a home; nothing else is measured then")
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 1_000_000], help="sizes of synthetic tables")
    options = parser.parse_args()
    print(machine_line())
    digest = checksum(options.model)
    recorded: list[Figure] = []

    def note(figures: dict[str, float], n_passages: int, width: int, suffix: str = "") -> None:
        for name, value in figures.items():
            target = TARGETS.get(name + suffix)
            print(f"  {n_passages:9} passages  {name:24} {value:10.3f}  {verdict(value, target)}", flush=True)
            settings = {"passages": n_passages, "width": width}
            recorded.append(Figure("search_index", name, round(value, 4), settings, digest, target))

    with tempfile.TemporaryDirectory() as folder, Embedder.load(options.model) as embedder:
        path, width = Path(folder) / "index", embedder.width
        if options.home:
            for name, value in home(Path(folder), embedder, options.home).items():
                print(f"  {options.home:9} files      {name:28} {value:10.3f}", flush=True)
                settings = {"files": options.home, "width": width}
                recorded.append(Figure("search_index", name, round(value, 4), settings, digest, None))
            record(recorded, "search_index", options)
            return
        child = Child("search_index")
        job = {
            "model": str(options.model),
            "path": str(path),
            "packages": options.packages,
            "passages": options.passages,
        }
        figures = child.ask(job)
        child.close()
        note(figures, options.passages, width)
        every = texts(options.packages, options.passages)[:: max(1, options.passages // N_QUERIES)][:N_QUERIES]
        queries = [" ".join(text.partition("\n")[0].split()[:10]) for text in every]
        note(first_stage(path, embedder, queries, embedder.encode_query(queries)), options.passages, width)
        for rows in options.rows:
            large = Path(folder) / str(rows)
            queries, vectors = fill(large, options.model, rows)
            note(first_stage(large, embedder, queries, vectors), rows, width, ", large" * (rows >= 1_000_000))
    record(recorded, "search_index", options)


if __name__ == "__main__":
    main() if len(sys.argv) > 1 else answer()
