"""Peers that are compared with torch's float32 result and then measured in turns: `Throughput` runs them.

What throughput.py, accelerator.py and cache_type.py share; each of them is a choice of entrants and workloads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.child import Child, PeerFailed
from harness.command_line import add_models, command, record
from harness.rows import Row
from harness.workloads import EMBED, RERANK
from models.graphs import FORMATS, converted
from models.random_weights import checkpoint, gguf

from .job import Job, rerank_ids
from .peer import RERANKERS
from qsift import EngineOptions
from qsift.convert import QUANTS
from qsift.engine import Accel, CacheType, extra_buffers
from qsift.engine.selfcheck import amx_is_possible
from qsift.hub import checksum
from qsift.models import Task

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
    "onnx int8": (0.98, 0.08),
    "openvino fp16": (0.999, 0.05),
    "openvino int8": (0.99, 0.05),
}


@dataclass(frozen=True)
class Entrant:
    """Who is to be measured.

    Attributes:
        peer: a name from PEERS.
        quant: one of QUANTS, or what the peer reads according to OWN_WEIGHTS.
        accel, cache_type: of qsift's engine.
    """

    peer: str
    quant: str
    accel: Accel = "off"
    cache_type: CacheType = "f16"

    def __str__(self) -> str:
        if self.quant not in QUANTS:
            return self.peer
        accel = "" if self.accel == "off" else f", {self.accel}"
        return f"{self.peer} {self.quant}{accel}" + ("" if self.cache_type == "f16" else f", {self.cache_type} cache")


@dataclass
class Contestant:
    """An entrant that gave the right result and waits for its turns."""

    entrant: Entrant
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


REFERENCE = Entrant("torch fp32, batch 8", "torch fp32")


def contest_command(doc: str | None, *, repeat: int) -> argparse.ArgumentParser:
    """Returns a parser with the options that `Throughput` reads."""
    parser = command(doc, repeat=repeat)
    add_models(parser)
    parser.add_argument("--kernels", choices=["auto", "plain", "repacked"], default="auto", help="auto: as qsift would")
    return parser


class Throughput:
    """One run of the benchmark: its options, and what every job of it shares."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.threads: int = options.threads
        automatic = options.kernels == "auto"
        self.repacked = extra_buffers(EngineOptions()) if automatic else options.kernels == "repacked"
        self.amx = self.repacked and amx_is_possible()

    def rows(self, workload: str, entrants: Sequence[Entrant]) -> list[Row]:
        """Returns a row for each entrant that is right, measured in turns; prints them and the others' reasons."""
        task: Task = "embed" if workload in EMBED else "rerank"
        source = checkpoint(self.folder, task, self.options.shape)
        reference = self._reference(workload, source)
        ids = EMBED[workload]().ids if task == "embed" else rerank_ids(workload, source)[0]
        n_tokens = sum(len(sequence) for sequence in ids)
        print(f"\n{workload}: {n_tokens} tokens", flush=True)
        contestants = list(self._contestants(workload, task, reference, entrants))
        for number in range(self.options.repeat):
            print(f"  round {number + 1} of {self.options.repeat}", file=sys.stderr, flush=True)
            for contestant in list(contestants):
                try:
                    contestant.measure()
                except PeerFailed as error:
                    _print_failure(contestant.entrant, error)
                    contestant.child.close()
                    contestants.remove(contestant)
        print(f"  {'peer':37} {'tokens/s':>9} {'seconds':>8} {'peak MB':>8}  check against torch fp32")
        rows = []
        for contestant in contestants:
            contestant.child.close()
            rows.append(self._row(workload, contestant, n_tokens))
            _print_row(contestant, rows[-1])
        return rows

    def record(self, rows: Sequence[Row], name: str) -> None:
        """Appends rows to results/NAME.jsonl, except in a trial."""
        record(rows, name, self.options)

    def _contestants(
        self, workload: str, task: Task, reference: Path, entrants: Sequence[Entrant]
    ) -> Iterator[Contestant]:
        for entrant in entrants:
            if task == "rerank" and entrant.peer not in RERANKERS:
                continue
            model = self._model(task, entrant.quant)
            tolerance = TOLERANCES[entrant.quant][task == "rerank"]
            child = Child("peers.peer")
            try:
                check = child.ask(asdict(self._job(entrant, workload, model, reference, tolerance)))
            except PeerFailed as error:
                _print_failure(entrant, error)
                child.close()
                continue
            yield Contestant(entrant, checksum(model) if entrant.quant in QUANTS else None, child, check)

    def _model(self, task: Task, quant: str) -> Path:
        """Returns the random model in a quant, or as OWN_WEIGHTS says; made now if it is not there."""
        if quant in QUANTS:
            return gguf(self.folder, task, self.options.shape, quant)
        source = checkpoint(self.folder, task, self.options.shape)
        return converted(source, quant) if quant in FORMATS else source

    def _job(self, entrant: Entrant, workload: str, model: Path, reference: Path, tolerance: float | None) -> Job:
        return Job(
            peer=entrant.peer,
            workload=workload,
            model=str(model),
            threads=self.threads,
            extra_buffers=self.repacked,
            reference=str(reference),
            tolerance=tolerance,
            accel=entrant.accel,
            cache_type=entrant.cache_type,
        )

    def _reference(self, workload: str, source: Path) -> Path:
        """Returns where torch's float32 result lies, computed now if it is not there."""
        work = EMBED[workload]().texts if workload in EMBED else RERANK[workload]().documents
        digest = hashlib.sha256(json.dumps(work).encode()).hexdigest()[:8]
        path = self.folder / f"{source.name}-{workload}-{digest}.npy"
        if not path.exists():
            child = Child("peers.peer")
            child.ask(asdict(self._job(REFERENCE, workload, source, path, None)))
            child.close()
        return path

    def _row(self, workload: str, contestant: Contestant, n_tokens: int) -> Row:
        entrant = contestant.entrant
        return Row(
            question="throughput",
            workload=workload,
            peer=entrant.peer,
            quant=entrant.quant,
            n_tokens=n_tokens,
            tokens_per_second=round(n_tokens / statistics.median(contestant.seconds), 1),
            seconds=[round(second, 4) for second in contestant.seconds],
            peak_rss=contestant.peak_rss,
            check=contestant.check,
            threads=self.threads,
            accel=None if entrant.accel == "off" else entrant.accel,
            kernels=None if contestant.model_sha256 is None else "repacked" if self.repacked else "plain",
            model_sha256=contestant.model_sha256,
            cache_type=entrant.cache_type,
        )


def _print_failure(entrant: Entrant, error: PeerFailed) -> None:
    print(f"  {entrant!s:37} not measured: {error}", flush=True)


def _print_row(contestant: Contestant, row: Row) -> None:
    ((name, value),) = row.check.items()
    print(
        f"  {contestant.entrant!s:37} {row.tokens_per_second:9.0f} {statistics.median(row.seconds):8.2f} "
        f"{row.peak_rss / 1e6:8.0f}  {name.replace('_', ' ')} {value:.5f}",
        flush=True,
    )


def ratio(ours: Row, theirs: Row) -> float:
    """Returns how many times as fast we are: the median over the rounds."""
    # Both numbers of a round were measured within a minute or two of each other.
    return statistics.median(their / our for their, our in zip(theirs.seconds, ours.seconds, strict=True))
