"""What does the accelerator gain over llama.cpp's own kernels, and how does it stand beside torch?

    python benchmarks/accelerator.py [--repeat 5] [--trial]

Models of the 0.6B shape with random weights, each peer in a process of its own, compared with torch's
float32 result and then measured in turns. Rows go to benchmarks/results/accelerator.jsonl.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from harness import Child, PeerFailed, Row, append, machine_line
from peers import Job
from random_models import SHAPES, checkpoint, gguf
from throughput import TOLERANCES, Contestant, Throughput
from workloads import EMBED

from qsift import accelerator
from qsift.checksums import checksum
from qsift.engine import Accel
from qsift.machine import cache_folder

# Peer, weights, mode: the quants without the plug-in, of which the faster counts, then its modes, then torch.
CONTESTANTS: list[tuple[str, str, Accel]] = [
    ("qsift", "q6_k", "off"),
    ("qsift", "q8_0", "off"),
    ("qsift", "q8_0", "int8"),
    ("qsift", "bf16", "bf16"),
    ("torch bf16, batch 8", "torch bf16", "off"),
]
# Workload, mode, what it is compared with, how many times as fast it must be.
TARGETS: list[tuple[str, Accel, str, float]] = [
    ("u128", "int8", "without", 2.2),
    ("u128", "bf16", "without", 1.9),
    ("mix", "int8", "without", 0),
    ("mix", "bf16", "without", 0),
    ("mix", "int8", "torch bf16, batch 8", 1.0),
    ("mix", "bf16", "torch bf16, batch 8", 0.85),
    ("single33", "int8", "without", 2.0),
    ("single33", "bf16", "without", 0),
]


def rows(run: Throughput, workload: str) -> Iterator[Row]:
    """Yields a row for each contestant that is right, measured in turns."""
    source = checkpoint(run.folder, "embed", run.options.shape)
    reference = str(run.reference(workload, source))
    n_tokens = EMBED[workload]().n_tokens
    print(f"\n{workload}: {n_tokens} tokens", flush=True)
    contestants = []
    for peer, quant, accel in CONTESTANTS:
        model = source if peer.startswith("torch") else gguf(run.folder, "embed", run.options.shape, quant)
        job = Job(peer, workload, str(model), run.threads, run.repacked, reference, TOLERANCES[quant][0], accel)
        child = Child("peers.py")
        try:
            check = child.ask(asdict(job))
        except PeerFailed as error:
            print(f"  {label(peer, quant, accel):26} not measured: {error}", flush=True)
            child.close()
            continue
        digest = None if peer.startswith("torch") else checksum(model)
        contestants.append(Contestant(job, quant, digest, child, check))
    for _ in range(run.options.repeat):
        for contestant in contestants:
            contestant.measure()
    for contestant in contestants:
        contestant.child.close()
        row = run.row(contestant, n_tokens)
        ((name, value),) = row.check.items()
        milliseconds = 1e3 * statistics.median(row.seconds)
        print(
            f"  {label(row.peer, row.quant, contestant.job.accel):26} {row.tokens_per_second:7.1f} tokens/s "
            f"{milliseconds:9.1f} ms {row.peak_rss / 1e6:6.0f} MB  {name} {value:.5f}",
            flush=True,
        )
        yield row


def label(peer: str, quant: str, accel: str) -> str:
    """Returns how a contestant is called in the table."""
    return peer if peer.startswith("torch") else f"qsift {quant}, {accel}"


def ratio(ours: Row, theirs: Row) -> float:
    """Returns how many times as fast we are, round by round, in the median."""
    return statistics.median(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True))


def print_ratios(measured: list[Row]) -> None:
    """Prints each target beside what was measured; without the plug-in, the faster quant counts."""
    print("\nTimes as fast, median of the rounds")
    for workload, mode, against, target in TARGETS:
        here = [row for row in measured if row.workload == workload]
        ours = [row for row in here if row.accel == mode]
        theirs = [
            row for row in here if row.peer == against or (against == "without" and row.kernels and not row.accel)
        ]
        if not ours or not theirs:
            print(f"  {workload:9} {mode:5} not measured against {against}")
            continue
        value, best = min((ratio(ours[0], row), label(row.peer, row.quant, "off")) for row in theirs)
        verdict = f"target {target}: {'met' if value >= target else 'MISSED'}" if target else "no target"
        print(f"  {workload:9} {mode:5} {value:5.2f} x {best:22} ({verdict})")


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default="u128,mix,single33", help="of u128, mix, single33")
    parser.add_argument("--repeat", type=int, default=5, help="rounds, of which the median counts")
    parser.add_argument("--threads", type=int, help="default: physical cores")
    parser.add_argument("--kernels", choices=["auto", "plain", "repacked"], default="auto", help="of llama.cpp's own")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "benchmarks", help="where the models are kept")
    parser.add_argument("--shape", choices=SHAPES, default="0.6b", help="tiny: to try the script; never recorded")
    parser.add_argument("--trial", action="store_true", help="record nothing, as on a machine that is busy")
    options = parser.parse_args()
    run = Throughput(options)
    found = accelerator.load()
    print(f"{machine_line()}\noneDNN {found.onednn}, {found.instruction_set}; {run.threads} threads")
    measured: list[Row] = []
    for workload in options.workloads.split(","):
        part = list(rows(run, workload))
        measured += part
        if not options.trial and options.shape != "tiny":
            print(f"  recorded in {append(part, 'accelerator').name}", file=sys.stderr)
    print_ratios(measured)


if __name__ == "__main__":
    main()
