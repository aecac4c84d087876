"""Measures on a GPU within a time, the most telling first: `PYTHONPATH=.gpu/site:benchmarks python -m gpu.measure`.

Every group of rows runs in a process of its own: a crash, an exception or a time-out is a row, and the next group goes
on. Each row is a line of JSON in --out, written as soon as it is known. The models have random weights of the
released 0.6B shape and the real vocabulary, and are made first, in --folder.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np
from harness.workloads import Pairs, Texts, documents, texts_of
from models.random_weights import checkpoint, gguf
from numpy.typing import NDArray

from .group import Memory, Run, cosines, memory_used, timed, write
from qsift import Embedder, EngineOptions, Reranker
from qsift.engine import extra_buffers
from qsift.engine.llama import context as context_module
from qsift.engine.llama import engine as engine_module
from qsift.engine.llama.library import build_info, library, supports_gpu
from qsift.models import Task

QUANTS = ("f16", "q8_0", "q4_k_m")


def device(run: Run) -> None:
    """What is there: the machine, the build, and what llama.cpp says when it loads a model and decodes."""
    run.write("library", supports_gpu=supports_gpu(), build=build_info(), memory_used_mib=memory_used())
    with run.guarded("doctor"):
        command = [sys.executable, "-m", "qsift", "doctor"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        run.write("doctor", lines=(told.stdout + told.stderr).splitlines())
    with run.guarded("smi"):
        query = "--query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit"
        shown = subprocess.run(["nvidia-smi", query, "--format=csv"], capture_output=True, text=True, check=False)
        run.write("smi", lines=shown.stdout.splitlines())
    with run.guarded("load"), Memory() as memory:
        start = time.perf_counter()
        with Embedder.load(run.path("f16"), options=run.engine_options()) as embedder:
            loaded = time.perf_counter() - start
            embedder.encode_document("one")
            first = time.perf_counter() - start
            embedder.encode_document(texts_of([300, 200, 100]).texts)
            time.sleep(0.6)
            # What would show on CUDA: layers that are not offloaded, many splits of the graph, no flash attention.
            run.write("load", load_s=loaded, first_vector_s=first, peak_mib=memory.peak, said=run.said)


def models(run: Run) -> None:
    """The files, made once, each in a process of its own."""
    start = time.perf_counter()
    files: list[tuple[Task, str]] = [*(("embed", quant) for quant in QUANTS), ("rerank", "f16"), ("rerank", "q8_0")]
    folder, shape = run.options.folder, run.options.shape
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(checkpoint, folder, shape=shape), get_args(Task)))
        made = {(task, quant): pool.submit(gguf, folder, task, shape, quant) for task, quant in files}
        for (task, quant), path in made.items():
            with run.guarded(f"{task} {quant}"):
                size = path.result().stat().st_size
                run.write(f"{task} {quant}", seconds=time.perf_counter() - start, mb=size / 1e6)


def parity_lengths(run: Run) -> list[int]:
    """Returns lengths from a token or two to the longest, the longest last."""
    generator = np.random.default_rng(7)
    return [2, 3, 17, 63, 64, 65, 511, 512, 513, 1025, *generator.integers(4, 400, 40).tolist(), run.options.longest]


def parity_pairs() -> Pairs:
    """Returns what the rerankers judge."""
    return documents(20, 5, 300, seed=20)


def torch_states(run: Run, task: Any, ids: Sequence[Any], dtype: str = "float32") -> tuple[NDArray[Any], Any]:
    """Returns the last hidden states by torch, a sequence at a time, and the embedding."""
    import torch
    from transformers import AutoModel

    place = torch_device(run)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_grad_enabled(False)
    folder = checkpoint(run.options.folder, task, run.options.shape)
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval().to(place)
    rows = [
        model(input_ids=torch.tensor(np.asarray(one, np.int64)[None], device=place), use_cache=False)
        .last_hidden_state[0, -1]
        .float()
        .cpu()
        .numpy()
        for one in ids
    ]
    return np.array(rows), model.get_input_embeddings().weight


def torch_device(run: Run) -> str:
    """Returns torch's name of the device."""
    import torch

    return "cuda" if run.options.device != "cpu" and torch.cuda.is_available() else "cpu"


def reference(run: Run) -> None:
    """What torch makes in float32 of the texts and pairs that the others are held against; kept in a file."""
    work = texts_of(parity_lengths(run))
    with Embedder.load(run.path("f16"), options=EngineOptions(device="cpu", accel="off")) as embedder:
        queries = [embedder.token_ids(text, prompt_name="query") for text in work.texts[:40]]
        if different := [
            i for i, text in enumerate(work.texts) if not np.array_equal(embedder.token_ids(text), work.ids[i])
        ]:
            run.write("ids", error=f"other token ids for the texts {different}")
    start = time.perf_counter()
    texts, _ = torch_states(run, "embed", [*work.ids, *queries])
    pairs = parity_pairs()
    with Reranker.load(run.path("f16", "rerank"), options=EngineOptions(device="cpu", accel="off")) as reranker:
        ids = [reranker.token_ids(pairs.query, document) for document in pairs.documents]
        yes, no = (reranker.engine.tokenizer.word_id(word) for word in ("yes", "no"))  # type: ignore[attr-defined]
    states, head = torch_states(run, "rerank", ids)
    raw = states @ (head[yes] - head[no]).float().cpu().numpy()
    np.savez(run.options.folder / "reference.npz", texts=texts, raw=raw)
    run.write("made", seconds=time.perf_counter() - start, n_texts=len(texts), n_pairs=len(raw))


def parity(run: Run, quant: str) -> None:
    """A file's vectors beside torch's: in one call, alone, behind a kept prefix, long; then against the CPU's."""
    expected = np.load(run.options.folder / "reference.npz")
    work = texts_of(parity_lengths(run))
    n = len(work.texts)
    with Embedder.load(run.path(quant), options=run.engine_options()) as embedder:
        for name, texts, rows, call in (
            ("all in one call", work.texts, slice(0, n), embedder.encode_document),
            ("the longest alone", work.texts[-1:], slice(n - 1, n), embedder.encode_document),
            ("queries", work.texts[:40], slice(n, None), embedder.encode_query),
            ("queries, prefix kept", work.texts[:40], slice(n, None), embedder.encode_query),
        ):
            with run.guarded(name):
                before = run.mended
                run.write(
                    name, quant=quant, **cosines(call(texts), expected["texts"][rows]), emptied=run.mended - before
                )
        with run.guarded("each alone"):
            alone = np.array([embedder.encode_document(text) for text in work.texts[:25]])
            run.write("each alone", quant=quant, **cosines(alone, expected["texts"][:25]))
        with run.guarded("the same bits again"):
            twice = [embedder.encode_document(work.texts[10:30]) for _ in range(2)]
            run.write("the same bits again", quant=quant, largest_change=float(np.abs(twice[0] - twice[1]).max()))
        with run.guarded("beside the CPU"):
            ours = embedder.encode_document(work.texts[:8])
            with Embedder.load(run.path(quant), options=EngineOptions(device="cpu", accel="off")) as on_cpu:
                run.write("beside the CPU", quant=quant, **cosines(ours, on_cpu.encode_document(work.texts[:8])))


def rerank_parity(run: Run) -> None:
    """P(yes) beside torch's."""
    raw = np.load(run.options.folder / "reference.npz")["raw"].astype(np.float64)
    pairs = parity_pairs()
    for quant in ("f16", "q8_0"):
        with run.guarded(quant), Reranker.load(run.path(quant, "rerank"), options=run.engine_options()) as reranker:
            for name in ("first call", "prefix kept"):
                ours = reranker.predict([(pairs.query, document) for document in pairs.documents])
                change = np.abs(ours - 1 / (1 + np.exp(-raw)))
                run.write(name, quant=quant, largest_change=change.max(), mean_change=change.mean(), spread=ours.std())


def demo(run: Run) -> None:
    """The bundled pair against its published values, as `qsift verify` does it."""
    from qsift.bench import check_finite, check_published

    for name, loader in (("demo-embedding", Embedder), ("demo-reranker", Reranker)):
        with run.guarded(name), loader.load(name, options=run.engine_options()) as model:
            for check in [*check_published(model), check_finite(model)]:
                run.write(name, check=check.name, off=check.off, tolerance=check.tolerance, passed=check.passed)


def measure(
    run: Run, name: str, call: Callable[[Sequence[str]], Any], work: Texts, memory: Memory, **more: Any
) -> None:
    """Writes the speed of embedding a workload, after a shorter call that is not timed."""
    with run.guarded(name):
        call(work.texts[: max(2, len(work.texts) // 8)])
        seconds = timed(lambda: call(work.texts), 2, min(run.end, time.monotonic() + 12))
        rate = work.n_tokens / min(seconds)
        figures = {"tokens_per_s": round(rate), "seconds": seconds, "n_tokens": work.n_tokens, "peak_mib": memory.peak}
        run.write(name, **figures, **more)


def speed(run: Run, quant: str) -> None:
    """qsift with its defaults, and the latency of a query."""
    with Memory() as memory, Embedder.load(run.path(quant), options=run.engine_options()) as embedder:
        for name in ("mix", "u128", "n8192"):
            measure(run, name, embedder.encode_document, run.workload(name), memory, quant=quant, peer="qsift")
        with run.guarded("query"):
            query = texts_of([12]).texts[0]
            embedder.encode_query(query)
            found = timed(lambda: embedder.encode_query(query), 30, run.end)
            run.write("query", quant=quant, peer="qsift", median_ms=statistics.median(found) * 1000)


def rerank_speed(run: Run) -> None:
    """qsift's reranker: fifty documents of one query, and many queries."""
    for quant in ("f16", "q8_0"):
        with run.guarded(quant), Reranker.load(run.path(quant, "rerank"), options=run.engine_options()) as reranker:
            sets = [documents(run.count(50), 130, 170, seed=50 + i) for i in range(8)]
            pairs = [[(one.query, document) for document in one.documents] for one in sets]
            tokens = [sum(reranker.token_count(*pair) for pair in some) for some in pairs]
            reranker.predict(pairs[7])
            seconds = [timed(partial(reranker.predict, some), 1, run.end)[0] for some in pairs[:7]]
            figures = {"median_s": statistics.median(seconds), "tokens_per_s": round(sum(tokens[:7]) / sum(seconds))}
            run.write("rerank50", quant=quant, peer="qsift", n_documents=len(pairs[0]), **figures)


def single_phase(run: Run) -> None:
    """The plain decode: every token an output."""
    from peers.single_phase import SinglePhase

    from qsift.engine.llama.library import LlamaModel
    from qsift.models import ModelFile

    work = run.workload("mix")
    work = Texts(work.texts[: len(work.texts) // 4 + 1], work.ids[: len(work.ids) // 4 + 1])
    for quant in ("f16", "q8_0"):
        with run.guarded(quant), Memory() as memory:
            file = ModelFile.open(run.path(quant))
            model = LlamaModel(file, run.engine_options(), extra_buffers=extra_buffers(run.engine_options()))
            pooling = library().LLAMA_POOLING_TYPE_LAST
            engine = SinglePhase(model, pooling=pooling, width=file.width, threads=4, longest=512)
            engine.decode(work.ids[:8])
            seconds = timed(lambda engine=engine: engine.decode(work.ids), 2, time.monotonic() + 6)  # type: ignore[misc]
            rate = round(work.n_tokens / min(seconds))
            run.write("mix", quant=quant, peer="single-phase", tokens_per_s=rate, seconds=seconds, peak_mib=memory.peak)


def sentence_transformers(run: Run) -> None:
    """sentence-transformers as its users call it."""
    import importlib.util

    import torch
    from sentence_transformers import SentenceTransformer

    has_flash = importlib.util.find_spec("flash_attn") is not None
    folder, place = str(checkpoint(run.options.folder, "embed", run.options.shape)), torch_device(run)
    expected = np.load(run.options.folder / "reference.npz")["texts"]
    some = texts_of(parity_lengths(run))
    for dtype in ("float16", "bfloat16"):
        for attention in ("sdpa", "flash_attention_2") if has_flash else ("sdpa",):
            with run.guarded(f"{dtype} {attention}"), Memory() as memory:
                arguments = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
                model = SentenceTransformer(folder, device=place, model_kwargs=arguments)
                told = {"peer": "sentence-transformers", "dtype": dtype, "attention": attention}
                ours = model.encode(some.texts, batch_size=8, show_progress_bar=False)
                run.write("parity", **told, **cosines(ours, expected[: len(some.texts)]))
                for size in (128, 32):
                    for name in ("mix", "u128") if size == 128 or dtype == "bfloat16" else ("mix",):
                        encode = partial(model.encode, batch_size=size, show_progress_bar=False)
                        measure(run, name, encode, run.workload(name), memory, batch_size=size, **told)
                encode = partial(model.encode, batch_size=4, show_progress_bar=False)
                measure(run, "n8192", encode, run.workload("n8192"), memory, batch_size=4, **told)
                found = timed(lambda model=model: model.encode(some.texts[2]), 30, run.end)  # type: ignore[misc]
                run.write("query", **told, median_ms=statistics.median(found) * 1000)
                del model
                if place == "cuda":
                    torch.cuda.empty_cache()


def sweep(run: Run, quant: str) -> None:
    """What the planner and the context could choose on a GPU: one thing after the other is changed."""
    settings: list[dict[str, Any]] = [
        *({"micro": micro, "sequences": 256} for micro in (512, 1024, 2048, 4096, 8192)),
        {"micro": 2048, "sequences": 64},
        {"micro": 2048, "calls": 8192, "sequences": 256},
        {"micro": 512, "calls": 4096, "sequences": 256},
        {"micro": 2048, "sequences": 64, "unified": False},
        {"micro": 4096, "sequences": 64, "unified": False},
        {"micro": 2048, "sequences": 256, "flash_attention": False},
        {"micro": 2048, "sequences": 256, "flash_attention": True},
        {"micro": 2048, "sequences": 256, "cache_type": "q8_0"},
        {"micro": 2048, "sequences": 256, "cache_type": "f32"},
    ]
    works = {name: run.workload(name) for name in ("mix", "n8192")}
    init, unified = library().llama_init_from_model, [True]

    def initialised(model: Any, params: Any) -> Any:
        if not unified[0]:
            params.kv_unified, params.n_ctx = False, context_module.MAX_SEQUENCES * 512
        return init(model, params)

    library().llama_init_from_model = initialised
    for setting in settings:
        if run.is_over:
            return
        changes = {name: setting[name] for name in ("flash_attention", "cache_type") if name in setting}
        unified[0] = setting.get("unified", True)
        context_module.MICRO_BATCH = setting["micro"]
        context_module.MAX_SEQUENCES = engine_module.MAX_SEQUENCES = setting["sequences"]
        options = run.engine_options(
            batch_tokens=setting.get("calls", setting["micro"]), share_prefixes=unified[0], **changes
        )
        with (
            run.guarded(f"{setting}"),
            Memory() as memory,
            Embedder.load(run.path(quant), options=options) as embedder,
        ):
            for name, work in works.items():
                if name == "mix" or (unified[0] and "calls" not in setting and setting["sequences"] == 256):
                    measure(run, name, embedder.encode_document, work, memory, quant=quant, **setting)


GROUPS: dict[str, tuple[Callable[[Run], None], float]] = {
    "models": (models, 150),
    "device": (device, 40),
    "reference": (reference, 60),
    **{f"parity-{quant}": (partial(parity, quant=quant), 40) for quant in QUANTS},
    "parity-rerank": (rerank_parity, 30),
    "demo": (demo, 30),
    "speed-f16": (partial(speed, quant="f16"), 60),
    "speed-sentence-transformers": (sentence_transformers, 100),
    "speed-q8_0": (partial(speed, quant="q8_0"), 60),
    "sweep-f16": (partial(sweep, quant="f16"), 120),
    "speed-rerank": (rerank_speed, 40),
    "speed-single-phase": (single_phase, 40),
    "speed-q4_k_m": (partial(speed, quant="q4_k_m"), 60),
    "sweep-q8_0": (partial(sweep, quant="q8_0"), 90),
}
"""The groups in their order, each with the most seconds that it may take."""


def main() -> None:
    """Runs the groups one after the other, or, with --group, one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240, help="for all groups together")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, by how their names begin: parity,speed-f16")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="gpu")
    parser.add_argument("--shape", choices=("0.6b", "tiny"), default="0.6b")
    parser.add_argument("--scale", type=float, default=1, help="of the number of texts")
    parser.add_argument("--longest", type=int, default=8192, help="tokens of the longest texts")
    parser.add_argument("--folder", type=Path, default=Path(".gpu/models"), help="where the models are made")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"))
    parser.add_argument("--group", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.group:
        with (run := Run(options, options.group)).guarded("group"):
            GROUPS[options.group][0](run)
        return
    end = time.monotonic() + options.seconds
    for group, (_, most) in GROUPS.items():
        if not group.startswith(tuple(options.only.split(","))):
            continue
        if (left := min(end - time.monotonic(), most)) < 3:
            write(options.out, group, "skipped", error="the time is up")
            continue
        own = [sys.executable, "-m", "gpu.measure", *sys.argv[1:], "--group", group, "--seconds", f"{left - 2:.0f}"]
        start = time.monotonic()
        try:
            code = subprocess.run(own, timeout=left, check=False).returncode
        except subprocess.TimeoutExpired:
            code = None
        write(
            options.out,
            group,
            "end",
            seconds=time.monotonic() - start,
            **({} if code == 0 else {"error": f"exit code {code}"}),
        )


if __name__ == "__main__":
    main()
