"""How fast is qsift beside the plain decode, Llama.embed and torch, on the same machine in one run?

    python benchmarks/throughput.py [--quants q8_0,q6_k] [--kernels plain] [--repeat 3]

Models of the 0.6B shape with random weights are made once (about 4 GB in the cache folder). Each
peer runs in a process of its own and is compared with torch's float32 result; then they take turns. Rows
go to benchmarks/results/throughput.jsonl.
"""

from __future__ import annotations

import re

from harness.command_line import list_of
from harness.rows import Row, machine_line, verdict
from harness.workloads import EMBED, RERANK
from peers.contest import Entrant, Throughput, contest_command, ratio
from peers.peer import PEERS, own_weights

from qsift.convert import QUANTS

# What two phases (and for reranking the shared prefix) must gain over the plain decode, without and with AMX.
TARGETS = {
    ("embed", False): ">= 1.3",
    ("embed", True): ">= 1.6",
    ("rerank", False): ">= 2.0",
    ("rerank", True): ">= 2.5",
}
WORKLOADS = (*EMBED, *RERANK)


def print_ratios(rows: list[Row], *, amx: bool) -> None:
    """Prints how many times faster qsift is than each peer, round by round, and whether the targets are met."""
    print("\nqsift's tokens per second divided by the peer's, median of the rounds")
    for ours in (row for row in rows if row.peer == "qsift"):
        print(f"  {ours.workload}, {ours.quant}")
        for row in rows:
            same_file = row.quant == ours.quant or row.quant not in QUANTS
            if row.workload != ours.workload or row.peer == "qsift" or not same_file:
                continue
            task = "embed" if row.workload in EMBED else "rerank"
            times, target = ratio(ours, row), TARGETS[task, amx] if row.peer == "single-phase" else None
            print(f"    {times:6.2f} × {row.peer}  {verdict(times, target)}")


def main() -> None:
    """Measures, prints and records."""
    parser = contest_command(__doc__, repeat=5)
    parser.add_argument("--quants", type=list_of(QUANTS), default=["q8_0"], metavar="Q,Q,…")
    parser.add_argument("--workloads", type=list_of(WORKLOADS), default=["u128", "mix", "rerank32"], metavar="W,W,…")
    parser.add_argument(
        "--peers",
        type=lambda text: re.split(",(?! )", text),  # a comma before a space belongs to a name
        default=[""],
        metavar="P,P,…",
        help=f"how their names begin: {'; '.join(PEERS)}",
    )
    options = parser.parse_args()
    run = Throughput(options)
    kernels = "repacked weights where llama.cpp has kernels for them" if run.repacked else "plain kernels"
    print(f"{machine_line()}\n{options.shape} shape, random weights; {run.threads} threads; llama.cpp with {kernels}")
    entrants = [
        Entrant(peer, quant)
        for peer in PEERS
        if peer.startswith(tuple(options.peers))
        for quant in own_weights(peer) or options.quants
    ]
    rows: list[Row] = []
    for workload in options.workloads:
        measured = run.rows(workload, entrants)
        rows += measured
        run.record(measured, "throughput")
    print_ratios(rows, amx=run.amx)


if __name__ == "__main__":
    main()
