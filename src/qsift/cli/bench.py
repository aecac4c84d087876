"""`qsift bench`: the options, and the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, get_args

import click

from .completion import model_names
from .console import tell
from .options import as_json_option, engine, engine_options_but, stderr_options
from .output import print_json
from qsift import __version__
from qsift.bench import Row, cases
from qsift.bench import bench as measure
from qsift.engine import Accel, cpu_name, physical_cores, version
from qsift.hub import open_model
from qsift.models import Task

DEMO = ("demo-embedding", "demo-reranker")

_COLUMNS = {
    "load_s": ("load s", "{:.2f}"),
    "uniform_tokens_per_s": ("16×128", "{:.0f}"),
    "ragged_tokens_per_s": ("ragged", "{:.0f}"),
    "p50_ms": ("p50 ms", "{:.1f}"),
    "p95_ms": ("p95 ms", "{:.1f}"),
    "peak_mb": ("peak MB", "{:.0f}"),
}
_LEGEND = """
16×128, ragged: tokens a second, for 16 texts of 128 tokens and for 32 of 8 to 512. A reranker's documents are
judged by one query; template and query are not counted. p50, p95: a single short query (and one short document).
load: until the first answer, the file in memory. peak: the process's largest resident memory.
In brackets: divided by the first row of the same task."""
_QUALITY_LEGEND = """
cosine, change: against the reference, the smallest cosine of a vector, and the largest change of the similarity of
two texts or of a P(yes)."""


def _list_of(convert: Callable[[str], Any], allowed: str) -> Callable[[Any, Any, str], list[Any]]:
    """Returns what parses "a,b"; ``convert`` raises ValueError for what is not allowed."""

    def parse(_context: Any, _option: Any, text: str | None) -> list[Any]:
        try:
            return [None] if text is None else list(dict.fromkeys(convert(word.strip()) for word in text.split(",")))
        except ValueError:
            raise click.BadParameter(f"{text!r} is no list of {allowed}.") from None

    return parse


def _count(word: str) -> int:
    if (number := int(word)) < 1:
        raise ValueError(word)
    return number


def _mode(word: str) -> str:
    if word not in get_args(Accel):
        raise ValueError(word)
    return word


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=model_names())
@click.option("--reference", "references", multiple=True, metavar="MODEL", help="Judge quality against this model.")
@click.option(
    "--repeat", type=click.IntRange(1), default=3, show_default=True, help="Runs, of which the median counts."
)
@click.option(
    "--threads",
    metavar="N,N,…",
    callback=_list_of(_count, "whole numbers from 1, such as 1,2,4"),
    help="CPU threads, one or several to compare.  [default: physical cores]",
)
@click.option(
    "--accel",
    metavar="MODE,…",
    default="auto",
    show_default=True,
    callback=_list_of(_mode, f"modes, which are {', '.join(get_args(Accel))}"),
    help="Modes of the accelerator, one or several to compare.",
)
@engine_options_but("threads", "accel")
@as_json_option
@stderr_options
@click.pass_context
def bench(context: click.Context, /, models: tuple[str, ...], **options: Any) -> None:
    """Measure MODELs on this machine: speed, latency, memory, and quality against a reference.

    Each MODEL is a .gguf file or a name (qsift models) of an embedding model or a reranker; the demo pair without
    one. Every model, mode of --accel and number of --threads is a row, measured in a process of its own. --reference
    takes the same model in a better quantisation, such as its F16 file; give it once for each task.
    """
    opened = [_opened(model) for model in models or DEMO]
    accels, threads = options.pop("accel"), options.pop("threads")
    plain = engine({**options, "accel": "auto", "threads": None})
    references = cases([_opened(model) for model in options["references"]], plain, ["off"], [None])
    _check({model[2] for model in opened}, [reference.task for reference in references])
    wanted = cases(opened, plain, accels, threads)

    def on_start(number: int, case: Any) -> None:
        if options["progress"] is not False and not options["quiet"]:
            settings = f"accel {case.options.accel}, threads {case.options.threads or 'default'}"
            tell(f"{number + 1}/{len(wanted)}  {case.model}  {settings}")

    rows = measure(wanted, references=references, repeat=options["repeat"], on_start=on_start)
    if options["as_json"]:
        print_json({**_machine(), "references": list(options["references"]), "rows": [asdict(row) for row in rows]})
    else:
        facts = _machine()
        click.echo(f"{facts['cpu']}, {facts['cores']} cores · qsift {__version__}, {facts['llama_cpp_python']}\n")
        _print_table(rows)
    if any(row.failure for row in rows):
        context.exit(1)


def _opened(model: str) -> tuple[str, str, Task, str]:
    """Returns a model as `bench.cases` takes it; a file that says no task is taken as an embedding model."""
    file = open_model(model)
    return model, file.path, file.task or "embed", file.quant


def _check(tasks: set[Task], references: Sequence[Task]) -> None:
    for task in references:
        kind = {"embed": "an embedding model", "rerank": "a reranker"}[task]
        if task not in tasks:
            raise click.UsageError(f"--reference is {kind}, and no MODEL is. Pass the same model in another quant.")
        if references.count(task) > 1:
            raise click.UsageError(f"--reference names {kind} twice. One for each task is enough.")


def _machine() -> dict[str, Any]:
    return {
        "qsift": __version__,
        "llama_cpp_python": f"llama-cpp-python {version()}",
        "cpu": cpu_name(),
        "cores": physical_cores(),
    }


def _print_table(rows: Sequence[Row]) -> None:
    has_quality = any(row.quality for row in rows)
    names = [name for name in _COLUMNS if any(name in row.figures for row in rows)]
    heads = ["model", "quant", "accel", "threads", *(_COLUMNS[name][0] for name in names)]
    heads += ["cosine", "change"] if has_quality else []
    lines = [heads, *(_settings(row) + _figures(row, names, rows) + _quality(row, has_quality) for row in rows)]
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(heads))]
    for line, row in zip(lines, (None, *rows), strict=True):
        cells = zip(line, widths, strict=False)  # a row that failed has no figures
        padded = [cell.ljust(width) if i < 3 else cell.rjust(width) for i, (cell, width) in enumerate(cells)]
        failure = f"  not measured: {row.failure}" if row and row.failure else ""
        click.echo("  ".join(padded).rstrip() + failure)
    click.echo(_LEGEND + (_QUALITY_LEGEND if has_quality else ""))


def _settings(row: Row) -> list[str]:
    return [row.model.rpartition(os.sep)[2], row.quant, row.accel, str(row.threads or "default")]


def _figures(row: Row, names: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Returns a cell for each figure, its ratio in brackets where another row has the same task."""
    if row.failure:
        return []
    compared = sum(other.task == row.task and not other.failure for other in rows) > 1
    return [
        _COLUMNS[name][1].format(row.figures[name]) + (f" ({row.ratios[name]:.2f})" if compared else "")
        for name in names
    ]


def _quality(row: Row, shown: bool) -> list[str]:
    if row.failure or not shown:
        return []
    if row.quality is None:
        return ["–", "–"]
    cosine = row.quality.min_cosine
    return ["–" if cosine is None else f"{cosine:.5f}", f"{row.quality.max_change:.5f}"]
