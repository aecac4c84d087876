"""What does a cache of eight bits, or of 32, cost and save: in closeness to torch, in time, in memory?

    python benchmarks/cache_type.py [--quant q8_0] [--repeat 3]

The random 0.6B model of throughput.py with each `EngineOptions.cache_type`, over ragged texts, one text of 8,192
tokens and a rerank of 32 documents; in turns, and compared with torch's float32 result. Rows go to
benchmarks/results/cache_type.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from harness import append, machine_line
from random_models import SHAPES
from throughput import Entrant, Throughput, ratio

from qsift.engine import CacheType
from qsift.machine import cache_folder

WORKLOADS = ("mix", "n8192", "rerank32")


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quant", default="q8_0", help="of the weights")
    parser.add_argument("--repeat", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--threads", type=int, help="default: physical cores")
    parser.add_argument("--kernels", choices=["auto", "plain", "repacked"], default="auto", help="of llama.cpp's own")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "benchmarks", help="where the models are kept")
    parser.add_argument("--shape", choices=SHAPES, default="0.6b", help="tiny: to try the script; never recorded")
    parser.add_argument("--trial", action="store_true", help="record nothing, as on a machine that is busy")
    options = parser.parse_args()
    run = Throughput(options)
    print(f"{machine_line()}\n{options.shape} shape, random weights; {run.threads} threads")
    for workload in WORKLOADS:
        rows = run.rows(workload, [Entrant("qsift", options.quant, cache_type=kind) for kind in get_args(CacheType)])
        for row in rows[1:]:
            print(
                f"  {row.cache_type}: {ratio(row, rows[0]):.2f} times as fast as {rows[0].cache_type}, "
                f"{(row.peak_rss - rows[0].peak_rss) / 1e6:+.0f} MB"
            )
        if not options.trial and options.shape != "tiny":
            print(f"  recorded in {append(rows, 'cache_type').name}", file=sys.stderr)


if __name__ == "__main__":
    main()
