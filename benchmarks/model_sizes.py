"""Are the sizes that qsift computes those of real files and processes?

Random checkpoints of the released 0.6B shape with the real vocabulary are converted, each file is compared with
`qsift.models.gguf_bytes`, and a child embeds or reranks with it: its largest resident memory is compared with
`qsift.engine.memory.run_bytes`. Random weights are as large as trained ones. Made files are kept in --folder (3 GB and
the quants).
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from harness.command_line import MODELS, command, record
from harness.rows import machine_line
from models import random_weights

from qsift.engine.memory import run_bytes
from qsift.models import SPECS, TASKS, checkpoint_bytes, gguf_bytes

# Texts that fill whole batches, so that every buffer is used to its end.
_CHILD = """
import json, sys
from qsift.engine import peak_rss
from qsift import Embedder, EngineOptions, Reranker
texts = [f"{i} " + "one two three four five six seven " * 12 for i in range(12)]
options = EngineOptions(extra_buffers=sys.argv[3] == "repacked")
if sys.argv[2] == "embed":
    Embedder.load(sys.argv[1], options=options).encode(texts)
else:
    Reranker.load(sys.argv[1], options=options).rank("which numbers?", texts)
print(json.dumps(peak_rss()))
"""


@dataclass(frozen=True)
class Row:
    """One file: its size and its process's peak, in bytes, each as computed and as measured."""

    model: str
    quant: str
    kernels: str
    file_computed: int
    file_measured: int
    memory_computed: int
    memory_measured: int
    question: str = "model_sizes"


def measure(folder: Path, name: str, quant: str, kernels: str) -> Row:
    """Returns the sizes of one model in one quant; kernels is "plain" or "repacked"."""
    spec = SPECS[name]
    file = random_weights.gguf(folder, spec.task, "0.6b", quant)
    arguments = [sys.executable, "-c", _CHILD, str(file), spec.task, kernels]
    peak = json.loads(subprocess.run(arguments, stdout=subprocess.PIPE, check=True).stdout)
    computed = run_bytes(spec, quant, spec.task, repacked=kernels == "repacked")
    return Row(name, quant, kernels, gguf_bytes(spec, quant), file.stat().st_size, computed, peak)


def main() -> None:
    """Prints a line for each file and appends a row; exits with 1 if a size is off."""
    parser = command(__doc__)
    parser.add_argument("--quants", default="q8_0,q4_k_m")
    parser.add_argument("--folder", type=Path, default=MODELS, help="where the models are kept")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(machine_line())
    heads = ("file MB", "computed", "ratio", "RSS MB", "computed", "ratio")
    print(f"{'model':22} {'quant':8} {'kernels':9}" + "".join(f"{head:>10}" for head in heads))
    wrong = []
    for task in TASKS:
        name = {"embed": "qwen3-embedding-0.6b", "rerank": "qwen3-reranker-0.6b"}[task]
        for quant, kernels in product(options.quants.split(","), ("plain", "repacked")):
            row = measure(options.folder, name, quant, kernels)
            ratio = row.file_measured / row.file_computed
            memory = row.memory_measured / row.memory_computed
            print(
                f"{name:22} {quant:8} {kernels:9}{row.file_measured / 1e6:10.1f}{row.file_computed / 1e6:10.1f}"
                f"{ratio:10.5f}{row.memory_measured / 1e6:10.0f}{row.memory_computed / 1e6:10.0f}{memory:10.3f}",
                flush=True,
            )
            if abs(ratio - 1) > 1e-5 or not 0.9 < memory <= 1.02:
                wrong.append(f"{name} {quant} {kernels}: {asdict(row)}")
            else:
                record([row], "model_sizes", options)
        source = random_weights.checkpoint(options.folder, task, "0.6b")
        size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
        tokenizer = (source / "tokenizer.json").stat().st_size
        computed = checkpoint_bytes(SPECS[name])
        print(f"{name:22} checkpoint {(size + tokenizer) / 1e6:.1f} MB, computed {computed / 1e6:.1f}")
    if wrong:
        raise SystemExit("Not as computed:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
