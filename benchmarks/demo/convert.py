"""Step 5: the checkpoint to GGUF with qsift's own converter, in every quant."""

from __future__ import annotations

import argparse
from pathlib import Path

from qsift.convert import QUANTS, convert


def gguf_path(folder: Path, quant: str) -> Path:
    """Returns where a quant of the embedder lies."""
    return folder / "gguf" / f"demo-embedding-{quant}.gguf"


def main() -> None:
    """Writes gguf/ and prints the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--quants", default=",".join(QUANTS))
    arguments = parser.parse_args()
    for quant in arguments.quants.split(","):
        path = gguf_path(arguments.folder, quant)
        convert(arguments.folder / "embedder", path, quants=quant, task="embed", force=True)
        print(f"{path.stat().st_size / 1e6:7.2f} MB  {path.name}")


if __name__ == "__main__":
    main()
