"""Does memory stay flat over a stream of texts, and how much do 8,192-token texts take?

    python benchmarks/flat_memory.py [--texts 1000000] [--long-texts 0]

A generator of short texts, all different, goes through `encode_document` of the demo pair's embedder; this process's
resident memory is sampled while the vectors are thrown away, and a line is fitted to the samples after the first
fifth. Then a child process embeds texts of 8,192 tokens with the random 0.6B model of throughput.py: its peak is held
against the size of the file. Linux only.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from harness.command_line import add_models, add_quant, command, record
from harness.rows import Figure, machine_line
from harness.workloads import texts_of
from models.random_weights import gguf

from qsift import Embedder, EngineOptions
from qsift.hub import checksum

SLOPE_LIMIT = 1.0
"""MB of growth per 100,000 texts that still count as flat: a million texts may then add 10 MB."""
LONG_LIMIT = 1.3e9
"""Bytes beyond the weights that texts of LONG tokens may take."""
LONG = 8192
SAMPLE_EVERY, LEAST = 2048, 50_000
WORDS = ("red", "green", "blue", "tea", "bread", "river", "house", "lamp", "paper", "stone", "wind", "glass")

_LONG_CHILD = """
import json, sys
import numpy as np
from qsift import Embedder, EngineOptions
from qsift.engine import peak_rss
options = EngineOptions(device="cpu", threads=int(sys.argv[2]))
texts = json.load(sys.stdin)
with Embedder.load(sys.argv[1], options=options) as embedder:
    lengths = [embedder.token_count(text) for text in texts]
    vectors = embedder.encode_document(texts)
assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3), "no unit vectors"
print(json.dumps({"lengths": lengths, "peak": peak_rss()}))
"""


def resident() -> int:
    """Returns this process's resident memory now, in bytes."""
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


def short_texts(count: int) -> Iterator[str]:
    """Yields ``count`` different texts of a few words."""
    for number in range(count):
        yield f"{WORDS[number % len(WORDS)]} {WORDS[number // len(WORDS) % len(WORDS)]} {number}"


def slope(counts: list[int], sizes: list[int]) -> float:
    """Returns the growth in MB per 100,000 texts: of the line through the samples after the first fifth."""
    settled = [(count, size) for count, size in zip(counts, sizes, strict=True) if count > counts[-1] / 5]
    x, y = (np.array(side, float) for side in zip(*settled, strict=True))
    return float(np.polyfit(x / 1e5, y / 1e6, 1)[0])


def stream(embedder: Embedder, count: int) -> tuple[list[int], list[int]]:
    """Returns (texts so far, resident bytes) of the samples; ends the script where a vector is wrong."""
    first = list(short_texts(8))
    expected, counts, sizes = embedder.encode_document(first), [], []
    for number, vector in enumerate(embedder.encode_document(short_texts(count)), 1):
        # Another batch adds in another order, so the cosine is not 1 to the last digit.
        if number <= len(first) and not float(vector @ expected[number - 1]) > 0.9999:
            raise SystemExit(f"Text {number - 1} has another vector in the stream than in a list.")
        if number % SAMPLE_EVERY == 0 or number == count:
            counts.append(number)
            sizes.append(resident())
            if len(counts) % 25 == 0:
                print(f"  {number:9,} texts  {sizes[-1] / 1e6:7.1f} MB", flush=True)
    return counts, sizes


def long_peak(path: Path, count: int, threads: int) -> int:
    """Returns the peak memory in bytes of a child that embeds ``count`` texts of LONG tokens."""
    texts = texts_of([LONG] * count).texts
    command = [sys.executable, "-c", _LONG_CHILD, str(path), str(threads)]
    result = subprocess.run(command, input=json.dumps(texts), stdout=subprocess.PIPE, text=True, check=True)
    answer = json.loads(result.stdout)
    if set(answer["lengths"]) != {LONG}:
        raise SystemExit(f"The texts are {answer['lengths']} tokens long instead of {LONG}.")
    return int(answer["peak"])


def main() -> None:
    """Measures, prints and records; exits with 1 where memory grows or a limit is passed."""
    parser = command(__doc__)
    parser.add_argument("--texts", type=int, default=200_000, help="short texts")
    parser.add_argument("--long-texts", type=int, default=2, help="texts of 8,192 tokens; 0 leaves them out")
    add_models(parser)
    add_quant(parser)
    options = parser.parse_args()
    if options.texts < LEAST:
        parser.error(f"--texts is {options.texts}; a slope needs {LEAST}, of which the first fifth fills caches.")
    print(machine_line())
    missed = []
    with Embedder.load("demo-embedding", options=EngineOptions(device="cpu", threads=options.threads)) as embedder:
        counts, sizes = stream(embedder, options.texts)
        path = Path(embedder.file.path)
    growth = slope(counts, sizes)
    print(f"{options.texts:,} texts: {max(sizes) / 1e6:.1f} MB at most, {growth:+.2f} MB per 100,000 texts")
    missed += [f"memory grows by {growth:.2f} MB per 100,000 texts"] if growth > SLOPE_LIMIT else []
    settings = {"texts": options.texts, "threads": options.threads, "peak_mb": max(sizes) / 1e6}
    name = "growth over a stream, MB per 100,000 texts"
    # At once: the rest takes long.
    record([Figure("flat_memory", name, growth, settings, checksum(path), f"<= {SLOPE_LIMIT}")], "flat_memory", options)
    if options.long_texts:
        path = gguf(options.folder, "embed", options.shape, options.quant)
        beyond = long_peak(path, options.long_texts, options.threads) - path.stat().st_size
        print(f"{options.long_texts} texts of {LONG} tokens, {options.quant}: weights + {beyond / 1e9:.2f} GB")
        missed += [f"{beyond / 1e9:.2f} GB beyond the weights"] if beyond > LONG_LIMIT else []
        settings = {"texts": options.long_texts, "tokens": LONG, "quant": options.quant, "threads": options.threads}
        name, target = "peak beyond the weights, GB", f"<= {LONG_LIMIT / 1e9}"
        record([Figure("flat_memory", name, beyond / 1e9, settings, checksum(path), target)], "flat_memory", options)
    if missed:
        raise SystemExit(f"Missed: {'; '.join(missed)}.")


if __name__ == "__main__":
    main()
