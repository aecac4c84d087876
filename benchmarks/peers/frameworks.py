"""The peers that run the checkpoint or a graph made of it: functions that load it and return what is to be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness.workloads import EMBED
from numpy.typing import NDArray

from .job import Floats, Ids, Job, Run, rerank_ids, unit


def padded(ids: Sequence[NDArray[np.int32]], batch_size: int, last: Callable[[Ids, Ids, Ids], Floats]) -> Floats:
    """Returns a row for each sequence, from padded batches of sequences of similar length.

    ``last`` gets the batch's ids and mask, and where each sequence ends; it returns the hidden states there.
    """
    found: list[Any] = [None] * len(ids)
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    for start in range(0, len(ids), batch_size):
        batch = order[start : start + batch_size]
        lengths = np.array([len(ids[i]) for i in batch])
        mask = (np.arange(lengths[0]) < lengths[:, None]).astype(np.int64)
        tokens = np.zeros_like(mask)
        tokens[mask == 1] = np.concatenate([ids[i] for i in batch])
        for i, row in zip(batch, last(tokens, mask, lengths - 1), strict=True):
            found[i] = row
    return np.array(found, np.float32)


def sentence_transformers(dtype: str, batch_size: int) -> Callable[[Job], Run]:
    """sentence-transformers as its users call it, tokenising included."""

    def load(job: Job) -> Run:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(job.threads)
        model = SentenceTransformer(job.model, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
        texts = EMBED[job.workload]().texts
        return lambda: unit(model.encode(texts, batch_size=batch_size, show_progress_bar=False))

    return load


def onnx_runtime(job: Job) -> Run:
    """ONNX Runtime, padded batches of 8 sorted by length."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])

    def last(tokens: Ids, mask: Ids, ends: Ids) -> Floats:
        (hidden,) = session.run(None, {"input_ids": tokens, "attention_mask": mask})
        return np.asarray(hidden)[np.arange(len(ends)), ends]

    ids = EMBED[job.workload]().ids
    return lambda: unit(padded(ids, 8, last))


def openvino(job: Job) -> Run:
    """OpenVINO in the precision that it chooses for this CPU, padded batches of 8 sorted by length."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": job.threads, "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(job.model, "CPU", settings)
    request = model.create_infer_request()

    def last(tokens: Ids, mask: Ids, ends: Ids) -> Floats:
        found = request.infer({0: tokens, 1: mask}, share_inputs=True, share_outputs=True)
        return np.array(found[0][np.arange(len(ends)), ends], np.float32)

    ids = EMBED[job.workload]().ids
    return lambda: unit(padded(ids, 8, last))


def torch_peer(dtype: str, batch_size: int) -> Callable[[Job], Run]:
    """transformers on torch as sentence-transformers drives it: sorted by length, padded batches."""

    def load(job: Job) -> Run:
        import torch
        from transformers import AutoModel

        torch.set_num_threads(job.threads)
        torch.set_grad_enabled(False)
        model = AutoModel.from_pretrained(job.model, dtype=getattr(torch, dtype)).eval()

        def last(tokens: Ids, mask: Ids, ends: Ids) -> Floats:
            found = model(input_ids=torch.from_numpy(tokens), attention_mask=torch.from_numpy(mask), use_cache=False)
            return np.asarray(found.last_hidden_state[torch.arange(len(ends)), torch.from_numpy(ends)].float())

        if job.workload in EMBED:
            work = EMBED[job.workload]()
            return lambda: unit(padded(work.ids, batch_size, last))
        ids, yes, no = rerank_ids(job.workload, Path(job.model))
        head = model.get_input_embeddings().weight.float()  # the 0.6B shape ties the two
        direction = (head[yes] - head[no]).numpy()
        return lambda: 1 / (1 + np.exp(-(padded(ids, batch_size, last) @ direction)))

    return load
