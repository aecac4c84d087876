"""How fast is qsift beside the plain decode, Llama.embed and torch, on the same machine in one run?

    python benchmarks/throughput.py [--quants q8_0,q6_k] [--kernels plain] [--repeat 3]

Models of the 0.6B shape with random weights are made once (about 4 GB in the cache folder). Each
peer runs in a process of its own and is compared with torch's float32 result; then they take turns. Rows
go to benchmarks/results/throughput.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness import Child, PeerFailed, Row, append, machine_line
from peers import PEERS, Job, rerank_ids
from qsift.convert import QUANTS
from random_models import SHAPES, checkpoint, gguf
from workloads import EMBED, rerank32

from qsift import EngineOptions
from qsift.checksums import checksum
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
WORKLOADS = ("u128", "mix", "rerank32")
REFERENCE = "torch fp32, batch 8"


@dataclass
class Contestant:
    """A peer that gave the right result and waits for its turns."""

    job: Job
    quant: str
    model_sha256: str | None
    child: Child
    check: dict[str, float]
    seconds: list[float] = field(default_factory=list)
    peak_rss: int = 0

    def measure(self) -> None:
        """Runs once more."""
        answer = self.child.ask({})
        self.seconds.append(answer["seconds"])
        self.peak_rss = answer["peak_rss"]


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

    def rows(self, workload: str) -> list[Row]:
        """Returns a row for each peer that is right, measured in turns; prints them and the others' reasons."""
        task: Task = "embed" if workload in EMBED else "rerank"
        source = checkpoint(self.folder, task, self.options.shape)
        reference = self.reference(workload, source)
        ids = EMBED[workload]().ids if task == "embed" else rerank_ids(source)[0]
        n_tokens = sum(len(sequence) for sequence in ids)
        print(f"\n{workload}: {n_tokens} tokens", flush=True)
        contestants = list(self._contestants(workload, task, source, reference))
        for number in range(self.options.repeat):
            print(f"  round {number + 1} of {self.options.repeat}", file=sys.stderr, flush=True)
            for contestant in list(contestants):
                try:
                    contestant.measure()
                except PeerFailed as error:
                    _print_failure(contestant.job.peer, contestant.quant, error)
                    contestant.child.close()
                    contestants.remove(contestant)
        print(f"  {'peer':26} {'tokens/s':>9} {'seconds':>8} {'peak MB':>8}  check against torch fp32")
        rows = []
        for contestant in contestants:
            contestant.child.close()
            rows.append(self.row(contestant, n_tokens))
            _print_row(contestant, n_tokens)
        return rows

    def _contestants(self, workload: str, task: Task, source: Path, reference: Path) -> Iterator[Contestant]:
        for peer in PEERS:
            if task == "rerank" and peer == "Llama.embed":
                continue  # it has no reranking: it reads beyond the two scores
            is_torch = peer.startswith("torch")
            for quant in [peer.partition(",")[0]] if is_torch else self.options.quants:
                model = source if is_torch else gguf(self.folder, task, self.options.shape, quant)
                job = self._job(peer, workload, model, reference, TOLERANCES[quant][task == "rerank"])
                child = Child("peers.py")
                try:
                    check = child.ask(asdict(job))
                except PeerFailed as error:
                    _print_failure(peer, quant, error)
                    child.close()
                    continue
                yield Contestant(job, quant, None if is_torch else checksum(model), child, check)

    def _job(self, peer: str, workload: str, model: Path, reference: Path, tolerance: float | None) -> Job:
        return Job(peer, workload, str(model), self.threads, self.repacked, str(reference), tolerance)

    def reference(self, workload: str, source: Path) -> Path:
        """Returns where torch's float32 result lies, computed now if it is not there."""
        work = EMBED[workload]().texts if workload in EMBED else rerank32().documents
        digest = hashlib.sha256(json.dumps(work).encode()).hexdigest()[:8]
        path = self.folder / f"{source.name}-{workload}-{digest}.npy"
        if not path.exists():
            child = Child("peers.py")
            child.ask(asdict(self._job(REFERENCE, workload, source, path, None)))
            child.close()
        return path

    def row(self, contestant: Contestant, n_tokens: int) -> Row:
        """Returns what a contestant's rounds come to."""
        job = contestant.job
        return Row(
            question="throughput",
            workload=job.workload,
            peer=job.peer,
            quant=contestant.quant,
            n_tokens=n_tokens,
            tokens_per_second=round(n_tokens / statistics.median(contestant.seconds), 1),
            seconds=[round(second, 4) for second in contestant.seconds],
            peak_rss=contestant.peak_rss,
            check=contestant.check,
            threads=self.threads,
            accel=None if job.accel == "off" else job.accel,
            kernels=None if contestant.model_sha256 is None else "repacked" if self.repacked else "plain",
            model_sha256=contestant.model_sha256,
        )


def _print_failure(peer: str, quant: str, error: PeerFailed) -> None:
    print(f"  {_label(peer, quant):26} not measured: {error}", flush=True)


def _label(peer: str, quant: str) -> str:
    return peer if peer.startswith("torch") else f"{peer} {quant}"


def _print_row(contestant: Contestant, n_tokens: int) -> None:
    seconds = statistics.median(contestant.seconds)
    ((name, value),) = contestant.check.items()
    label = _label(contestant.job.peer, contestant.quant)
    print(
        f"  {label:26} {n_tokens / seconds:9.0f} {seconds:8.2f} {contestant.peak_rss / 1e6:8.0f}  "
        f"{name.replace('_', ' ')} {value:.5f}",
        flush=True,
    )


def print_ratios(rows: list[Row], *, amx: bool) -> None:
    """Prints how many times faster qsift is than each peer, round by round, and whether the targets are met."""
    print("\nqsift's tokens per second divided by the peer's, median of the rounds")
    for ours in (row for row in rows if row.peer == "qsift"):
        print(f"  {ours.workload}, {ours.quant}")
        for row in rows:
            is_torch = row.peer.startswith("torch")
            if row.workload != ours.workload or row.peer == "qsift" or not (is_torch or row.quant == ours.quant):
                continue
            # Both numbers of a round were measured within a minute or two of each other.
            ratio = statistics.median(their / our for their, our in zip(row.seconds, ours.seconds, strict=True))
            verdict = ""
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
    parser.add_argument("--repeat", type=int, default=5, help="rounds, of which the median counts")
    parser.add_argument("--threads", type=int, help="default: physical cores")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "benchmarks", help="where the models are kept")
    parser.add_argument("--shape", choices=SHAPES, default="0.6b", help="tiny: to try the script; never recorded")
    parser.add_argument("--trial", action="store_true", help="record nothing, as on a machine that is busy")
    options = parser.parse_args()
    run = Throughput(options)
    kernels = "repacked weights where llama.cpp has kernels for them" if run.repacked else "plain kernels"
    print(f"{machine_line()}\n{options.shape} shape, random weights; {run.threads} threads; llama.cpp with {kernels}")
    recorded = not options.trial and options.shape != "tiny"
    rows: list[Row] = []
    for workload in options.workloads:
        measured = run.rows(workload)
        rows += measured
        if recorded:
            print(f"  recorded in {append(measured, 'throughput').name}", file=sys.stderr)
    print_ratios(rows, amx=run.amx)


if __name__ == "__main__":
    main()
