"""How fast is qsift beside the plain decode, Llama.embed and torch, on the same machine in one run?

    python benchmarks/throughput.py [--quants q8_0,q6_k] [--kernels plain] [--repeat 3]

Models of the 0.6B shape with random weights are made once (about 4 GB in the cache folder). Each
peer runs in a process of its own, is compared with torch's float32 result, and only then timed. Rows
go to benchmarks/results/throughput.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import PeerFailed, Row, append, in_child, machine_line, sha256
from peers import PEERS, Job, rerank_ids
from qsift.convert import QUANTS
from random_models import SHAPES, checkpoint, gguf
from workloads import EMBED, rerank32

from qsift import EngineOptions
from qsift.machine import cache_folder, physical_cores
from qsift.selfcheck import amx_is_possible, extra_buffers
from qsift.specs import Task

# Smallest cosine and largest difference of a score that still are the same computation: random
# weights quantise worse than trained ones, so these are wider than the parity suite's bounds.
TOLERANCES = {
    "f32": (0.9999, 0.002),
    "f16": (0.9999, 0.002),
    "bf16": (0.9995, 0.01),
    "q8_0": (0.995, 0.03),
    "q6_k": (0.98, 0.08),
    "q5_k_m": (0.95, 0.15),
    "q4_k_m": (0.88, 0.3),
    "q4_0": (0.80, 0.4),
    "iq4_xs": (0.85, 0.3),
    "torch fp32": (0.9999, 0.001),
    "torch bf16": (0.999, 0.05),
}
# What two phases (and for reranking the shared prefix) must gain over the plain decode, without and with AMX.
TARGETS = {("embed", False): 1.3, ("embed", True): 1.6, ("rerank", False): 2.0, ("rerank", True): 2.5}
WORKLOADS = (*EMBED, "rerank32")
REFERENCE = "torch fp32, batch 8"


class Throughput:
    """One run of the benchmark: its options, and what every job of it shares."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.threads: int = options.threads or physical_cores()
        automatic = options.kernels == "auto"
        self.repacked = extra_buffers(EngineOptions()) if automatic else options.kernels == "repacked"
        self.amx = self.repacked and amx_is_possible()

    def rows(self, workload: str) -> Iterator[Row]:
        """Yields a row for each peer that ran and was right; prints the others' reasons."""
        task: Task = "embed" if workload in EMBED else "rerank"
        source = checkpoint(self.folder, task, self.options.shape)
        reference = self._reference(workload, source)
        ids = EMBED[workload]().ids if task == "embed" else rerank_ids(source)[0]
        n_tokens = sum(len(sequence) for sequence in ids)
        print(f"\n{workload}: {n_tokens} tokens")
        print(f"  {'peer':26} {'tokens/s':>9} {'seconds':>8} {'peak MB':>8}  check against torch fp32")
        for peer in PEERS:
            if task == "rerank" and peer == "Llama.embed":
                continue  # it has no reranking: it reads beyond the two scores
            is_torch = peer.startswith("torch")
            for quant in [peer.partition(",")[0]] if is_torch else self.options.quants:
                model = source if is_torch else gguf(self.folder, task, self.options.shape, quant)
                job = self._job(peer, workload, model, reference, TOLERANCES[quant][task == "rerank"])
                label = peer if is_torch else f"{peer} {quant}"
                try:
                    answer = in_child("peers.py", asdict(job))
                except PeerFailed as error:
                    print(f"  {label:26} not measured: {error}", flush=True)
                    continue
                yield self._row(job, quant, n_tokens, answer, None if is_torch else sha256(model))
                _print_row(label, n_tokens, answer)

    def _job(self, peer: str, workload: str, model: Path, reference: Path, tolerance: float) -> Job:
        options = self.options
        return Job(
            peer,
            workload,
            str(model),
            self.threads,
            self.repacked,
            str(reference),
            tolerance,
            options.repeat,
            options.budget,
        )

    def _reference(self, workload: str, source: Path) -> Path:
        """Returns where torch's float32 result lies, computed now if it is not there."""
        work = EMBED[workload]().texts if workload in EMBED else rerank32().documents
        digest = hashlib.sha256(json.dumps(work).encode()).hexdigest()[:8]
        path = self.folder / f"{source.name}-{workload}-{digest}.npy"
        if not path.exists():
            job = self._job(REFERENCE, workload, source, path, 0.0)
            in_child("peers.py", asdict(job) | {"repeat": 0})
        return path

    def _row(self, job: Job, quant: str, n_tokens: int, answer: dict[str, Any], digest: str | None) -> Row:
        seconds = sorted(answer["seconds"])
        return Row(
            question="throughput",
            workload=job.workload,
            peer=job.peer,
            quant=quant,
            n_tokens=n_tokens,
            tokens_per_second=round(n_tokens / _median(seconds), 1),
            seconds=[round(second, 4) for second in answer["seconds"]],
            peak_rss=answer["peak_rss"],
            check=answer["check"],
            threads=self.threads,
            kernels=None if digest is None else "repacked" if self.repacked else "plain",
            model_sha256=digest,
        )


def _median(seconds: list[float]) -> float:
    middle = len(seconds) // 2
    return (seconds[middle] + seconds[~middle]) / 2


def _print_row(label: str, n_tokens: int, answer: dict[str, Any]) -> None:
    seconds = _median(sorted(answer["seconds"]))
    ((name, value),) = answer["check"].items()
    print(
        f"  {label:26} {n_tokens / seconds:9.0f} {seconds:8.2f} {answer['peak_rss'] / 1e6:8.0f}  "
        f"{name.replace('_', ' ')} {value:.5f}",
        flush=True,
    )


def print_ratios(rows: list[Row], *, amx: bool) -> None:
    """Prints how many times faster qsift is than each peer, and whether the targets are met."""
    print("\nqsift's tokens per second divided by the peer's")
    for ours in (row for row in rows if row.peer == "qsift"):
        print(f"  {ours.workload}, {ours.quant}")
        for row in rows:
            is_torch = row.peer.startswith("torch")
            if row.workload != ours.workload or row.peer == "qsift" or not (is_torch or row.quant == ours.quant):
                continue
            ratio, verdict = ours.tokens_per_second / row.tokens_per_second, ""
            if row.peer == "single-phase":
                target = TARGETS["embed" if row.workload in EMBED else "rerank", amx]
                verdict = f"  (target {target}: {'met' if ratio >= target else 'MISSED'})"
            print(f"    {ratio:6.2f} × {row.peer}{verdict}")


def _list_of(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """Returns a parser of "a,b" that knows what is allowed."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in allowed]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; allowed are {', '.join(allowed)}")
        return names

    return parse


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quants", type=_list_of(QUANTS), default=["q8_0"], metavar="Q,Q,…")
    parser.add_argument("--workloads", type=_list_of(WORKLOADS), default=list(WORKLOADS), metavar="W,W,…")
    parser.add_argument("--kernels", choices=["auto", "plain", "repacked"], default="auto", help="auto: as qsift would")
    parser.add_argument("--repeat", type=int, default=3, help="calls of which the median counts")
    parser.add_argument("--budget", type=float, default=60, help="seconds after which no further call starts")
    parser.add_argument("--threads", type=int, help="default: physical cores")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "benchmarks", help="where the models are kept")
    parser.add_argument("--shape", choices=SHAPES, default="0.6b", help="tiny: to try the script; never recorded")
    parser.add_argument("--trial", action="store_true", help="record nothing, as on a machine that is busy")
    options = parser.parse_args()
    run = Throughput(options)
    kernels = "repacked weights where llama.cpp has kernels for them" if run.repacked else "plain kernels"
    print(f"{machine_line()}\n{options.shape} shape, random weights; {run.threads} threads; llama.cpp with {kernels}")
    rows = [row for workload in options.workloads for row in run.rows(workload)]
    print_ratios(rows, amx=run.amx)
    if options.trial or options.shape == "tiny":
        return
    print(f"\n{len(rows)} rows recorded in {append(rows, 'throughput')}", file=sys.stderr)


if __name__ == "__main__":
    main()
