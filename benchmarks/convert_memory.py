"""How much memory and time does a conversion take? One child process for each quant.

    python benchmarks/convert_memory.py [--shape 4b] [--quants q8_0,q4_k_m] [--folder FOLDER]

A checkpoint with random weights and the real vocabulary is written to FOLDER (8 GB for the 4B shape),
converted to each quant, and removed again. Anonymous memory (RssAnon) is what counts: the checkpoint
and the new file are mapped, and the system may drop their pages whenever it likes. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from models.checkpoints import SHAPE_0_6B, TINY, Shape, write_checkpoint

from qsift.convert import QUANTS

SHAPES = {"tiny": TINY, "0.6b": SHAPE_0_6B, "4b": Shape(36, 2560, 9728, 32, 8, 128)}
LIMIT = 2e9
"""Bytes of anonymous memory that no conversion of the 4B shape may exceed."""

_CHILD = "import sys; from qsift.convert import convert; convert(sys.argv[1], sys.argv[2], quants=sys.argv[3])"


@dataclass(frozen=True)
class Measured:
    """What one conversion took: seconds, peaks in bytes, size of the file."""

    quant: str
    seconds: float
    anonymous: int
    resident: int
    nbytes: int


def measure(checkpoint: Path, quant: str) -> Measured:
    """Returns what converting ``checkpoint`` to ``quant`` takes; the file is removed again."""
    with tempfile.TemporaryDirectory(dir=checkpoint.parent) as out:
        started = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-c", _CHILD, checkpoint, out, quant])
        anonymous = resident = 0
        while child.poll() is None:
            now = memory(child.pid)
            anonymous, resident = max(anonymous, now.get("RssAnon", 0)), max(resident, now.get("VmRSS", 0))
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        if child.returncode:
            raise SystemExit(f"Converting to {quant} failed with exit code {child.returncode}.")
        (file,) = Path(out).glob("*.gguf")
        return Measured(quant, seconds, anonymous, resident, file.stat().st_size)


def memory(process: int) -> dict[str, int]:
    """Returns the memory that a process has now, in bytes, by /proc's names; empty once it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(value) * 1024 for name, value, _ in fields}


def main() -> None:
    """Prints a row for each quant as it is measured; exits with 1 if one exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="4b")
    parser.add_argument("--quants", default=",".join(QUANTS))
    parser.add_argument("--folder", type=Path, default=None, help="where to work; default: the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        checkpoint = Path(folder) / f"Random-Embedding-{options.shape.upper()}"
        write_checkpoint(checkpoint, shape=SHAPES[options.shape], vocab="real", prefix=True, shards=2)
        size = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
        print(f"checkpoint: {size / 1e9:.2f} GB BF16 in 2 shards")
        print(f"{'quant':8} {'seconds':>8} {'file GB':>8} {'RssAnon MB':>11} {'RSS MB':>8}")
        over = []
        for quant in options.quants.split(","):
            row = measure(checkpoint, quant)
            print(
                f"{row.quant:8} {row.seconds:8.1f} {row.nbytes / 1e9:8.2f} "
                f"{row.anonymous / 1e6:11.0f} {row.resident / 1e6:8.0f}",
                flush=True,
            )
            over += [quant] if row.anonymous > LIMIT else []
    if over:
        raise SystemExit(f"More than {LIMIT / 1e9:.0f} GB of anonymous memory: {', '.join(over)}.")


if __name__ == "__main__":
    main()
