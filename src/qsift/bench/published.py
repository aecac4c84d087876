"""What others have published about the models that load by name: the inputs, and the numbers that came out.

Every value stands on the page that its `source` names. The values of the bundled pair are nobody's but ours: torch
computed them from the bundled files, in benchmarks/demo/values.py, which writes demo.json.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from qsift.models import SPECS, ModelFile, ModelSpec

DEMO_VALUES = Path(__file__).with_name("demo.json")
"""Where the bundled pair's values lie."""

Kind = Literal["similarities", "query", "document", "differences"]


@dataclass(frozen=True)
class Published:
    """A result, and what it was computed from.

    Attributes:
        kind: "similarities" are cosines and "differences" l_yes - l_no, of each query with each document, query by
            query; "query" and "document" are the first numbers of the vector of the one text.
        values: the numbers.
        source: the page they stand on.
        queries, documents: the texts, without any prompt.
        rounding: how far the numbers themselves are from those of float32.
    """

    kind: Kind
    values: tuple[float, ...]
    source: str
    queries: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    rounding: float = 0.0


CARD_QUERIES = ("What is the capital of China?", "Explain gravity")
CARD_DOCUMENTS = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
    "responsible for the movement of planets around the sun.",
)
"""The texts of the model cards, which the embedding models and the rerankers share."""

HELLO = "hello world"
_FASTEMBED = "https://github.com/qdrant/fastembed/blob/main/tests/test_text_onnx_embeddings.py"
_BF16 = 0.25
"""The rerankers' cards print logits of bfloat16, whose steps are 1/16 to 1/8 there, after layers in bfloat16."""

OVERFLOWING = ('import { useState } from "react";', "importance of trees and forestry", "importance")
"""Texts that give NaN in half precision; the first token is at fault, and the 8B model is the one that overflows."""

OVERFLOW_SOURCE = "https://github.com/QwenLM/Qwen3-Embedding/issues/164"


def _cosines(size: str, *values: float) -> Published:
    # The cards print float32: the four digits of sentence-transformers are the first of the sixteen of transformers.
    source = f"https://huggingface.co/Qwen/Qwen3-Embedding-{size}"
    return Published("similarities", values, source, CARD_QUERIES, CARD_DOCUMENTS, rounding=0.00005)


def _differences(size: str, *values: float) -> Published:
    source = f"https://huggingface.co/Qwen/Qwen3-Reranker-{size}"
    return Published("differences", values, source, CARD_QUERIES[:1], CARD_DOCUMENTS, rounding=_BF16)


PUBLISHED: dict[str, tuple[Published, ...]] = {
    "qwen3-embedding-0.6b": (
        _cosines("0.6B", 0.7646, 0.1414, 0.1355, 0.6000),
        # A float32 graph, behind the cards' instruction without a space after "Query:".
        Published(
            "document",
            (-0.01476084, 0.01723184, -0.01195498, -0.07275258, 0.00281229),
            _FASTEMBED,
            documents=(HELLO,),
        ),
        Published(
            "query", (-0.01908712, 0.01635596, -0.00356586, -0.03947155, -0.01387356), _FASTEMBED, queries=(HELLO,)
        ),
    ),
    "qwen3-embedding-4b": (_cosines("4B", 0.7534, 0.1147, 0.0320, 0.6258),),
    "qwen3-embedding-8b": (_cosines("8B", 0.7493, 0.0751, 0.0880, 0.6318),),
    "qwen3-reranker-0.6b": (
        _differences("0.6B", 7.625, -11.375),
        # float32, with the model's own prompt; sentence-transformers allows 0.01.
        Published(
            "differences",
            (-3.1093, 7.1204, -0.3788, 3.5416),
            "https://github.com/huggingface/sentence-transformers/blob/main/tests/cross_encoder/test_pretrained.py",
            ("Which planet is known as the Red Planet?",),
            (
                "Venus is often called Earth's twin because of its similar size and proximity.",
                "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
                "Jupiter, the largest planet in our solar system, has a prominent red spot.",
                "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
            ),
            rounding=0.01,
        ),
    ),
    "qwen3-reranker-4b": (_differences("4B", 6.4375, -14.375),),
    "qwen3-reranker-8b": (_differences("8B", 5.0625, -14.25),),
}
"""The results of each released model by qsift's name for it."""


def published_results(file: ModelFile) -> tuple[Published, ...]:
    """Returns what was published about a file's model; nothing where it is none that loads by name."""
    spec = spec_of(file)
    if spec is None:
        return ()
    return PUBLISHED[spec.name] if spec.repo else _demo_values()[spec.name]


def spec_of(file: ModelFile) -> ModelSpec | None:
    """Returns the model that a file says it is; None for a fine-tune, and for what is called so but is another size.

    Name, task, layers and width decide. The vocabulary does not: one that was changed is a fault to be found.
    """
    spec = SPECS.get(re.sub(r"[\s_]+", "-", file.name.strip()).lower())
    if spec is None or file.task not in (None, spec.task):
        return None
    return spec if (file.n_layers, file.width) == (spec.num_hidden_layers, spec.hidden_size) else None


@cache
def _demo_values() -> dict[str, tuple[Published, ...]]:
    return {
        name: tuple(_from_json(fields) for fields in rows)
        for name, rows in json.loads(DEMO_VALUES.read_text("utf-8")).items()
    }


def _from_json(fields: dict[str, Any]) -> Published:
    frozen: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in fields.items()}
    return Published(**frozen)
