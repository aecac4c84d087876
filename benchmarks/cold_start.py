"""How long is it from the start of the process to the first vector, and where does that time go?

    python benchmarks/cold_start.py [--quant q8_0] [--repeat 9]

Each run is a child process that embeds one query with the random 0.6B model of throughput.py, whose pages are in the
system's memory. One kind of child does what a user does and only tells when the vector is there; the other goes
through the same steps one by one and tells when each is done. A third embeds it with sentence-transformers in
bfloat16, from the same checkpoint. Times count from before the process is started, by the clock that all processes
share. Linux and macOS.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from harness.command_line import add_accel, add_models, add_quant, command, record
from harness.rows import Figure, machine_line, verdict
from models.random_weights import checkpoint, gguf

from qsift.bench.run import read_through
from qsift.hub import checksum

QUERY = "what is a lease"
IMPORT_LIMIT, START_LIMIT = "<= 0.15", "<= 1.0"
"""Seconds that `import qsift` and the way to the first vector may take, the start of Python included."""
PEER_LIMIT = "<= 0.25"
"""Of the time that sentence-transformers takes."""

_IMPORT = """
import qsift, json, time
print(json.dumps([time.monotonic(), 0]))
"""
_PLAIN = """
import json, sys, time
from qsift import Embedder, EngineOptions
embedder = Embedder.load(sys.argv[1], options=EngineOptions(device="cpu", threads=int(sys.argv[2]), accel=sys.argv[3]))
vector = embedder.encode_query(sys.argv[4])
print(json.dumps([time.monotonic(), float(vector @ vector)]), flush=True)
"""
_PEER = """
import json, sys, time
import torch
from sentence_transformers import SentenceTransformer
torch.set_num_threads(int(sys.argv[2]))
model = SentenceTransformer(sys.argv[1], device="cpu", model_kwargs={"dtype": torch.bfloat16})
vector = model.encode([sys.argv[4]], normalize_embeddings=True)[0]
print(json.dumps([time.monotonic(), float(vector @ vector)]), flush=True)
"""
_STEPS = """
import json, sys, time
marks = {"python": time.monotonic()}
from qsift import Embedder, EngineOptions
marks["import qsift"] = time.monotonic()
from qsift.engine import library
lib = library()
marks["import llama_cpp"] = time.monotonic()
from qsift.engine import accelerator_mode, extra_buffers
options = EngineOptions(device="cpu", threads=int(sys.argv[2]), accel=sys.argv[3])
extra_buffers(options), accelerator_mode(options)
marks["self-check"] = time.monotonic()
from qsift.engine import load_engine
from qsift.hub import open_model
file = open_model(sys.argv[1])
marks["open"] = time.monotonic()
engine = load_engine(file, "embed", options)
marks["load"] = done = time.monotonic()
make, spent = lib.llama_init_from_model, []
def timed(*arguments):
    start = time.monotonic()
    pointer = make(*arguments)
    spent.append(time.monotonic() - start)
    return pointer
lib.llama_init_from_model = timed
vector = Embedder(engine, engine.tokenizer, file).encode_query(sys.argv[4])
end = time.monotonic()
marks |= {"context": done + spent[0], "first query": end}
print(json.dumps([marks, float(vector @ vector)]), flush=True)
"""


def run(code: str, *arguments: object) -> tuple[float, object]:
    """Returns when a child was started and what it tells; ends the script where its vector is wrong."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    start = time.monotonic()
    told, square = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if arguments and not abs(square - 1) < 1e-2:  # what bfloat16 can say of a length
        raise SystemExit(f"The first vector is {square**0.5:.4f} long instead of 1.")
    return start, told


def seconds(code: str, *arguments: object) -> float:
    """Returns the seconds from the start of a child to what it waits for."""
    start, moment = run(code, *arguments)
    assert isinstance(moment, float)
    return moment - start


def steps(*arguments: object) -> dict[str, float]:
    """Returns the seconds of each step of a start."""
    start, marks = run(_STEPS, *arguments)
    assert isinstance(marks, dict)
    ends = [start, *marks.values()]
    return {name: end - before for name, before, end in zip(marks, ends, ends[1:], strict=False)}


def shown(name: str, values: Sequence[float], limit: str | None = None) -> str:
    """Returns a line for a median, and whether it keeps a limit in seconds."""
    median = statistics.median(values)
    return f"  {name:22} {median * 1e3:7.0f} ms  {verdict(median, limit)}"


def main() -> None:
    """Measures, prints and records."""
    parser = command(__doc__, repeat=9)
    add_models(parser)
    add_quant(parser)
    add_accel(parser)
    options = parser.parse_args()
    print(machine_line())
    path = gguf(options.folder, "embed", options.shape, options.quant)
    read_through(str(path))
    arguments = (path, options.threads, options.accel, QUERY)
    steps(*arguments)  # answers that are kept, such as the self-check's, are kept from here on
    source = checkpoint(options.folder, "embed", options.shape)
    read_through(str(source / "model.safetensors"))
    imports, starts, peers, parts = [], [], [], []
    for _ in range(options.repeat):
        imports.append(seconds(_IMPORT))
        starts.append(seconds(_PLAIN, *arguments))
        peers.append(seconds(_PEER, source, *arguments[1:]))
        parts.append(steps(*arguments))
    print(shown("import qsift", imports, IMPORT_LIMIT))
    print(shown("first vector", starts, START_LIMIT))
    ratio = statistics.median(ours / theirs for ours, theirs in zip(starts, peers, strict=True))
    print(shown("sentence-transformers", peers))
    print(f"  {ratio:.3f} of that, in the median of the rounds  {verdict(ratio, PEER_LIMIT)}")
    print("of which")
    for name in parts[0]:
        print(shown(name, [part[name] for part in parts]))
    settings = {name: getattr(options, name) for name in ("quant", "threads", "accel")}
    medians = {name: statistics.median(part[name] for part in parts) for name in parts[0]}
    figures = (
        ("import qsift, s", statistics.median(imports), settings, IMPORT_LIMIT),
        ("first vector, s", statistics.median(starts), settings | medians, START_LIMIT),
        ("first vector, of sentence-transformers bf16's time", ratio, settings, PEER_LIMIT),
    )
    digest = checksum(path)
    rows = [Figure("cold_start", name, value, facts, digest, limit) for name, value, facts, limit in figures]
    record(rows, "cold_start", options)


if __name__ == "__main__":
    main()
