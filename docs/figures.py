"""Tables and sentences of the documentation, from the rows of benchmarks/results.

    cog -r -P -I docs -p "from figures import *" README.md docs/*.md      (make figures)

A page holds blocks such as `<!-- [[[cog ragged() ]]] -->`; cog puts what the function prints between them and `make
lint` checks that nothing else stands there. So a figure without a row cannot be printed. Each function prints the line
of the machine that its rows come from. This file measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

from drawing import bars, points

from qsift.engine.memory import cache_bytes, run_bytes
from qsift.models import SCHEMES, SPECS, checkpoint_bytes, gguf_bytes

Row = dict[str, Any]
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
NAMES = {
    "qsift": "**qsift**",
    "single-phase": "the same file, each call decoded in a single phase",
    "xllamacpp": "xllamacpp (llama.cpp's server), same file",
    "Llama.embed": "`llama_cpp.Llama.embed`, same file",
    "sentence-transformers fp32, batch 8": "sentence-transformers, float32, batches of 8",
    "sentence-transformers fp32, batch 32": "sentence-transformers, float32, batches of 32 (its default)",
    "torch bf16, batch 8": "torch, bfloat16, batches of 8",
    "ONNX Runtime int8, batch 8": "ONNX Runtime, dynamic int8, batches of 8",
    "OpenVINO, batch 8": "OpenVINO, bfloat16, batches of 8",
    "OpenVINO int8, batch 8": "OpenVINO, int8 weights, batches of 8",
}


def rows(file: str, /, **wanted: Any) -> list[Row]:
    """Returns the rows of a results file whose fields or settings have the wanted values, in its order."""
    every = map(json.loads, (RESULTS / f"{file}.jsonl").read_text("utf-8").splitlines())
    flat = ({**row, **row.get("settings", {}), "day": row["measured_at"][:10]} for row in every)
    return [row for row in flat if all(row.get(key) == value for key, value in wanted.items())]


def value(file: str, name: str, /, **wanted: Any) -> float:
    """Returns the newest figure of a name."""
    return float(rows(file, name=name, **wanted)[-1]["value"])


def machine(row: Row) -> str:
    """Returns where and when a row was measured."""
    facts = row["machine"]
    features = facts.get("cpu_features")
    can = f"with {', '.join(features)}" if features else "(instruction sets not recorded)"
    threads = f", {row['threads']} threads" if row.get("threads") else ""
    return f"{facts['cpu']} {can}, {facts['cores']} cores{threads}; {row['day']}"


def table(heads: Sequence[Any], lines: Iterable[Sequence[Any]], row: Row | None = None) -> None:
    """Prints a table, and the machine of ``row`` under it."""
    print()
    print(f"| {' | '.join(map(str, heads))} |")
    print(f"|---|{'--:|' * (len(heads) - 1)}")
    for line in lines:
        print(f"| {' | '.join(map(str, line))} |")
    if row:
        print(f"\nMeasured on: {machine(row)}.")
    print()


def sentence(text: str) -> None:
    """Prints a paragraph."""
    print(f"\n{fill(text, 120, break_on_hyphens=False)}\n")


def seconds(row: Row) -> float:
    """Returns the median of a row's rounds."""
    return float(median(row["seconds"]))


def ragged() -> None:
    """qsift beside what users would run instead, on texts of ragged length."""
    found = _ragged()
    ours = next(row for row in found if row["peer"] == "qsift")
    lines = [
        (
            NAMES[row["peer"]] + (", Q6_K" if row is ours else ""),
            f"{row['tokens_per_second']:.0f}",
            f"{ours['tokens_per_second'] / row['tokens_per_second']:.2f} ×",
            f"{row['peak_rss'] / 1e9:.1f} GB",
            f"{row['check']['min_cosine']:.4f}",
        )
        for row in found
    ]
    table(("", "tokens a second", "qsift beside it", "peak memory", "smallest cosine to torch"), lines, ours)


def ragged_picture() -> None:
    """The same as bars, in SVG."""
    found = _ragged()
    bars([(row["peer"], row["tokens_per_second"]) for row in found], "tokens a second, texts of ragged length")


def by_length() -> None:
    """Tokens a second by the length of the texts."""
    _by_workload("n", [16, 64, 256, 1024], "tokens of a text", lambda row: f"{row['tokens_per_second']:.0f}")


def by_documents() -> None:
    """Seconds of a rerank by the number of documents."""
    found = rows("throughput", quant="q6_k")
    lines = []
    for count in (10, 50):
        ours, theirs = (
            [row for row in found if row["workload"] == f"rerank{count}" and row["peer"] == peer][-1]
            for peer in ("qsift", "xllamacpp")
        )
        cells = (f"{seconds(ours):.0f} s", f"{seconds(theirs):.0f} s", f"{seconds(theirs) / seconds(ours):.2f} ×")
        lines.append((f"{count} documents of about 150 tokens", *cells))
    table(("", "qsift", "xllamacpp", "ratio"), lines, found[-1])


def by_quant() -> None:
    """Tokens a second, memory and cosine of each quant, from the newest run that compared them."""
    found = rows("throughput", workload="u128", peer="qsift", threads=2)
    run = [row for row in found if row["quant"] == "iq4_xs"][-1]["measured_at"][:15]  # ten minutes
    compared = {row["quant"]: row for row in reversed(found) if row["measured_at"].startswith(run)}
    lines = [
        (
            quant,
            f"{compared[quant]['tokens_per_second']:.0f}",
            f"{compared[quant]['peak_rss'] / 1e9:.2f} GB",
            f"{compared[quant]['check']['min_cosine']:.4f}",
        )
        for quant in SCHEMES
        if quant in compared
    ]
    heads = ("quant", "tokens a second", "peak memory", "smallest cosine to torch")
    table(heads, lines, next(iter(compared.values())))


def embedding_losses() -> None:
    """What each quant of the demo embedder loses beside F32, as it runs where nothing is set."""
    _table_of_losses("demo", "embed")


def reranking_losses() -> None:
    """The same for the demo reranker."""
    _table_of_losses("demo", "rerank")


def losses_of_the_released_size() -> None:
    """The same for the released 0.6B's shape with random weights, measured beside other work: speeds are left out."""
    _table_of_losses("random", "embed", has_speed=False)


def what_an_imatrix_gains() -> None:
    """In how many quants the importance matrix makes the loss smaller, for both models, and where it does not."""
    parts = []
    for task, what in (("embed", "1 − cosine"), ("rerank", "change of P(yes)")):
        found = {(row["quant"], row["imatrix"]): row for row in _losses("demo", task, accel="off", cache_type="f16")}
        pairs = {
            quant: (found[quant, False]["loss"], row["loss"]) for (quant, weighed), row in found.items() if weighed
        }
        worse = [quant for quant, (plain, weighed) in pairs.items() if weighed >= plain]
        but = f" (not {', '.join(worse)})" if worse else ""
        parts.append(
            f"the mean {what} is smaller with the matrix in {len(pairs) - len(worse)} of {len(pairs)} quants{but}"
        )
    sentence(f"On these texts, none of which is among those that the matrix was measured on, {'; '.join(parts)}.")


def losses_by_engine() -> None:
    """What the accelerator's modes and the types of cache add to what the quants lose."""
    every = _losses("demo", "embed")
    kinds = [("off", "f16"), ("exact", "f16"), ("bf16", "f16"), ("int8", "f16"), ("off", "q8_0"), ("off", "f32")]
    lines = []
    for first in (row for row in every if (row["accel"], row["cache_type"]) == kinds[0]):
        same = [row for row in every if (row["quant"], row["imatrix"]) == (first["quant"], first["imatrix"])]
        here = {(row["accel"], row["cache_type"]): row for row in same}
        if len(here) > 1:
            name = f"{first['quant']}, importance-weighted" if first["imatrix"] else first["quant"]
            lines.append((name, *(f"{here[kind]['loss']:.5f}" if kind in here else "–" for kind in kinds)))
    heads = ("mean loss", "plain", "exact", "bf16", "int8", "cache q8_0", "cache f32")
    table(heads, lines, every[-1])


def losses_by_vector() -> None:
    """nDCG@10 of each precision and width of the vectors, by quant."""
    every = rows("quants", models="demo", task="embed", accel="off", cache_type="f16", imatrix=False)
    shapes = list(dict.fromkeys((row["precision"], row["width"]) for row in every))
    lines = []
    for quant in dict.fromkeys(row["quant"] for row in every):
        here = {(row["precision"], row["width"]): row for row in every if row["quant"] == quant}
        lines.append((quant, *(f"{here[shape]['ndcg']:.3f}" for shape in shapes)))
    table(("nDCG@10", *(f"{precision}, {width}" for precision, width in shapes)), lines, every[-1])


def losses_picture() -> None:
    """What is lost against the size of the file, for both models, in SVG: lower and further left is better."""
    for place, (task, title) in enumerate(
        (("embed", "embedder: 1 − cosine"), ("rerank", "reranker: change of P(yes)"))
    ):
        found = [row for row in _losses("demo", task, accel="off", cache_type="f16") if row["loss"] > 1e-6]
        points(found, title, left=20 + 380 * place)


def by_threads() -> None:
    """Tokens a second with one thread and with two."""
    found = [row for row in rows("throughput", workload="u128") if row["quant"] in ("q6_k", "torch fp32")]
    newest = {(row["peer"], row["threads"]): row for row in found}
    lines = []
    for peer, threads in newest:
        if threads == 1:
            one, two = (newest[peer, n]["tokens_per_second"] for n in (1, 2))
            lines.append((NAMES[peer], f"{one:.0f}", f"{two:.0f}", f"{two / one:.2f} ×"))
    table(("", "one thread", "two threads", "ratio"), lines, {**found[-1], "threads": None})


def accelerator() -> None:
    """The plug-in beside llama.cpp's own kernels and other engines: a table for each CPU, the newest first."""
    heads = ("", "tokens a second", "one text of 33 tokens", "peak memory", "smallest cosine to torch")
    mixes, singles = (_newest_of_each_cpu(workload) for workload in ("mix", "single33"))
    for cpu in reversed(mixes):
        lines = []
        for entrant, row in mixes[cpu].items():
            mode = f", accelerator in {row['accel']}" if row["accel"] else ", llama.cpp's kernels"
            name = f"qsift, {row['quant'].upper()}{mode}" if row["peer"] == "qsift" else NAMES[row["peer"]]
            speed, wait = f"{row['tokens_per_second']:.0f}", f"{seconds(singles[cpu][entrant]) * 1e3:.0f} ms"
            lines.append((name, speed, wait, f"{row['peak_rss'] / 1e9:.2f} GB", f"{row['check']['min_cosine']:.5f}"))
        table(heads, lines, row)


def accelerator_works() -> None:
    """What else the newest CPU was measured with: long texts, a rerank, a short query."""
    entrants = {
        ("qsift", "q8_0", None): "Q8_0, llama.cpp's kernels",
        ("qsift", "q8_0", "exact"): "Q8_0, exact",
        ("qsift", "bf16", "bf16"): "BF16, bf16",
        ("torch bf16, batch 8", "torch bf16", None): "torch, bfloat16",
        ("xllamacpp", "q8_0", None): "xllamacpp, Q8_0",
    }
    works = {"n2048": "a text of 2,048 tokens", "n8192": "a text of 8,192 tokens", "rerank50": "50 documents reranked"}
    lines = []
    for workload, label in works.items():
        *_, newest = _newest_of_each_cpu(workload).values()
        cells = (f"{seconds(newest[one]):.1f} s" if one in newest else "–" for one in entrants)
        lines.append((label, *cells))
    query = rows("kept_prefix", name="a short query in the accelerator's mode exact, times faster")[-1]
    exact, plain = (f"{each * 1e3:.0f} ms" for each in query["seconds"])
    lines.append(("a short query, its instruction kept", plain, exact, "–", "–", "–"))
    table(("", *entrants.values()), lines, query)


def _newest_of_each_cpu(workload: str) -> dict[str, dict[tuple[str, str, str | None], Row]]:
    found: dict[str, dict[tuple[str, str, str | None], Row]] = {}
    for row in rows("accelerator", workload=workload):
        cpu = f"{row['machine']['cpu']} {row['machine'].get('cpu_features')}"
        found.setdefault(cpu, {})[row["peer"], row["quant"], row["accel"]] = row
    return found


def cache_types() -> None:
    """What the type of cached keys and values costs."""
    found = rows("cache_type")
    lines = [
        (
            f"`{row['cache_type']}`",
            f"{row['tokens_per_second']:.0f}",
            f"{row['peak_rss'] / 1e6:.0f} MB",
            f"{row['check']['min_cosine']:.5f}",
        )
        for row in found
    ]
    table(("cache", "tokens a second", "peak memory", "smallest cosine to torch"), lines, found[-1])


def cold_start() -> None:
    """From the start of the process to the first vector, step by step, without the accelerator and with it."""
    modes = {"off": "llama.cpp's kernels", "exact": "accelerator in exact"}
    found = [rows("cold_start", name="first vector, s", accel=mode)[-1] for mode in modes]
    share = "first vector, of sentence-transformers bf16's time"
    shares = [rows("cold_start", name=share, accel=mode)[-1] for mode in modes]
    steps = [key for key in found[0]["settings"] if isinstance(found[0]["settings"][key], float)]
    lines = [(step, *(f"{row[step] * 1e3:.0f} ms" for row in found)) for step in steps]
    lines.append(("**first vector**", *(f"**{row['value']:.2f} s**" for row in found)))
    beside = (f"{share['value']:.2f}" for share in shares)
    lines.append(("beside sentence-transformers in bfloat16", *beside))
    table(("", *modes.values()), lines, found[-1])


def kept_prefix() -> None:
    """What a kept instruction, and a kept query, spare."""
    names = ("a short query, times faster", "3 documents, times faster")
    found = [rows("kept_prefix", name=name)[-1] for name in names]
    lines = []
    for label, row in zip(("a short query", "a rerank of three documents"), found, strict=True):
        kept, anew = row["settings"]["seconds"]
        lines.append((label, f"{anew:.2f} s", f"{kept:.2f} s", f"{row['value']:.2f} ×"))
    table(("", "decoded anew", "kept", "ratio"), lines, found[-1])


def flat_memory() -> None:
    """Whether memory grows over a stream, and what a long text takes."""
    growth = rows("flat_memory", name="growth over a stream, MB per 100,000 texts")[-1]
    peak = rows("flat_memory", name="peak beyond the weights, GB")[-1]
    lines = [
        (f"growth over a stream of {growth['texts']:,} texts, for each 100,000", f"{growth['value']:.2f} MB"),
        (f"peak beyond the weights, a text of {peak['tokens']:,} tokens", f"{peak['value']:.2f} GB"),
    ]
    table(("", ""), lines, peak)


def serving() -> None:
    """What HTTP leaves of the library's rate, and what short queries wait while long documents stream."""
    models = {"demo-embedding": "The demo pair's embedder:", "Random-Embedding-0.6B-Q8_0.gguf": "The 0.6B shape:"}
    connections = (1, 4, 16, 32, 64)
    for model, label in models.items():
        lines, newest = [], None
        for server, name in (("qsift serve", "**`qsift serve`**"), ("xllamacpp", "xllamacpp's server")):
            share = f"{server}, share of the library's rate"
            if found := rows("server", name=share, model=model):
                shares = (value("server", share, model=model, connections=n) for n in connections)
                lines.append((name, *(f"{share:.2f}" for share in shares)))
                newest = found[-1]
        sentence(label)
        table(("connections", *connections), lines, newest)
        _served_beside(model)


def _served_beside(model: str) -> None:
    idle = value("server", "short query, idle p50, ms", model=model)
    beside = "short query beside long ones, p99 / idle p50"
    one, four = (value("server", beside, model=model, streams=n) for n in (1, 4))
    sentence(
        f"A short query takes {idle:.1f} ms alone (median). While a long document after the other comes on another "
        f"connection, 99 of 100 take less than {one:.1f} × that, and with four such connections {four:.1f} ×."
    )


def soaked() -> None:
    """What came back of many requests."""
    soak = rows("server", name="answers, none lost or refused")[-1]
    sentence(
        f"In {soak['settings']['seconds'] / 60:.0f} minutes with {soak['connections']} connections {soak['value']:,} "
        "requests were answered, none lost or refused."
    )


def frameworks() -> None:
    """Each framework's way to qsift beside the library's own batch call."""
    found = rows("integrations")
    lines = [(row["name"], f"{row['value']:.2f}") for row in found]
    table(("way", "of the library's rate"), lines, found[-1])


def index() -> None:
    """The index at three sizes."""
    sizes = (20_000, 60_000, 1_000_000)
    names = {
        "first stage, hybrid, median": ("first stage p50, ms", "{:.1f} ms"),
        "its vectors alone, approximate": ("vector stage p50, ms", "{:.1f} ms"),
        "its vectors alone, exact": ("exact vector stage p50, ms", "{:.1f} ms"),
        "recall@50 of approximate against exact": ("recall@50", "{:.3f}"),
    }
    lines = [
        (label, *(shown.format(value("search_index", name, passages=size)) for size in sizes))
        for label, (name, shown) in names.items()
    ]
    table(("passages", *(f"{size:,}" for size in sizes)), lines, rows("search_index")[-1])


def indexing() -> None:
    """What indexing costs."""
    names = ("passages", "share of the raw rate", "passages a second", "peak RSS, MB", "second update, s")
    count, share, rate, memory, update = (value("search_index", name, passages=60_000) for name in names)
    sentence(
        f"Indexing {count:,.0f} passages ran at {share:.3f} of the rate of the bare `encode_document` ({rate:.0f} "
        f"passages a second with the demo pair) in {memory:.0f} MB of memory; an update that found nothing changed "
        f"took {update:.1f} s."
    )


def quality() -> None:
    """What each stage adds."""
    stages = {
        "vectors": {"stage": "vector"},
        "words (BM25)": {"stage": "text"},
        "hybrid": {"stage": "hybrid"},
        "two stages": {"stage": "two-stage", "order": "both"},
        "two stages, `--order score`": {"stage": "two-stage", "order": "score"},
    }
    found = [
        (label, rows("search_quality", name="nDCG@10", queries=1000, **which)[-1]) for label, which in stages.items()
    ]
    table(("", "nDCG@10"), [(label, f"{row['value']:.3f}") for label, row in found], found[-1][1])


def code_splitting() -> None:
    """Recall of functions where code is cut by its layout, as it is and without overlap, and by a grammar."""
    cuts = ("layout", "layout, no overlap", "grammar")
    lines = []
    for stage, words in (("vector", "vectors"), ("text", "words (BM25)")):
        for target, right in (("definition", "name"), ("body", "body")):
            which = {"language": "python", "stage": stage, "target": target}
            found = [value("code_splitting", "recall@10", splitter=cut, **which) for cut in cuts]
            gains = [
                rows("code_splitting", name="gain in recall@10", splitter="grammar", beside=cut, **which)[-1]
                for cut in cuts[:2]
            ]
            between = ["{:+.3f} to {:+.3f}".format(*gain["interval"]) for gain in gains]
            lines.append((f"{words}, {right}", *(f"{recall:.3f}" for recall in found), *between))
    heads = ("recall@10", "layout", "without overlap", "grammar", "gain on layout", "gain on that without overlap")
    table(heads, lines, gains[0])


def code_questions() -> None:
    """What `code_splitting` was measured on, and how."""
    python = rows("code_splitting", name="passages", language="python")[-1]
    layout, grammar = (
        value("code_splitting", "cutting, s", language="python", splitter=cut) for cut in ("layout", "grammar")
    )
    sentence(
        f"Whether a grammar would find more was measured on installed packages: {python['questions']} functions of "
        f"{python['files']} Python files, without docstrings. The first sentence of a function's docstring is the "
        "question. Right is the passage with its name, or the one with most lines of its body. The grammar's passages "
        "(tree-sitter, at most as long) keep functions and classes whole where they fit, let small ones share a "
        "passage, cut others between statements, and do not overlap. Cutting took "
        f"{layout:.1f} s by layout and {grammar:.1f} s by the grammar. Of gains the bounds are given that hold 95 % "
        "of them when files are drawn anew:"
    )


def widths() -> None:
    """What a cut of the vectors costs in recall and time, at 50 candidates."""

    def get(name: str, **which: Any) -> float:
        return value("search_quality", name, candidates=50, **which)

    lines = [
        (
            width,
            f"{get('recall', stage='vector', width=width):.3f}",
            f"{get('recall', stage='hybrid', width=width):.3f}",
            f"{get('latency p50, ms', stage='hybrid', width=width):.0f} ms",
            f"{get('latency p50, ms', stage='two-stage', width=width):.0f} ms",
        )
        for width in (32, 64, 128, 256)
    ]
    heads = ("width", "recall, vectors", "recall, hybrid", "first stage", "both stages")
    table(heads, lines, rows("search_quality", name="latency p50, ms", candidates=50)[-1])


def planner() -> None:
    """How far the planner is from the best batches."""
    how = ("by the model", "measured")
    fitted, measured = (rows("planner", name=f"planner beside the best cut, {which}")[-1] for which in how)
    sentence(
        f"Under the costs that were fitted to measured calls, the planner's batches of {fitted['texts']} texts take "
        f"{fitted['value']:.4f} of the best cut's time; measured in turns, {measured['value']:.3f}."
    )
    sentence(f"Measured on: {machine(measured)}.")


def sizes() -> None:
    """Six models: the checkpoint; disk and memory for each quant. Computed, not measured."""
    quants = [quant for quant in SCHEMES if quant != "bf16"]  # as large as f16
    lines = []
    for name, spec in SPECS.items():
        if spec.repo:
            found = [(gguf_bytes(spec, quant), run_bytes(spec, quant, spec.task)) for quant in quants]
            cells = (f"{disk / 1e9:.2f} · {memory / 1e9:.1f}" for disk, memory in found)
            lines.append((name, f"{checkpoint_bytes(spec) / 1e9:.1f}", *cells))
    table(("model", "checkpoint", *("f16, bf16" if quant == "f16" else quant for quant in quants)), lines)


def long_texts() -> None:
    """What a long text costs, computed."""
    small, large = (cache_bytes(SPECS[f"qwen3-embedding-{size}"], 32768) / 32768 / 1e6 for size in ("0.6b", "8b"))
    sentence(
        f"A text longer than 1024 tokens takes {small:.2f} MB more a token for 0.6B, {large:.2f} MB for 4B and 8B."
    )


def sizes_measured() -> None:
    """Computed sizes beside real files and processes."""
    found = rows("model_sizes")
    disk = max(abs(row["file_measured"] / row["file_computed"] - 1) for row in found)
    memory = [row["memory_measured"] / row["memory_computed"] for row in found]
    sentence(
        f"Beside {len(found)} real files of the 0.6B shape and their processes, the computed size of a file is off by "
        f"at most {disk * 1e6:.0f} millionths, and a process takes {min(memory):.3f} to {max(memory):.3f} of the "
        "computed memory."
    )


def hundred_million() -> None:
    """What a large corpus costs, computed from one measured rate and an assumed price."""
    row = rows("throughput", workload="u128", peer="qsift", quant="q8_0")[0]
    rate, price, length = row["tokens_per_second"], 0.10, 128
    million, hundred = (n * length / rate / 3600 for n in (1e6, 1e8))
    lines = [
        (f"**measured**: tokens a second, texts of {length}", f"{rate:.0f}"),
        ("documents a second and machine", f"{rate / length:.2f}"),
        ("a million documents: machine hours, cost", f"{million:,.0f} h, {million * price:,.0f} $"),
        ("a hundred million: machine hours, cost", f"{hundred:,.0f} h, {hundred * price:,.0f} $"),
        ("the same on 100 such machines", f"{hundred / 100 / 24:.1f} days"),
        ("its vectors, 1024 numbers in float32 · cut to 256", f"{1e8 * 4096 / 1e9:.0f} GB · {1e8 * 1024 / 1e9:.0f} GB"),
    ]
    table(("qwen3-embedding-0.6b, q8_0", ""), lines, row)


def _ragged() -> list[Row]:
    """Returns the newest row of each peer on the ragged texts, the fastest first."""
    found = [row for row in rows("throughput", workload="mix") if row["quant"] in ("q6_k", "torch fp32")]
    return sorted({row["peer"]: row for row in found}.values(), key=lambda row: -row["tokens_per_second"])


def _by_workload(beginning: str, sizes: Sequence[int], head: str, show: Callable[[Row], str]) -> None:
    peers = ("qsift", "single-phase", "xllamacpp", "sentence-transformers fp32, batch 8")
    lines, row = [], None
    for peer in peers:
        found = [rows("throughput", workload=f"{beginning}{size}", peer=peer)[-1] for size in sizes]
        lines.append((NAMES[peer], *map(show, found)))
        row = found[-1]
    table((head, *(f"{size:,}" for size in sizes)), lines, row)


def _table_of_losses(models: str, task: str, *, has_speed: bool = True) -> None:
    """Prints a line for each file."""
    found = _losses(models, task, accel="off", cache_type="f16")
    has_meaning = found[0]["ndcg"] is not None
    lines = []
    for row in found:
        cells = [f"{abs(row['loss']):.5f}", f"{abs(row['worst']):.4f}", f"{row['tau']:.3f}"]
        cells += [f"{row['ndcg']:.3f}"] if has_meaning else []
        cells += [f"{row['recall']:.3f}"] if row["recall"] is not None else []
        name = f"{row['quant']}, importance-weighted" if row["imatrix"] else row["quant"]
        speed = [f"{row['tokens_per_second']:,.0f}"] if has_speed else []
        lines.append((name, f"{row['nbytes'] / 1e6:,.1f} MB", *speed, *cells))
    what = "1 − cosine" if task == "embed" else "change of P(yes)"
    heads = ["", "file", *(["tokens a second"] if has_speed else []), f"{what}, mean", "largest", "Kendall's tau"]
    heads += ["nDCG@10"] if has_meaning else []
    heads += ["recall@10"] if found[0]["recall"] is not None else []
    table(heads, lines, found[-1])


def _losses(models: str, task: str, **wanted: Any) -> list[Row]:
    """Returns the newest row of each file and engine, of whole vectors in float32 where there are vectors."""
    every = rows("quants", models=models, task=task, **wanted)
    full = [row for row in every if row["precision"] in (None, "float32")]
    width = max((row["width"] or 0 for row in full), default=0)
    kinds = ("quant", "imatrix", "accel", "cache_type")
    newest = {tuple(row[kind] for kind in kinds): row for row in full if (row["width"] or 0) == width}
    return list(newest.values())
