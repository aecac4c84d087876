"""What does a cache of eight bits, or of 32, cost and save: in closeness to torch, in time, in memory?

    python benchmarks/cache_type.py [--quant q8_0] [--repeat 3]

The random 0.6B model of throughput.py with each `EngineOptions.cache_type`, over ragged texts, one text of 4,096
tokens and a rerank of 32 documents; in turns, and compared with torch's float32 result. Rows go to
benchmarks/results/cache_type.jsonl.
"""

from __future__ import annotations

from typing import get_args

from harness.command_line import add_quant
from harness.rows import machine_line
from peers.contest import Entrant, Throughput, contest_command, ratio

from qsift.engine import CacheType

WORKLOADS = ("mix", "n4096", "rerank32")


def main() -> None:
    """Measures, prints and records."""
    parser = contest_command(__doc__, repeat=3)
    add_quant(parser)
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
        run.record(rows, "cache_type")


if __name__ == "__main__":
    main()
