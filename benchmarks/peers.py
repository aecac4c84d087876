"""Runs one peer over one workload: the child process of throughput.py.

Reads a job as JSON from standard input, computes once, and answers how close that is to torch's float32
result; every further line asks for one measurement. Every peer is a function that loads its model and
returns what is to be measured: from texts (or, for those without a tokenizer of their own, ids) to unit
vectors or to scores.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import peak_rss
from numpy.typing import NDArray
from workloads import EMBED, rerank32

from qsift import RERANK_TEMPLATES, Embedder, EngineOptions, Reranker
from qsift.engine import Accel

Floats = NDArray[np.float32]
Run = Callable[[], Floats]


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
        peer: a name from PEERS.
        workload: a name from workloads.EMBED, or "rerank32".
        model: a GGUF, or for torch the checkpoint's folder.
        threads: CPU threads.
        extra_buffers: whether llama.cpp may repack weights.
        reference: where torch's result lies.
        tolerance: smallest cosine of a vector, or largest difference of a score; None writes the reference.
        accel: the accelerator's mode, of which only qsift knows.
    """

    peer: str
    workload: str
    model: str
    threads: int
    extra_buffers: bool
    reference: str
    tolerance: float | None
    accel: Accel = "off"


def qsift(job: Job) -> Run:
    """qsift as its users call it, tokenising included."""
    options = EngineOptions(threads=job.threads, extra_buffers=job.extra_buffers, accel=job.accel)
    if job.workload in EMBED:
        work = EMBED[job.workload]()
        embedder = Embedder.load(job.model, options=options)
        computing = embedder.engine.accel or "off"  # type: ignore[attr-defined]
        if computing != job.accel:
            raise SystemExit(f"the accelerator is {computing}, and not {job.accel}")
        differing = [
            i for i, text in enumerate(work.texts) if embedder.token_ids(text).tolist() != work.ids[i].tolist()
        ]
        if differing:
            raise SystemExit(f"other token ids for texts {differing}")
        return lambda: np.asarray(embedder.encode_document(work.texts))
    reranker = Reranker.load(job.model, options=options)
    pairs = rerank32()
    return lambda: np.asarray(reranker.predict([(pairs.query, document) for document in pairs.documents]))


def single_phase(job: Job) -> Run:
    """The plain decode of `single_phase`, over ids: without the little that tokenising takes."""
    from single_phase import SinglePhase

    from qsift.llama_library import LlamaModel, LlamaTokenizer, library
    from qsift.model_file import ModelFile
    from qsift.tokenization import PromptEncoder

    file = ModelFile.open(job.model)
    model = LlamaModel(file, EngineOptions(device="cpu"), extra_buffers=job.extra_buffers)
    if job.workload in EMBED:
        ids, pooling, width = EMBED[job.workload]().ids, library().LLAMA_POOLING_TYPE_LAST, file.width
    else:
        encoder, pairs, template = PromptEncoder(LlamaTokenizer(model)), rerank32(), RERANK_TEMPLATES["card"]
        ids = [encoder.encode(template.prompt(pairs.query, document)).ids for document in pairs.documents]
        pooling, width = library().LLAMA_POOLING_TYPE_RANK, len(file.labels)
    longest = max(len(sequence) for sequence in ids)
    engine = SinglePhase(model, pooling=pooling, width=width, threads=job.threads, longest=longest)
    if job.workload in EMBED:
        return lambda: unit(engine.decode(ids))
    yes = file.labels.index("yes")
    return lambda: engine.decode(ids)[:, yes]


def llama_embed(job: Job) -> Run:
    """llama_cpp.Llama.embed with its defaults, but for the threads and the kernels."""
    from llama_cpp import Llama, llama_cpp

    defaults = llama_cpp.llama_model_default_params

    def with_kernels() -> Any:
        params = defaults()
        params.use_extra_bufts = job.extra_buffers
        return params

    # The class has no argument for this; without it, it would be measured on other kernels.
    llama_cpp.llama_model_default_params = with_kernels
    llama = Llama(job.model, embedding=True, n_threads=job.threads, n_threads_batch=job.threads, verbose=False)
    texts = EMBED[job.workload]().texts
    return lambda: unit(np.array(llama.embed(texts), np.float32))


def torch_peer(dtype: str, batch_size: int) -> Callable[[Job], Run]:
    """transformers on torch as sentence-transformers drives it: sorted by length, padded batches."""

    def load(job: Job) -> Run:
        import torch
        from transformers import AutoModel

        torch.set_num_threads(job.threads)
        torch.set_grad_enabled(False)
        model = AutoModel.from_pretrained(job.model, dtype=getattr(torch, dtype)).eval()

        def rows(ids: Sequence[NDArray[np.int32]]) -> Floats:
            found = np.empty((len(ids), model.config.hidden_size), np.float32)
            order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
            for start in range(0, len(ids), batch_size):
                batch = order[start : start + batch_size]
                lengths = torch.tensor([len(ids[i]) for i in batch])
                tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[i]) for i in batch], batch_first=True)
                mask = torch.arange(tokens.shape[1]) < lengths[:, None]
                hidden = model(input_ids=tokens, attention_mask=mask.long(), use_cache=False).last_hidden_state
                found[batch] = hidden[torch.arange(len(batch)), lengths - 1].float().numpy()
            return found

        if job.workload in EMBED:
            work = EMBED[job.workload]()
            return lambda: unit(rows(work.ids))
        ids, yes, no = rerank_ids(Path(job.model))
        head = model.get_input_embeddings().weight.float()  # the 0.6B shape ties the two
        direction = (head[yes] - head[no]).numpy()
        return lambda: 1 / (1 + np.exp(-(rows(ids) @ direction)))

    return load


def rerank_ids(checkpoint: Path) -> tuple[list[NDArray[np.int32]], int, int]:
    """Returns the prompts of rerank32 in Hugging Face's ids, and those of yes and no."""
    from tokenizers import Tokenizer

    tokenizer, pairs = Tokenizer.from_file(str(checkpoint / "tokenizer.json")), rerank32()
    prompts = [RERANK_TEMPLATES["card"].prompt(pairs.query, document) for document in pairs.documents]
    texts = [prompt.head + prompt.body + prompt.tail for prompt in prompts]
    ids = [np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32) for text in texts]
    vocabulary = tokenizer.get_vocab()
    return ids, vocabulary["yes"], vocabulary["no"]


def unit(rows: Floats) -> Floats:
    """Returns the rows, each of length 1."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


PEERS: dict[str, Callable[[Job], Run]] = {
    "qsift": qsift,
    "single-phase": single_phase,
    "Llama.embed": llama_embed,
    "torch fp32, batch 32": torch_peer("float32", 32),
    "torch fp32, batch 8": torch_peer("float32", 8),
    "torch bf16, batch 32": torch_peer("bfloat16", 32),
    "torch bf16, batch 8": torch_peer("bfloat16", 8),
}


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
        tell({"seconds": time.perf_counter() - started, "peak_rss": peak_rss()})


def tell(answer: dict[str, float]) -> None:
    """Prints one line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
