"""The peers that run a GGUF on llama.cpp: functions that load it and return what is to be measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from harness.workloads import EMBED, RERANK

from .job import Floats, Job, Run, unit
from qsift import RERANK_TEMPLATES, Embedder, EngineOptions, Reranker


def qsift(job: Job) -> Run:
    """qsift as its users call it, tokenising included."""
    options = EngineOptions(
        threads=job.threads, extra_buffers=job.extra_buffers, accel=job.accel, cache_type=job.cache_type
    )
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
    pairs = RERANK[job.workload]()
    return lambda: np.asarray(reranker.predict([(pairs.query, document) for document in pairs.documents]))


def single_phase(job: Job) -> Run:
    """The plain decode of `single_phase`, over ids: without the little that tokenising takes."""
    from .single_phase import SinglePhase
    from qsift.engine.llama.library import LlamaModel, LlamaTokenizer, library
    from qsift.models import ModelFile
    from qsift.text.tokenization import PromptEncoder

    file = ModelFile.open(job.model)
    model = LlamaModel(file, EngineOptions(device="cpu"), extra_buffers=job.extra_buffers)
    if job.workload in EMBED:
        ids, pooling, width = EMBED[job.workload]().ids, library().LLAMA_POOLING_TYPE_LAST, file.width
    else:
        encoder, pairs = PromptEncoder(LlamaTokenizer(model)), RERANK[job.workload]()
        template = RERANK_TEMPLATES["card"]
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


def xllamacpp(job: Job) -> Run:
    """llama.cpp's own server in this process, asked for all at once, with the settings its documentation gives."""
    from .llama_server import server

    found = server(job.model, job.threads, rerank=job.workload not in EMBED, extra_buffers=job.extra_buffers)
    if job.workload in EMBED:
        request: dict[str, Any] = {"input": EMBED[job.workload]().texts}
        return lambda: unit(np.array([item["embedding"] for item in found.handle_embeddings(request)["data"]]))
    pairs = RERANK[job.workload]()
    request = {"query": pairs.query, "documents": pairs.documents}

    def scores() -> Floats:
        results = sorted(found.handle_rerank(request)["results"], key=lambda item: item["index"])
        return np.array([item["relevance_score"] for item in results], np.float32)

    return scores
