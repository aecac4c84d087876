"""What does the accelerator gain over llama.cpp's own kernels, and how does it stand beside
torch, ONNX Runtime and OpenVINO?

    python benchmarks/accelerator.py [--repeat 5] [--trial] [--among "exact|OpenVINO"] [--neighbour]

Models of the 0.6B shape with random weights, each peer in a process of its own, compared with torch's
float32 result and then measured in turns. Rows go to benchmarks/results/accelerator.jsonl, but not where
$QSIFT_ACCEL_ISA holds qsift, or $ONEDNN_MAX_CPU_ISA its peers, to fewer instructions than the CPU has, and not
beside a neighbour, which keeps a core busy.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from harness.command_line import list_of
from harness.rows import Row, machine_line, verdict
from peers.contest import Entrant, Throughput, contest_command, ratio

from qsift.engine import Accel
from qsift.engine.llama import accelerator

# The same file without the plug-in and with it, and what others run on.
LONG = [
    Entrant("qsift", "q8_0"),
    Entrant("qsift", "q8_0", "exact"),
    Entrant("qsift", "bf16", "bf16"),
    Entrant("torch bf16, batch 8", "torch bf16"),
]
# The quants without the plug-in, of which the faster counts, then its modes, then others' engines.
SHORT = [
    *LONG,
    Entrant("qsift", "q6_k"),
    Entrant("qsift", "q8_0", "int8"),
    Entrant("ONNX Runtime int8, batch 8", "onnx int8"),
    Entrant("OpenVINO, batch 8", "openvino fp16"),
    Entrant("OpenVINO int8, batch 8", "openvino int8"),
]
ENTRANTS = {
    "u128": SHORT,
    "mix": SHORT,
    "single33": SHORT,
    "rerank50": [*LONG, Entrant("xllamacpp", "q8_0")],
    "n2048": LONG,
    "n8192": LONG,
}
# By workload and what it is compared with: how many times as fast each mode must be, where something is demanded.
TARGETS: dict[tuple[str, str], dict[Accel, str | None]] = {
    ("u128", "without"): {"exact": None, "int8": ">= 2.2", "bf16": ">= 1.9"},
    ("u128", "ONNX Runtime int8, batch 8"): {"exact": ">= 0.95"},
    ("u128", "OpenVINO int8, batch 8"): {"exact": None, "int8": ">= 1.0"},
    ("mix", "same file"): {"exact": ">= 2.8"},
    ("mix", "without"): {"exact": None, "int8": None, "bf16": None},
    ("mix", "torch bf16, batch 8"): {"exact": ">= 1.8", "int8": ">= 1.0", "bf16": ">= 0.85"},
    ("mix", "ONNX Runtime int8, batch 8"): {"exact": ">= 1.0", "int8": ">= 1.2"},
    ("mix", "OpenVINO, batch 8"): {"exact": ">= 1.6", "int8": ">= 0.95"},
    ("mix", "OpenVINO int8, batch 8"): {"exact": ">= 1.4", "int8": ">= 0.95"},
    ("single33", "same file"): {"exact": ">= 2.2"},
    ("single33", "without"): {"exact": None, "int8": ">= 2.0", "bf16": None},
    ("rerank50", "same file"): {"exact": None, "bf16": None},
    ("rerank50", "xllamacpp"): {"exact": ">= 6.0"},
    ("rerank50", "torch bf16, batch 8"): {"exact": ">= 2.0", "bf16": None},
    ("n2048", "same file"): {"exact": ">= 2.0", "bf16": None},
    ("n2048", "torch bf16, batch 8"): {"exact": ">= 1.0", "bf16": None},
    ("n8192", "same file"): {"exact": ">= 2.0", "bf16": None},
    ("n8192", "torch bf16, batch 8"): {"exact": ">= 1.0", "bf16": None},
}
MEMORY_TARGETS: dict[tuple[Accel, str], str] = {
    ("exact", "OpenVINO int8, batch 8"): "<= 0.7",
    ("int8", "OpenVINO, batch 8"): "<= 0.55",
}


def print_ratios(measured: list[Row]) -> None:
    """Prints each target beside what was measured; without the plug-in, the faster quant counts."""
    print("\nTimes as fast, median of the rounds")
    for (workload, against), targets in TARGETS.items():
        here = [row for row in measured if row.workload == workload]
        if not here:
            continue
        plain = [row for row in here if row.peer == "qsift" and not row.accel]
        groups = {"without": plain, "same file": [row for row in plain if row.quant == "q8_0"]}
        theirs = groups.get(against) or [row for row in here if row.peer == against]
        for mode, target in targets.items():
            ours = [row for row in here if row.accel == mode]
            if not ours or not theirs:
                print(f"  {workload:9} {mode:5} not measured against {against}")
                continue
            value, best = min((ratio(ours[0], row), str(Entrant(row.peer, row.quant))) for row in theirs)
            print(f"  {workload:9} {mode:5} {value:5.2f} x {best:26} {verdict(value, target)}")
    sizes = {(row.peer, row.accel): row.peak_rss for row in measured if row.workload == "mix"}
    for (mode, peer), target in MEMORY_TARGETS.items():
        our_size, their_size = sizes.get(("qsift", mode)), sizes.get((peer, None))
        if our_size and their_size:
            share = our_size / their_size
            print(f"Peak memory, mix, {mode} beside {peer}: {share:.2f} {verdict(share, target)}")


@contextmanager
def neighbour() -> Iterator[None]:
    """Keeps the first core busy for the block, with a process that takes its turns there like any other."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measures, prints and records."""
    parser = contest_command(__doc__, repeat=5)
    parser.add_argument("--workloads", type=list_of(tuple(ENTRANTS)), default=list(ENTRANTS), metavar="W,W,…")
    parser.add_argument("--among", default="", help="of those who can be measured: a regular expression on names")
    parser.add_argument("--neighbour", action="store_true", help="beside a process that keeps a core busy (Linux)")
    options = parser.parse_args()
    held = {name: os.environ[name] for name in ("ONEDNN_MAX_CPU_ISA", "QSIFT_ACCEL_ISA") if name in os.environ}
    options.trial |= bool(held) or options.neighbour
    run = Throughput(options)
    found = accelerator.load()
    print(f"{machine_line()}\n{found.kernels}, oneDNN {found.open_onednn()}; {run.threads} threads")
    if options.trial:
        print(f"Nothing is recorded. Held: {held or 'to nothing'}.")
    measured: list[Row] = []
    with neighbour() if options.neighbour else nullcontext():
        for workload in options.workloads:
            entrants = [one for one in ENTRANTS[workload] if re.search(options.among, str(one))]
            part = run.rows(workload, entrants)
            measured += part
            run.record(part, "accelerator")
    print_ratios(measured)


if __name__ == "__main__":
    main()
