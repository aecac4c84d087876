"""No step: makes src/qsift/bench/demo.json, which `qsift verify` holds the bundled pair against.

torch computes them in float32 from the bundled files alone: `bundled` makes checkpoints of them, and `Reference` reads
these as it reads any. Run it again when the pair was trained anew: `python -m demo.values`.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .bundled import write_checkpoint
from qsift.bench.published import CARD_DOCUMENTS, CARD_QUERIES, DEMO_VALUES, HELLO, Published
from qsift.bench.reference import Reference
from qsift.models import RELEASED_PROMPTS, RERANK_TEMPLATES

SOURCE = "torch, from the bundled file: benchmarks/demo/values.py"
_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's enum llama_token_type; <think> is of the second


def embedding_values(reference: Reference) -> list[Published]:
    """Returns the cards' cosines, and the first numbers of a document and a query."""

    def vectors(texts: tuple[str, ...], *, instructed: bool = False) -> np.ndarray:
        before = RELEASED_PROMPTS.texts["query" if instructed else "document"]
        return reference.embed([reference.text_ids(before + text) for text in texts])

    cosines = vectors(CARD_QUERIES, instructed=True) @ vectors(CARD_DOCUMENTS).T
    return [
        Published("similarities", rounded(cosines), SOURCE, CARD_QUERIES, CARD_DOCUMENTS),
        Published("document", rounded(vectors((HELLO,))[0, :5]), SOURCE, documents=(HELLO,)),
        Published("query", rounded(vectors((HELLO,), instructed=True)[0, :5]), SOURCE, queries=(HELLO,)),
    ]


def reranker_values(reference: Reference) -> list[Published]:
    """Returns the differences of the cards' two queries with their two documents."""
    prompts = [RERANK_TEMPLATES["card"].prompt(q, d) for q in CARD_QUERIES for d in CARD_DOCUMENTS]
    scores = reference.score([reference.pair_ids(prompt) for prompt in prompts])
    return [Published("differences", rounded(scores), SOURCE, CARD_QUERIES, CARD_DOCUMENTS)]


def rounded(values: np.ndarray) -> tuple[float, ...]:
    """Returns numbers to six digits, in their order."""
    return tuple(round(float(value), 6) for value in values.ravel())


def main() -> None:
    """Writes the values of both models."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, values in (("demo-embedding", embedding_values), ("demo-reranker", reranker_values)):
        with tempfile.TemporaryDirectory() as folder:
            reference = Reference(write_checkpoint(name, Path(folder)))
            found[name] = [asdict(replace(one, rounding=5e-7)) for one in values(reference)]
    DEMO_VALUES.write_text(json.dumps(found, indent=1) + "\n", "utf-8", newline="\n")
    print(DEMO_VALUES.read_text("utf-8"))


if __name__ == "__main__":
    main()
