"""Step 6: both checkpoints to GGUF with qsift's own converter, in every quant."""

from __future__ import annotations

import argparse
from pathlib import Path

from qsift.convert import QUANTS, convert

NAMES = ("demo-embedding", "demo-reranker")


def gguf_path(folder: Path, name: str, quant: str) -> Path:
    """Returns where a quant of a model lies."""
    return folder / "gguf" / f"{name}-{quant.upper()}.gguf"


def main() -> None:
    """Writes gguf/ and prints the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--quants", default=",".join(QUANTS))
    arguments = parser.parse_args()
    for name in NAMES:
        for path in convert(
            arguments.folder / name, arguments.folder / "gguf", quants=arguments.quants.split(","), force=True
        ):
            print(f"{path.stat().st_size / 1e6:7.2f} MB  {path.name}")


if __name__ == "__main__":
    main()
