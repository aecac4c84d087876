"""How much of the library's speed is left over HTTP, beside xllamacpp's server, and how long do short queries wait?

    python benchmarks/server.py [--model demo-embedding] [--texts 1000] [--repeat 3] [--no-peer] [--soak 600]

The same texts of mixed lengths go through `Embedder.encode`, through `qsift serve`, and through xllamacpp's server
(llama.cpp's own) on the same GGUF, each with as many threads; the two servers get them from the same client process
over 1 to 64 connections. All take turns, and the median of the rounds' ratios counts. Then short queries
come on one connection while long documents stream on others; --repeat 0 leaves both out. Rows go to
benchmarks/results/server.jsonl.
"""

from __future__ import annotations

import argparse
import base64
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness.child import Child, environment
from harness.command_line import command, record
from harness.rows import Figure, machine_line
from harness.turns import seconds

from qsift import Embedder, EngineOptions
from qsift.engine import physical_cores
from qsift.hub import checksum

CONNECTIONS = (1, 4, 16, 32, 64)
JUDGED = 32
PATH = "/v1/embeddings"
# Words of the demo model's training, a token or two each; the seed makes the same texts on every machine.
WORDS = re.findall(
    "[a-z]+",
    "library program file network image server data tool language simple fast support package interface based "
    "system documentation development format text user client database graphics sound compiler window manager",
)


def texts(count: int, seed: int) -> list[str]:
    """Returns texts of lognormal lengths, median 60 words, at most 400."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(60), 0.8, count).astype(int), 3, 400)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def long_texts(count: int, seed: int) -> list[str]:
    """Returns texts of 600 words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 600)) for _ in range(count)]


@contextmanager
def serving(model: str, threads: int) -> Iterator[int]:
    """Runs `qsift serve` and gives its port."""
    command = [sys.executable, "-m", "qsift", "serve", "--embedding", model, "--threads", str(threads)]
    with subprocess.Popen([*command, "--port", "0", "--no-log"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r":(\d+),", line)
            if not found:
                raise SystemExit(line + process.stderr.read())
            yield int(found[1])
        finally:
            process.terminate()


@contextmanager
def peer(path: str, threads: int) -> Iterator[int]:
    """Runs xllamacpp's server and gives its port."""
    command = [sys.executable, "-m", "peers.llama_server", path, str(threads)]
    with subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield int(next(line for line in process.stdout if line.startswith("port ")).split()[1])
        finally:
            process.terminate()


def bodies(items: list[str]) -> list[dict[str, Any]]:
    """Returns a request for each text."""
    return [{"input": item, "encoding_format": "base64"} for item in items]


def check(load: Child, name: str, port: int, embedder: Embedder, least: float) -> float:
    """Returns the smallest cosine of a server's vectors to the library's."""
    sample = texts(40, 0)
    answer = load.ask({"do": "rows", "port": port, "path": PATH, "bodies": bodies(sample)})
    rows = np.frombuffer(base64.b64decode(answer["rows"]), np.float32).reshape(len(sample), -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = float((rows * embedder.encode_document(sample)).sum(axis=1).min())
    if not cosine > least:
        raise SystemExit(f"The vectors of {name} are not the library's: cosine {cosine:.5f}.")
    return cosine


def rate(load: Child, name: str, port: int, items: list[str], n_tokens: int, connections: int) -> float:
    """Returns tokens a second; every request must be answered, and none refused."""
    question = {"do": "all", "port": port, "path": PATH, "bodies": bodies(items), "connections": connections}
    answer = load.ask(question)
    answered = len(answer["latencies"])
    if answer["refused"] or answer["lost"] or answered != len(items):
        raise SystemExit(
            f"{name} answered {answered} of {len(items)} requests over {connections} connections: "
            f"{answer['lost']} lost, {len(answer['refused'])} refused."
        )
    return n_tokens / float(answer["seconds"])


class Benchmark:
    """One run: its options, its processes and its figures."""

    def __init__(self, options: argparse.Namespace, embedder: Embedder, load: Child) -> None:
        self.options, self.embedder, self.load = options, embedder, load
        self.sha256 = checksum(Path(embedder.file.path))
        self.figures: list[Figure] = []

    def note(self, name: str, value: float, target: str | None = None, **settings: Any) -> None:
        """Prints a figure and keeps it for the record."""
        settings |= {"model": self.options.model, "threads": self.options.threads}
        self.figures.append(Figure("server", name, round(value, 4), settings, self.sha256, target))
        places = ", ".join(f"{key} {item}" for key, item in settings.items() if key not in ("model", "threads"))
        print(f"{name:45} {value:10.3f}  {places}  {target or ''}", flush=True)

    def throughput(self, ports: dict[str, int]) -> None:
        """Measures all in turns: the library, then every server over every number of connections."""
        shares: dict[tuple[str, int], list[float]] = {}
        library = []
        for number in range(self.options.repeat):
            items = texts(self.options.texts, number + 1)
            n_tokens = sum(map(self.embedder.token_count, items))
            library.append(n_tokens / seconds(partial(self.embedder.encode_document, items)))
            for connections in CONNECTIONS:
                for name, port in ports.items():
                    found = rate(self.load, name, port, items, n_tokens, connections)
                    shares.setdefault((name, connections), []).append(found / library[-1])
        self.note("library, tokens/s", statistics.median(library))
        for (name, connections), values in sorted(shares.items()):
            target = ">= 0.9" if (name, connections) == ("qsift serve", JUDGED) else None
            self.note(
                f"{name}, share of the library's rate", statistics.median(values), target, connections=connections
            )
        if "xllamacpp" in ports:
            pairs = zip(shares["qsift serve", JUDGED], shares["xllamacpp", JUDGED], strict=True)
            ratio = statistics.median(ours / theirs for ours, theirs in pairs)
            self.note("qsift serve / xllamacpp", ratio, ">= 1.5", connections=JUDGED)

    def latency(self, port: int) -> None:
        """Measures short queries alone, and beside long documents; once over one and once over four connections."""
        short = [{"input": f"how to reset a router {number}", "input_type": "query"} for number in range(50)]
        question = {"do": "mix", "port": port, "path": PATH, "bodies": short, "duration": self.options.seconds}
        idle = self.load.ask({**question, "long": []})["latencies"]
        median = float(np.median(idle))
        self.note("short query, idle p50, ms", 1000 * median)
        self.note("short query, idle p99, ms", 1000 * float(np.percentile(idle, 99)))
        for streams in (1, 4):
            busy = self.load.ask({**question, "long": bodies(long_texts(streams, 9))})
            if busy["lost"] or not busy["streamed"]:
                raise SystemExit(f"The long documents did not stream: {busy['streamed']} answers, {busy['lost']} lost.")
            tail = float(np.percentile(busy["latencies"], 99))
            self.note("short query beside long ones, p99 / idle p50", tail / median, "< 5", streams=streams)

    def soak(self, port: int) -> None:
        """Counts answers for some minutes: none may be lost, refused, or somebody else's."""
        end, sent, number = time.monotonic() + self.options.soak, 0, 0
        while time.monotonic() < end:
            number += 1
            items = texts(2000, 1000 + number)
            rate(self.load, "qsift serve", port, items, 0, 64)
            check(self.load, "qsift serve", port, self.embedder, 0.999)
            sent += len(items)
        self.note("answers, none lost or refused", sent, connections=64, seconds=self.options.soak)


def main() -> None:
    """Measures, prints and records."""
    parser = command(__doc__, repeat=3)
    parser.add_argument("--model", default="demo-embedding")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--texts", type=int, default=1000, help="texts of a round")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement of latency")
    parser.add_argument("--no-peer", action="store_true", help="leave xllamacpp out")
    parser.add_argument("--soak", type=float, default=0, help="seconds of constant load at the end")
    parser.add_argument("--dry-run", dest="trial", action="store_true", help="another word for --trial")
    options = parser.parse_args()
    print(machine_line())
    load = Child("harness.load")
    engine = EngineOptions(threads=options.threads)
    with Embedder.load(options.model, options=engine) as embedder, serving(options.model, options.threads) as port:
        benchmark = Benchmark(options, embedder, load)
        benchmark.note("smallest cosine to the library", check(load, "qsift serve", port, embedder, 0.999))
        if options.repeat:
            with nullcontext() if options.no_peer else peer(embedder.file.path, options.threads) as other:
                if other:
                    check(load, "xllamacpp", other, embedder, 0.99)
                benchmark.throughput({"qsift serve": port} | ({"xllamacpp": other} if other else {}))
            benchmark.latency(port)
        if options.soak:
            benchmark.soak(port)
    load.close()
    record(benchmark.figures, "server", options)


if __name__ == "__main__":
    main()
