"""No step: those pairs that `reranker` reads, in a file of some megabytes: pairs.jsonl.xz.

With it, this repository and a GPU the reranker can be trained where nothing can be fetched: `bundled` writes the rest.
"""

from __future__ import annotations

import argparse
import json
import lzma
from pathlib import Path

import numpy as np

from .pairs import FIELDS, PORTABLE, Pairs
from .reranker import MIX

SPARE = 1.1
"""Pairs are written for each that is wanted; some repeat others' texts."""


def main() -> None:
    """Writes the file and prints its size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    pairs, generator = Pairs.read(folder), np.random.default_rng(0)
    wanted = [pairs.rows("package", ("en", "en"), held_out=True)]
    for kind, languages, most, _, _ in MIX:
        wanted.append(generator.permutation(pairs.rows(kind, (languages[:2], languages[3:])))[: int(SPARE * most)])
    with lzma.open(folder / PORTABLE, "wt", encoding="utf-8") as file:
        for row in np.unique(np.concatenate(wanted)):
            pair = {name: getattr(pairs, name)[row] for name in FIELDS} | {"held_out": bool(pairs.held_out[row])}
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")
    print(f"{(folder / PORTABLE).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
