"""What does the accelerator gain over llama.cpp's own kernels, and how does it stand beside
torch, ONNX Runtime and OpenVINO?

    python benchmarks/accelerator.py [--repeat 5] [--trial]

Models of the 0.6B shape with random weights, each peer in a process of its own, compared with torch's
float32 result and then measured in turns. Rows go to benchmarks/results/accelerator.jsonl.
"""

from __future__ import annotations

import argparse

from contest import Entrant, Throughput, add_options, ratio
from harness import Row, machine_line

from qsift.engine.llama import accelerator
from qsift.engine.protocol import Accel

# The quants without the plug-in, of which the faster counts, then its modes, then others' engines.
ENTRANTS = [
    Entrant("qsift", "q6_k"),
    Entrant("qsift", "q8_0"),
    Entrant("qsift", "q8_0", "int8"),
    Entrant("qsift", "bf16", "bf16"),
    Entrant("torch bf16, batch 8", "torch bf16"),
    Entrant("ONNX Runtime int8, batch 8", "onnx int8"),
    Entrant("OpenVINO, batch 8", "openvino fp16"),
    Entrant("OpenVINO int8, batch 8", "openvino int8"),
]
# Workload, mode, what it is compared with, how many times as fast it must be.
TARGETS: list[tuple[str, Accel, str, float]] = [
    ("u128", "int8", "without", 2.2),
    ("u128", "bf16", "without", 1.9),
    ("mix", "int8", "without", 0),
    ("mix", "bf16", "without", 0),
    ("mix", "int8", "torch bf16, batch 8", 1.0),
    ("mix", "bf16", "torch bf16, batch 8", 0.85),
    ("mix", "int8", "ONNX Runtime int8, batch 8", 1.2),
    ("mix", "int8", "OpenVINO, batch 8", 0.95),
    ("mix", "int8", "OpenVINO int8, batch 8", 0.95),
    ("u128", "int8", "OpenVINO int8, batch 8", 1.0),
    ("single33", "int8", "without", 2.0),
    ("single33", "bf16", "without", 0),
]

MEMORY_TARGET = 0.55


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
        value, best = min((ratio(ours[0], row), str(Entrant(row.peer, row.quant))) for row in theirs)
        verdict = f"target {target}: {'met' if value >= target else 'MISSED'}" if target else "no target"
        print(f"  {workload:9} {mode:5} {value:5.2f} x {best:26} ({verdict})")
    sizes = {(row.peer, row.accel): row.peak_rss for row in measured if row.workload == "mix"}
    ours, theirs = sizes.get(("qsift", "int8")), sizes.get(("OpenVINO, batch 8", None))
    if ours and theirs:
        verdict = "met" if ours / theirs <= MEMORY_TARGET else "MISSED"
        print(f"Peak memory, mix, int8 beside OpenVINO: {ours / theirs:.2f} (target {MEMORY_TARGET}: {verdict})")


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default="u128,mix,single33", help="of u128, mix, single33")
    add_options(parser, repeat=5)
    options = parser.parse_args()
    run = Throughput(options)
    found = accelerator.load()
    print(f"{machine_line()}\noneDNN {found.onednn}, {found.instruction_set}; {run.threads} threads")
    measured: list[Row] = []
    for workload in options.workloads.split(","):
        part = run.rows(workload, ENTRANTS)
        measured += part
        run.record(part, "accelerator")
    print_ratios(measured)


if __name__ == "__main__":
    main()
