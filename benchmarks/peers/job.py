"""What a peer is asked to run, and what all peers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness.workloads import RERANK
from numpy.typing import NDArray

from qsift import RERANK_TEMPLATES
from qsift.engine import Accel, CacheType

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Run = Callable[[], Floats]


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
        peer: a name from PEERS.
        workload: a name from EMBED or RERANK.
        model: a GGUF, or what OWN_WEIGHTS says.
        threads: CPU threads.
        extra_buffers: whether llama.cpp may repack weights.
        reference: where torch's result lies.
        tolerance: smallest cosine of a vector, or largest difference of a score; None writes the reference.
        accel, cache_type: the accelerator's mode and the cache's type, of which only qsift knows.
    """

    peer: str
    workload: str
    model: str
    threads: int
    extra_buffers: bool
    reference: str
    tolerance: float | None
    accel: Accel = "off"
    cache_type: CacheType = "f16"


def unit(rows: Floats) -> Floats:
    """Returns the rows, each of length 1."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def rerank_ids(workload: str, checkpoint: Path) -> tuple[list[NDArray[np.int32]], int, int]:
    """Returns the prompts of a workload in Hugging Face's ids, and those of yes and no."""
    from tokenizers import Tokenizer

    tokenizer, pairs = Tokenizer.from_file(str(checkpoint / "tokenizer.json")), RERANK[workload]()
    prompts = [RERANK_TEMPLATES["card"].prompt(pairs.query, document) for document in pairs.documents]
    texts = [prompt.head + prompt.body + prompt.tail for prompt in prompts]
    ids = [np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32) for text in texts]
    vocabulary = tokenizer.get_vocab()
    return ids, vocabulary["yes"], vocabulary["no"]
