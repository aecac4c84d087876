"""How much faster is a single short query, and a rerank of few documents, whose beginning is kept in the cache?

    python benchmarks/kept_prefix.py [--folder F] [--repeat 15]

The same engine twice in one process, with and without kept prefixes, over the random 0.6B models of
throughput.py; then with the accelerator and without, the prefix kept by both. The two take turns, and the median of
the rounds' ratios counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness.command_line import add_models, add_quant, command, record
from harness.rows import Figure, machine_line, verdict
from harness.turns import Turns, in_turns
from harness.workloads import RERANK
from models.random_weights import gguf

from qsift import Embedder, EngineOptions, Reranker
from qsift.hub import checksum
from qsift.models import Task

Measure = Callable[[Path, Sequence[EngineOptions], int], Turns]

DOCUMENTS = 3
QUERIES = ("what is a lease", "how to reset a router", "opening hours of the library", "best soup for a cold")
"""Short queries that differ, so that each costs its own tokens."""


def query(path: Path, options: Sequence[EngineOptions], repeat: int) -> Turns:
    """Measures a single query, the same instruction before all of them."""
    kept, plain = (Embedder.load(path, options=each) for each in options)
    with kept, plain:
        cosines = (kept.encode_query(list(QUERIES)) * plain.encode_query(list(QUERIES))).sum(axis=1)
        if not cosines.min() > 0.999:
            raise SystemExit(f"The two engines disagree: cosine {cosines.min():.5f}.")
        kept.encode_query(QUERIES[0])
        plain.encode_query(QUERIES[0])
        return in_turns(
            lambda i: kept.encode_query(QUERIES[i % len(QUERIES)]),
            lambda i: plain.encode_query(QUERIES[i % len(QUERIES)]),
            repeat,
        )


def rerank(path: Path, options: Sequence[EngineOptions], repeat: int) -> Turns:
    """Measures a query against a few documents of about 125 tokens."""
    kept, plain = (Reranker.load(path, options=each) for each in options)
    documents = RERANK["rerank32"]().documents[:DOCUMENTS]

    def scores(reranker: Reranker, number: int) -> np.ndarray:
        pairs = [(QUERIES[number % len(QUERIES)], document) for document in documents]
        return np.asarray(reranker.predict(pairs))

    with kept, plain:
        if not (moved := max(float(np.abs(scores(kept, i) - scores(plain, i)).max()) for i in (1, 0))) < 0.01:
            raise SystemExit(f"The two engines disagree: a score moved by {moved:.4f}.")
        return in_turns(lambda i: scores(kept, i), lambda i: scores(plain, i), repeat)


def main() -> None:
    """Measures, prints and records."""
    parser = command(__doc__, repeat=15)
    add_models(parser)
    add_quant(parser)
    options = parser.parse_args()
    print(machine_line())
    plain = EngineOptions(device="cpu", threads=options.threads, accel="off")
    usual, exact = replace(plain, accel="auto"), replace(plain, accel="exact")
    unshared = replace(plain, share_prefixes=False)
    works: tuple[tuple[Task, str, str | None, Measure, list[EngineOptions]], ...] = (
        ("embed", "a short query", ">= 2.0", query, [plain, unshared]),
        ("rerank", f"{DOCUMENTS} documents", None, rerank, [plain, unshared]),
        ("embed", "a short query in the accelerator's mode exact", ">= 2.0", query, [exact, plain]),
        ("embed", "a short query as the accelerator chooses", None, query, [usual, plain]),
    )
    figures = []
    for task, name, target, measure, engines in works:
        path = gguf(options.folder, task, options.shape, options.quant)
        turns = measure(path, engines, options.repeat)
        told = f"{turns.first * 1e3:.0f} ms with, {turns.second * 1e3:.0f} ms without"
        print(f"{name}: {told}: {turns.times:.2f} × {verdict(turns.times, target)}")
        settings = {"quant": options.quant, "threads": options.threads, "seconds": [turns.first, turns.second]}
        figures.append(Figure("kept_prefix", f"{name}, times faster", turns.times, settings, checksum(path), target))
    record(figures, "kept_prefix", options)


if __name__ == "__main__":
    main()
