"""Runs one peer over one workload: a child process of the contest.

Reads a job as JSON from standard input, computes once, and answers how close that is to torch's float32
result; every further line asks for one measurement. Every peer is a function that loads its model and
returns what is to be measured: from texts (or, for those without a tokenizer of their own, ids) to unit
vectors or to scores.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

from .frameworks import onnx_runtime, openvino, sentence_transformers, torch_peer
from .job import Floats, Job, Run
from .llama import llama_embed, qsift, single_phase, xllamacpp
from qsift.engine import peak_rss

PEERS: dict[str, Callable[[Job], Run]] = {
    "qsift": qsift,
    "single-phase": single_phase,
    "Llama.embed": llama_embed,
    "xllamacpp": xllamacpp,
    "sentence-transformers fp32, batch 32": sentence_transformers("float32", 32),
    "sentence-transformers fp32, batch 8": sentence_transformers("float32", 8),
    "sentence-transformers bf16, batch 32": sentence_transformers("bfloat16", 32),
    "torch fp32, batch 32": torch_peer("float32", 32),
    "torch fp32, batch 8": torch_peer("float32", 8),
    "torch bf16, batch 32": torch_peer("bfloat16", 32),
    "torch bf16, batch 8": torch_peer("bfloat16", 8),
    "ONNX Runtime int8, batch 8": onnx_runtime,
    "OpenVINO, batch 8": openvino,
    "OpenVINO int8, batch 8": openvino,
}
RERANKERS = [peer for peer in PEERS if peer.startswith(("qsift", "single-phase", "xllamacpp", "torch"))]
"""The peers that rerank here. Llama.embed cannot: it reads beyond the two scores."""
OWN_WEIGHTS = {
    "sentence-transformers fp32": "torch fp32",
    "sentence-transformers bf16": "torch bf16",
    "torch fp32": "torch fp32",
    "torch bf16": "torch bf16",
    "ONNX Runtime int8": "onnx int8",
    "OpenVINO": "openvino fp16",
    "OpenVINO int8": "openvino int8",
}
"""What the peers read that do not read a GGUF, by name without the batch size: torch's the checkpoint itself."""


def own_weights(peer: str) -> list[str]:
    """Returns what a peer of OWN_WEIGHTS reads; nothing for the others, which read any GGUF."""
    own = OWN_WEIGHTS.get(peer.partition(",")[0])
    return [own] if own else []


def check(result: Floats, reference: Floats, tolerance: float) -> dict[str, float]:
    """Returns how close a result is to torch's float32; ends the process if it is not close enough."""
    if result.shape != reference.shape:
        raise SystemExit(f"the result has shape {result.shape} instead of {reference.shape}")
    if result.ndim == 1:
        difference = float(np.abs(result - reference).max())
        if not difference <= tolerance:
            raise SystemExit(f"a score differs by {difference:.4f}; allowed are {tolerance}")
        return {"max_score_difference": difference}
    cosine = float((result * reference).sum(1).min())
    if not cosine >= tolerance:
        raise SystemExit(f"the smallest cosine is {cosine:.5f}; at least {tolerance} is needed")
    return {"min_cosine": cosine}


def main() -> None:
    """Answers the job on the first line of standard input, then measures once for every further line."""
    job = Job(**json.loads(sys.stdin.readline()))
    run = PEERS[job.peer](job)
    result = run()
    if job.tolerance is None:
        np.save(job.reference, result)
        tell({})
        return
    tell(check(result, np.load(job.reference), job.tolerance))
    for _ in sys.stdin:
        started = time.perf_counter()
        run()
        tell({"seconds": time.perf_counter() - started, "peak_rss": peak_rss() or 0})


def tell(answer: dict[str, float]) -> None:
    """Prints one line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
