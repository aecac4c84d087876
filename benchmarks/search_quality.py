"""How good is each stage of a search, and what do candidates and width cost?

    python benchmarks/search_quality.py FOLDER [--queries 1000] [--only stages|sweep] [--trial]

FOLDER is that of the demo pair's recipe (benchmarks/demo); its held-out package descriptions are indexed and
searched by their synopses, each of which has one right answer. Figures go to results/search_quality.jsonl, the
sweep over candidates and widths to results/search_quality.png.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import numpy as np
from demo.measures import RetrievalSet, descriptions, ndcg, recall
from demo.pairs import Pairs
from harness.command_line import command, record
from harness.rows import RESULTS, Figure, machine_line, verdict

from qsift import Document, Embedder, EngineOptions, IndexOptions, Reranker, SearchIndex, SearchPipeline
from qsift.hub import BUNDLED, checksum
from qsift.search import ORDERS, Mode, ranking
from qsift.search.ranking import Order

CANDIDATES = 50
GAIN = 0.03
"""What the second stage must add to nDCG@10."""
CONSTANTS = (1, 2, 5, 10, 20, 60)
SWEPT_CANDIDATES = (10, 20, 50, 100, 200)
SWEPT_WIDTHS = (32, 64, 128, 256)
SWEPT_QUERIES = 20
NOWHERE = 1 << 30


def embedder_of(index: SearchIndex) -> Embedder:
    """Returns what an index was opened with."""
    assert index.embedder is not None
    return index.embedder


def pipeline_of(index: SearchIndex, reranker: Reranker | None) -> SearchPipeline:
    """Returns the search in an index, with a second stage or without."""
    return SearchPipeline(embedder_of(index), reranker, index)


class Report:
    """Prints each figure and keeps it as a row."""

    def __init__(self) -> None:
        self.rows: list[Figure] = []
        self._digest = checksum(BUNDLED / "demo-embedding.gguf")

    def __call__(self, name: str, value: float, at_least: float | None = None, **settings: object) -> None:
        """Takes a figure and what it depends on, and holds it against its target."""
        target = None if at_least is None else f">= {at_least:.4f}"
        told = " ".join(f"{setting}={chosen}" for setting, chosen in settings.items())
        print(f"  {name:28} {value:8.4f}  {told}  {verdict(value, target)}", flush=True)
        self.rows.append(Figure("search_quality", name, round(value, 4), settings, self._digest, target))


def place(sources: Iterable[str], right: int) -> int:
    """Returns where the right document is first met, from 0; documents count once."""
    return {source: rank for rank, source in enumerate(dict.fromkeys(sources))}.get(str(right), NOWHERE)


def first_stage(
    index: SearchIndex,
    queries: list[str],
    vectors: np.ndarray,
    mode: Mode,
    start: int = 0,
    candidates: int = CANDIDATES,
) -> np.ndarray:
    """Returns where one mode of the index puts the answers to the queries, the first of which has the number start."""
    found = []
    for number, (query, vector) in enumerate(zip(queries, vectors, strict=True), start):
        hits = index.search(vector, query, candidates=candidates, mode=mode)
        found.append(place((hit.passage.source for hit in hits), number))
    return np.array(found)


def stages(report: Report, texts: RetrievalSet, index: SearchIndex, reranker: Reranker, n: int) -> None:
    """Measures both parts of the first stage, their fusion, and the second stage."""
    queries = texts.queries[:n]
    vectors = embedder_of(index).encode_query(queries)
    reached: dict[Mode, float] = {}
    modes: tuple[Mode, ...] = ("vector", "text", "hybrid")
    for mode in modes:
        places = first_stage(index, queries, vectors, mode)
        bound = max(reached.values()) if mode == "hybrid" else None
        reached[mode] = ndcg(places)
        report("nDCG@10", reached[mode], bound, stage=mode, queries=n)
        report("recall@50", recall(places, CANDIDATES), stage=mode, queries=n)
    pipeline = pipeline_of(index, reranker)
    found: dict[Order, list[int]] = {order: [] for order in ORDERS}
    for number, query in enumerate(queries):
        hits = pipeline.search(query, top_k=CANDIDATES)
        found["both"].append(place((hit.passage.source for hit in hits), number))
        hits.sort(key=lambda hit: -(hit.score or 0))  # what order="score" gives, as all candidates are here
        found["score"].append(place((hit.passage.source for hit in hits), number))
    for order, answers in found.items():
        bound = reached["hybrid"] + GAIN if order == "both" else None
        report("nDCG@10", ndcg(np.array(answers)), bound, stage="two-stage", order=order, queries=n)


def constants(report: Report, texts: RetrievalSet, index: SearchIndex, start: int, n: int) -> None:
    """Measures the fusion with other constants, on queries that the other figures are not measured on."""
    queries = texts.queries[start : start + n]
    vectors = embedder_of(index).encode_query(queries)
    chosen = ranking.RRF_K
    for constant in CONSTANTS:
        ranking.RRF_K = constant
        report("nDCG@10", ndcg(first_stage(index, queries, vectors, "hybrid", start)), k=constant, queries=n)
    ranking.RRF_K = chosen


def sweep(report: Report, texts: RetrievalSet, index: SearchIndex, reranker: Reranker, width: int) -> None:
    """Measures recall of the first stage and latency of both together for each number of candidates."""
    queries = texts.queries[:1000]
    vectors = embedder_of(index).encode_query(queries)
    for mode in get_args(Mode)[:2]:
        places = first_stage(index, queries, vectors, mode, candidates=max(SWEPT_CANDIDATES))
        for candidates in SWEPT_CANDIDATES:
            report("recall", recall(places, candidates), stage=mode, width=width, candidates=candidates)
    for stage, second in (("hybrid", None), ("two-stage", reranker)):
        pipeline = pipeline_of(index, second)
        for candidates in SWEPT_CANDIDATES:
            took = []
            for query in queries[:SWEPT_QUERIES]:
                started = time.perf_counter()
                pipeline.search(query, candidates=candidates)
                took.append((time.perf_counter() - started) * 1000)
            report("latency p50, ms", statistics.median(took), stage=stage, width=width, candidates=candidates)


def plot(rows: list[Figure], path: Path) -> None:
    """Draws the sweep: recall and latency against candidates, a line for each width."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    panels = (
        (("recall", "vector", "--"), ("recall", "hybrid", "-")),
        (
            ("latency p50, ms", "hybrid", "--"),
            ("latency p50, ms", "two-stage", "-"),
        ),
    )
    for axis, curves in zip(axes, panels, strict=True):
        for name, stage, style in curves:
            for number, width in enumerate(SWEPT_WIDTHS):
                points = [
                    (row.settings["candidates"], row.value)
                    for row in rows
                    if row.name == name and (row.settings.get("stage"), row.settings.get("width")) == (stage, width)
                ]
                label = f"{width} wide, {stage}" if width == SWEPT_WIDTHS[-1] or style == "-" else None
                axis.plot(*zip(*points, strict=True), style, color=f"C{number}", marker="o", markersize=3, label=label)
        axis.set(xscale="log", xlabel="candidates", xticks=SWEPT_CANDIDATES, xticklabels=SWEPT_CANDIDATES)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set(ylabel="share of queries whose answer is a candidate", title="First stage: recall")
    axes[1].set(ylabel="ms for a query, median", yscale="log", title="Latency with the query's embedding")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measures, prints, records and draws."""
    parser = command(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--only", choices=("stages", "sweep"), help="one half; the first needs no quiet machine")
    parser.add_argument("--threads", type=int, help="default: qsift's")
    options = parser.parse_args()
    print(machine_line())
    report, texts = Report(), descriptions(Pairs.read(options.folder))
    engine = EngineOptions(threads=options.threads)
    with (
        tempfile.TemporaryDirectory() as folder,
        Embedder.load("demo-embedding", options=engine) as embedder,
        Reranker.load("demo-reranker", options=engine) as reranker,
    ):
        for width in SWEPT_WIDTHS if options.only != "stages" else (embedder.width,):
            with SearchIndex.open(f"{folder}/{width}", embedder, options=IndexOptions(truncate_dim=width)) as index:
                index.update([Document.of_text(text, str(number)) for number, text in enumerate(texts.documents)])
                if width == embedder.width and options.only != "sweep":
                    stages(report, texts, index, reranker, options.queries)
                    constants(report, texts, index, options.queries, 2 * options.queries)
                if options.only != "stages":
                    sweep(report, texts, index, reranker, width)
    record(report.rows, "search_quality", options)
    if not options.trial and options.only != "stages":
        plot(report.rows, RESULTS / "search_quality.png")


if __name__ == "__main__":
    main()
