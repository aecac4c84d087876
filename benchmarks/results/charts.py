"""Draws throughput.png from the newest rows of throughput.jsonl, both beside this file.

    python benchmarks/results/charts.py

Only rows of the machine that measured last are drawn, each pair of workload and peer once: the newest. What was not
measured is not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

RESULTS = Path(__file__).parent
Row = dict[str, Any]
QUANT = "q6_k"
"""What the peers that read a GGUF are compared in."""
LINES = {
    "qsift": "#0b6e4f",
    "xllamacpp": "#c1553b",
    "sentence-transformers fp32, batch 8": "#4a6fa5",
    "torch fp32, batch 8": "#4a6fa5",
    "single-phase": "#9a8c5a",
}
"""Peers that stand in several panels, and their colours."""
OTHER = "#b7b7b7"


def newest(rows: Iterable[Row]) -> list[Row]:
    """Returns the rows of the last row's machine, the newest of each kind."""
    every = list(rows)
    machine = _machine(every[-1])
    kinds = ("workload", "peer", "quant", "threads", "accel", "kernels")
    return list({tuple(row[kind] for kind in kinds): row for row in every if _machine(row) == machine}.values())


def _machine(row: Row) -> Any:
    facts = row["machine"]
    return facts["cpu"], facts.get("cpu_features"), facts["cores"]


def compared(rows: Iterable[Row], beginning: str, threads: int) -> list[Row]:
    """Returns the rows of workloads that begin so, of QUANT or of weights of their own."""
    own = ("torch", "onnx", "openvino")
    return [
        row
        for row in rows
        if row["workload"].startswith(beginning)
        and row["threads"] == threads
        and (row["quant"] == QUANT or row["quant"].startswith(own))
    ]


def lines(axes: Axes, rows: list[Row], beginning: str, value: Callable[[Row], float]) -> None:
    """Draws a line for each of LINES over the number behind the workloads' beginning."""
    for peer, colour in LINES.items():
        points = sorted(
            (int(row["workload"].removeprefix(beginning)), value(row)) for row in rows if row["peer"] == peer
        )
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=peer)
    axes.legend(frameon=False, fontsize=8)


def bars(axes: Axes, values: dict[str, float], colour: Callable[[str], str]) -> None:
    """Draws a bar for each name, the largest at the top, with its figure."""
    names = sorted(values, key=values.__getitem__)
    drawn = axes.barh(names, [values[name] for name in names], color=[colour(name) for name in names])
    axes.bar_label(drawn, fmt="%.0f", padding=3, fontsize=8)
    axes.margins(x=0.12)


def main() -> None:
    """Draws."""
    rows = newest(json.loads(line) for line in (RESULTS / "throughput.jsonl").read_text().splitlines())
    facts, cores = rows[-1]["machine"], rows[-1]["machine"]["cores"]
    figure, panels = plt.subplots(2, 3, figsize=(16, 8.5), layout="constrained")
    can = ", ".join(facts.get("cpu_features") or ())
    figure.suptitle(f"0.6B shape, {cores} cores of an {facts['cpu']} ({can}); GGUF: {QUANT.upper()}", fontsize=13)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)

    mix = {row["peer"]: row["tokens_per_second"] for row in compared(rows, "mix", cores)}
    bars(panels[0, 0], mix, lambda name: LINES.get(name, OTHER))
    panels[0, 0].set_title("64 texts of ragged length, tokens a second")

    by_length = [row for row in compared(rows, "n", cores)]
    lines(panels[0, 1], by_length, "n", lambda row: row["tokens_per_second"])
    panels[0, 1].set(title="Texts of one length, tokens a second", xlabel="tokens of a text", ylim=(0, None))
    lines(panels[0, 2], by_length, "n", lambda row: row["peak_rss"] / 1e9)
    panels[0, 2].set(title="Peak memory, GB", xlabel="tokens of a text", ylim=(0, None))
    for axes in (panels[0, 1], panels[0, 2]):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")

    reranked = compared(rows, "rerank", cores)
    lines(panels[1, 0], reranked, "rerank", lambda row: sorted(row["seconds"])[len(row["seconds"]) // 2])
    panels[1, 0].set(title="Rerank one query, seconds", xlabel="documents of about 150 tokens", ylim=(0, None))

    u128 = [row for row in rows if row["workload"] == "u128" and row["peer"] == "qsift" and not row["accel"]]
    quants = {row["quant"]: row["tokens_per_second"] for row in u128 if row["threads"] == cores}
    bars(panels[1, 1], quants, lambda name: LINES["qsift"] if name == QUANT else OTHER)
    panels[1, 1].set_title("qsift by quant, 16 texts of 128 tokens, tokens a second")

    for peer, colour in LINES.items():
        kind = [row for row in rows if row["workload"] == "u128" and row["peer"] == peer]
        points = sorted(
            (row["threads"], row["tokens_per_second"]) for row in kind if row["quant"] in (QUANT, "torch fp32")
        )
        if len(points) > 1:
            panels[1, 2].plot(*zip(*points, strict=True), marker="o", color=colour, label=peer)
    panels[1, 2].set(title="By threads, 16 texts of 128 tokens, tokens a second", xlabel="threads", ylim=(0, None))
    panels[1, 2].set_xticks(range(1, cores + 1))
    panels[1, 2].legend(frameon=False, fontsize=8)
    path = RESULTS / "throughput.png"
    figure.savefig(path, dpi=110)
    print(path)


if __name__ == "__main__":
    main()
