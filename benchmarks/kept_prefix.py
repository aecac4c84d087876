"""How much faster is a single short query, and a rerank of few documents, whose beginning is kept in the cache?

    python benchmarks/kept_prefix.py [--folder F] [--repeat 15]

The same engine twice in one process, with and without kept prefixes, over the random 0.6B models of
throughput.py. The two take turns, and the median of the rounds' ratios counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import Figure, append, machine_line
from random_models import SHAPES, gguf
from workloads import RERANK

from qsift import Embedder, EngineOptions, Reranker
from qsift.engine.machine import cache_folder, physical_cores
from qsift.hub.checksums import checksum
from qsift.models.specs import Task

DOCUMENTS = 3
QUERIES = ("what is a lease", "how to reset a router", "opening hours of the library", "best soup for a cold")
"""Short queries that differ, so that each costs its own tokens."""


def ratio(kept: Callable[[int], object], plain: Callable[[int], object], repeat: int) -> tuple[float, float, float]:
    """Returns the median seconds of both, called in turns after a first call each, and of their ratios."""
    kept(0), plain(0)
    seconds = [(timed(kept, i), timed(plain, i)) for i in range(1, repeat + 1)]
    ours, theirs = (statistics.median(side) for side in zip(*seconds, strict=True))
    return ours, theirs, statistics.median(b / a for a, b in seconds)


def timed(call: Callable[[int], object], number: int) -> float:
    """Returns the seconds of one call."""
    start = time.perf_counter()
    call(number)
    return time.perf_counter() - start


def query(path: Path, options: tuple[EngineOptions, EngineOptions], repeat: int) -> tuple[float, float, float]:
    """Measures a single query, the same instruction before all of them."""
    kept, plain = (Embedder.load(path, options=each) for each in options)
    with kept, plain:
        cosines = (kept.encode_query(list(QUERIES)) * plain.encode_query(list(QUERIES))).sum(axis=1)
        if not cosines.min() > 0.999:
            raise SystemExit(f"The two engines disagree: cosine {cosines.min():.5f}.")
        return ratio(
            lambda i: kept.encode_query(QUERIES[i % len(QUERIES)]),
            lambda i: plain.encode_query(QUERIES[i % len(QUERIES)]),
            repeat,
        )


def rerank(path: Path, options: tuple[EngineOptions, EngineOptions], repeat: int) -> tuple[float, float, float]:
    """Measures a query against a few documents of about 125 tokens."""
    kept, plain = (Reranker.load(path, options=each) for each in options)
    documents = RERANK["rerank32"]().documents[:DOCUMENTS]

    def scores(reranker: Reranker, number: int) -> np.ndarray:
        pairs = [(QUERIES[number % len(QUERIES)], document) for document in documents]
        return np.asarray(reranker.predict(pairs))

    with kept, plain:
        if not (moved := float(np.abs(scores(kept, 1) - scores(plain, 1)).max())) < 0.01:
            raise SystemExit(f"The two engines disagree: a score moved by {moved:.4f}.")
        return ratio(lambda i: scores(kept, i), lambda i: scores(plain, i), repeat)


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "benchmarks", help="where the models are kept")
    parser.add_argument("--quant", default="q8_0")
    parser.add_argument("--shape", choices=SHAPES, default="0.6b", help="tiny: to try the script; never recorded")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--repeat", type=int, default=15, help="rounds, of which the median counts")
    parser.add_argument("--trial", action="store_true", help="record nothing, as on a machine that is busy")
    options = parser.parse_args()
    print(machine_line())
    engines = tuple(EngineOptions(device="cpu", threads=options.threads, share_prefixes=kept) for kept in (True, False))
    works: tuple[tuple[Task, str, float | None, Callable[..., tuple[float, float, float]]], ...] = (
        ("embed", "a short query", 2.0, query),
        ("rerank", f"{DOCUMENTS} documents", None, rerank),
    )
    figures = []
    for task, name, target, measure in works:
        path = gguf(options.folder, task, options.shape, options.quant)
        ours, theirs, times = measure(path, engines, options.repeat)
        verdict = "" if target is None else f" (target {target}: {'met' if times >= target else 'MISSED'})"
        print(f"{name}: {ours * 1e3:.0f} ms with, {theirs * 1e3:.0f} ms without kept prefix: {times:.2f} ×{verdict}")
        settings = {"quant": options.quant, "threads": options.threads, "seconds": [ours, theirs]}
        demanded = None if target is None else f">= {target}"
        figures.append(Figure("kept_prefix", f"{name}, times faster", times, settings, checksum(path), demanded))
    if not options.trial and options.shape == "0.6b":
        print(f"rows in {append(figures, 'kept_prefix')}")


if __name__ == "__main__":
    main()
