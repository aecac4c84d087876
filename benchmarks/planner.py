"""How far are the planner's batches from the best ones, on texts of ragged lengths?

    python benchmarks/planner.py [--quant q8_0] [--repeat 3]

The costs of decode calls of many compositions are measured with the random 0.6B model of throughput.py, and a cost
model is fitted to them: a pass over the weights, a token, a sequence, a token's attention over a cell. Under that
model the planner's batches of lognormal lengths (8 to 2,000 tokens) are compared with the best ones: for a few texts
among all ways to part them, for many among all ways to cut the sorted list, found by dynamic programming. Both are
then run. It draws results/planner.png.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from harness.command_line import add_accel, add_models, add_quant, command, is_trial, record
from harness.rows import RESULTS, Figure, machine_line, verdict
from models.random_weights import gguf

from qsift import Embedder, EngineOptions
from qsift.engine import Engine
from qsift.engine.batching import Limits, plan
from qsift.engine.llama.context import DEFAULT_BATCH_TOKENS, MAX_SEQUENCES, MICRO_BATCH
from qsift.hub import checksum

Lengths = Sequence[int]
Batches = list[list[int]]  # positions of the texts of each call

LARGEST = 4096
"""Tokens of a call that holds any composition that is measured."""
GAP_LIMIT = "<= 1.05"
SWEEP = (128, 256, 512, 1024, 2048, 4096)
COMPOSITIONS = [
    *([n] * count for n in (8, 32, 128) for count in (1, 4, 16)),
    *([n] * count for n in (512, 1000) for count in (1, 2, 4)),
    [2000],
    [2000, 1000, 500, 250, 125, 60, 30],
    [300, 200, 100, 50, 25, 12] * 2,
]


def ragged(count: int, seed: int) -> list[int]:
    """Returns lognormal lengths (σ 1, median 110), 8 to 2,000."""
    lengths = np.exp(np.random.default_rng(seed).normal(np.log(110), 1, count))
    return [int(length) for length in np.clip(np.round(lengths), 8, 2000)]


def features(lengths: Lengths) -> list[float]:
    """Returns what a call's cost is made of: passes over the weights, tokens, sequences, token-cell pairs.

    llama.cpp computes a call in micro-batches; each token of one attends over all cells that are filled by then.
    The last tokens are a pass of their own.
    """
    tokens, count = sum(lengths), len(lengths)
    ends = [min(start + MICRO_BATCH, tokens) for start in range(0, tokens, MICRO_BATCH)]
    pairs = sum((end - MICRO_BATCH * number) * end for number, end in enumerate(ends))
    return [-(-(tokens - count) // MICRO_BATCH) + 1, tokens, count, pairs]


def sequences(lengths: Lengths, seed: int) -> list[np.ndarray]:
    """Returns random token ids of these lengths."""
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 20_000, length).astype(np.int32) for length in lengths]


def seconds(engine: Engine, batches: Sequence[Sequence[np.ndarray]], repeat: int) -> float:
    """Returns the median seconds of decoding these batches, a call each; ends the script on a wrong row."""
    found = []
    for _ in range(repeat):
        start = time.perf_counter()
        rows = [engine.decode(batch) for batch in batches]
        found.append(time.perf_counter() - start)
        if not all(np.isfinite(part).all() for part in rows):
            raise SystemExit("A row is not finite.")
    return statistics.median(found)


def fitted(engine: Engine, repeat: int) -> tuple[np.ndarray, float]:
    """Returns the cost of each feature in seconds, none below 0, and the median relative error of the fit."""
    engine.decode(sequences([512], 0))
    costs = np.array([seconds(engine, [sequences(lengths, 1)], repeat) for lengths in COMPOSITIONS])
    table = np.array([features(lengths) for lengths in COMPOSITIONS], float)
    # By relative error, so that short calls count as much as long ones. What comes out negative is left out.
    kept = list(range(table.shape[1]))
    while True:
        solution = np.linalg.lstsq(table[:, kept] / costs[:, None], np.ones(len(costs)), rcond=None)[0]
        if solution.min() >= 0:
            break
        del kept[int(solution.argmin())]
    weights = np.zeros(table.shape[1])
    weights[kept] = solution
    return weights, float(np.median(np.abs(table @ weights / costs - 1)))


def cost(weights: np.ndarray, lengths: Lengths, batches: Batches) -> float:
    """Returns the seconds of batches under the model."""
    return sum(float(np.dot(weights, features([lengths[i] for i in batch]))) for batch in batches)


def planned(lengths: Lengths, tokens: int = DEFAULT_BATCH_TOKENS) -> Batches:
    """Returns the planner's batches."""
    groups = plan(sequences(lengths, 2), Limits(tokens, MAX_SEQUENCES - 1), share_prefixes=False)
    return [list(batch) for group in groups for batch in group.batches]


def best_cut(weights: np.ndarray, lengths: Lengths) -> Batches:
    """Returns the cheapest way to cut the list, sorted by length, into calls."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    cheapest, cuts = [0.0], [0]
    for end in range(1, len(order) + 1):
        options = [
            (cheapest[start] + cost(weights, lengths, [order[start:end]]), start)
            for start in range(max(end - MAX_SEQUENCES + 1, 0), end)
            if sum(lengths[i] for i in order[start:end]) <= LARGEST
        ]
        least, start = min(options)
        cheapest.append(least)
        cuts.append(start)
    batches, end = [], len(order)
    while end:
        batches.append(order[cuts[end] : end])
        end = cuts[end]
    return batches[::-1]


def partitions(items: list[int]) -> Iterator[Batches]:
    """Yields every way to part items into batches."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for batches in partitions(rest):
        yield [[first], *batches]
        for i in range(len(batches)):
            yield [*batches[:i], [first, *batches[i]], *batches[i + 1 :]]


def exhaustive_gap(weights: np.ndarray, seeds: int) -> float:
    """Returns how much the best cut costs beside the best of all partitions of eight texts, at most."""
    worst = 1.0
    for seed in range(seeds):
        lengths = ragged(8, seed)
        best = min(cost(weights, lengths, batches) for batches in partitions(list(range(8))))
        worst = max(worst, cost(weights, lengths, best_cut(weights, lengths)) / best)
    return worst


def draw(path: Path, weights: np.ndarray, samples: Sequence[Lengths]) -> None:
    """Draws the cost beside the best cut's against the tokens that a call may hold."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    best = [cost(weights, lengths, best_cut(weights, lengths)) for lengths in samples]
    curves = [
        [cost(weights, lengths, planned(lengths, tokens)) / least for tokens in SWEEP]
        for lengths, least in zip(samples, best, strict=True)
    ]
    figure, axes = pyplot.subplots(figsize=(6, 3.2), dpi=100)
    for curve in curves:
        axes.plot(SWEEP, curve, color="tab:blue", alpha=0.3)
    axes.plot(SWEEP, np.median(curves, axis=0), "o-", color="tab:blue", label="planner, median of the samples")
    axes.axhline(1, color="black", linewidth=0.8, label="best of the sweep")
    axes.axvline(DEFAULT_BATCH_TOKENS, color="gray", linestyle=":", label="default")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="tokens that a decode call may hold", ylabel="cost beside the best", xticks=SWEEP)
    axes.set_xticklabels([str(tokens) for tokens in SWEEP])
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measures, prints, draws and records."""
    parser = command(__doc__, repeat=3)
    add_models(parser)
    add_quant(parser)
    add_accel(parser)
    parser.add_argument("--texts", type=int, default=64, help="of each sample")
    parser.add_argument("--samples", type=int, default=12)
    options = parser.parse_args()
    print(machine_line())
    path = gguf(options.folder, "embed", options.shape, options.quant)
    engine_options = EngineOptions(
        "cpu", threads=options.threads, batch_tokens=LARGEST, share_prefixes=False, accel=options.accel
    )
    samples = [ragged(options.texts, seed) for seed in range(options.samples)]
    with Embedder.load(path, options=engine_options) as embedder:
        weights, error = fitted(embedder.engine, options.repeat)
        names = ("pass", "token", "sequence", "token × cell")
        told = ", ".join(f"{name} {weight * 1e6:.3g} µs" for name, weight in zip(names, weights, strict=True))
        print(f"cost model: {told} (median error {error:.1%})")
        print(
            f"best cut of the sorted list beside the best of all partitions: {exhaustive_gap(weights, 5):.4f} at most"
        )
        gaps = [cost(weights, one, planned(one)) / cost(weights, one, best_cut(weights, one)) for one in samples]
        print(f"planner beside the best cut, by the model: {statistics.median(gaps):.4f}, at most {max(gaps):.4f}")
        ids = sequences(samples[0], 3)
        both = planned(samples[0]), best_cut(weights, samples[0])
        theirs = [[[ids[i] for i in batch] for batch in batches] for batches in both]
        # In turns, so that a machine that slows down slows both.
        turns = [[seconds(embedder.engine, batches, 1) for batches in theirs] for _ in range(options.repeat)]
        real = statistics.median(ours / best for ours, best in turns)
    print(f"planner beside the best cut, measured: {real:.4f} {verdict(real, GAP_LIMIT)}")
    if not is_trial(options):
        draw(RESULTS / "planner.png", weights, samples)
        settings = {name: getattr(options, name) for name in ("quant", "threads", "accel", "texts")}
        settings |= dict(zip(names, weights.tolist(), strict=True)) | {"fit_error": error}
        digest = checksum(path)
        rows = [
            Figure("planner", "planner beside the best cut, by the model", statistics.median(gaps), settings, digest),
            Figure("planner", "planner beside the best cut, measured", real, settings, digest, GAP_LIMIT),
        ]
        record(rows, "planner", options)


if __name__ == "__main__":
    main()
