"""The command line: a mirror of the API, one short function a command.

Results go to stdout, everything else to stderr. How inputs are read stands in `texts`, how
results are written in `output`, what happens on errors and on Ctrl-C in `console`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

import click

from qsift import __version__
from qsift.models import RERANK_TEMPLATES
from qsift.text import PRECISIONS

from .bench import bench
from .console import Group, run, tell
from .convert import convert
from .models import models, pull, rm
from .options import all_of, as_json_option, engine, engine_options, shows_progress, stderr_options
from .output import Format, opened, print_facts, print_hits, print_json, write_jsonl, write_npy, write_table
from .ray import RayCommand, embed_with_ray
from .search import index, search
from .serve import serve
from .texts import Texts

_readable = click.Path(exists=True, dir_okay=False, allow_dash=True)
_text_options = all_of(
    click.option("--file", "-f", "files", type=_readable, multiple=True, help="Read texts from a file, one a line."),
    click.option("--whole-files", is_flag=True, help="Take each --file as one text."),
    click.option("--jsonl", type=_readable, multiple=True, help="Read texts from JSON lines, one object a line."),
    click.option("--field", default="text", show_default=True, help="The field of --jsonl that holds the text."),
    click.option("--max-tokens", type=int, help="Longest input in tokens.  [default: the model's context]"),
    click.option("--truncate/--no-truncate", default=True, show_default=True, help="Cut longer texts, or refuse them."),
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="qsift")
def cli() -> None:
    """Qwen3-Embedding and Qwen3-Reranker on llama.cpp."""


for command in (pull, models, rm, convert, search, index, serve, bench):
    cli.add_command(command)


@cli.command(cls=RayCommand)
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]…")
@_text_options
@click.option("--query/--document", "is_query", default=False, help="What the texts are.  [default: documents]")
@click.option("--instruction", help="What queries search for, one sentence.  [default: the model's]")
@click.option("--dim", type=int, help="Width to cut to, from 32 (Matryoshka).  [default: the full one]")
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True)
@click.option("--normalize/--no-normalize", " /--raw", default=True, show_default=True, help="Give rows length 1.")
@click.option("--format", "form", type=click.Choice(get_args(Format)), help="[default: jsonl; npy for a .npy output]")
@click.option("--with-text", is_flag=True, help="Repeat each text in its JSON line.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write to a file instead of stdout.")
@click.option("--ray", metavar="[ADDRESS]", help="Take MODEL IN OUT, and divide the work on a Ray cluster or here.")
@click.option("--actors", type=click.IntRange(1), help="Engines, with --ray.  [default: one a GPU or machine]")
@engine_options
@stderr_options
def embed(model: str, texts: tuple[str, ...], **options: Any) -> None:
    """Embed texts with MODEL, a .gguf file or a name (qsift models).

    Texts come from arguments, --file and --jsonl, in this order; - reads standard input, a text a
    line. Line n of a file is text n: empty lines are texts too. Files of any size are read as a stream.

    With --ray, IN is a file or a folder of Parquet or JSON lines, or a Lance dataset (*.lance), --field names its
    column of texts, and OUT, a folder for Parquet or a Lance dataset, gets all its columns and "vector". Run it again
    to go on where it was stopped.
    """
    if options["instruction"] is not None and not options["is_query"]:
        raise click.UsageError("--instruction is for queries, and documents stand bare. Add --query.")
    if options["ray"] is not None:
        embed_with_ray(model, texts, options)
        return
    if options["actors"] is not None:
        raise click.UsageError("--actors is for --ray, which divides the work among them.")
    from qsift.embedder import Embedder

    source, form, output = _texts(texts, options), _format(options), options["output"]
    with Embedder.load(model, options=engine(options)) as embedder:
        instruction = embedder.instruction if options["instruction"] is None else options["instruction"]
        encode = partial(
            embedder.encode,
            instruction=instruction if options["is_query"] else None,
            truncate_dim=options["dim"],
            normalize_embeddings=options["normalize"],
            precision=options["precision"],
            max_tokens=options["max_tokens"],
            truncate=options["truncate"],
        )
        empty = encode([])
        rows = source.beside(partial(encode, show_progress_bar=_shows_progress(options, source, output)))
        with opened(output, seekable=form == "npy") as file:
            if form == "npy":
                write_npy(rows, file, empty=empty)
            elif form == "jsonl":
                write_jsonl(rows, file, with_text=options["with_text"])
            else:
                write_table(rows, file)


@cli.command()
@click.argument("model")
@click.argument("query")
@click.argument("texts", nargs=-1, metavar="[TEXT]…")
@_text_options
@click.option("--top-k", type=click.IntRange(1), help="How many to print.  [default: all]")
@click.option("--instruction", help="What makes a text fit, one sentence.  [default: the model's]")
@click.option("--template", type=click.Choice(list(RERANK_TEMPLATES)), help="The prompt.  [default: the file's]")
@click.option("--raw-scores", is_flag=True, help="Print the difference of the logits instead of P(yes).")
@click.option("--format", "form", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
@engine_options
@stderr_options
def rerank(model: str, query: str, texts: tuple[str, ...], **options: Any) -> None:
    """Rank texts by how well they answer QUERY.

    MODEL is a .gguf file of a reranker or a name (qsift models); the best text comes first. Texts come from
    arguments, --file and --jsonl, in this order; - reads standard input, a text a line. The id of a
    text is its place in that order, from 0.
    """
    from qsift.reranker import Reranker

    source = _texts(texts, options)
    with Reranker.load(model, template=options["template"], options=engine(options)) as reranker:
        hits = reranker.rank(
            query,
            list(source),
            top_k=options["top_k"],
            instruction=options["instruction"],
            raw_scores=options["raw_scores"],
            max_tokens=options["max_tokens"],
            truncate=options["truncate"],
            show_progress_bar=_shows_progress(options, source),
        )
    print_hits([asdict(hit) for hit in hits], as_table=options["form"] == "table")


@cli.command()
@click.argument("model")
@as_json_option
def info(model: str, as_json: bool) -> None:
    """Show what MODEL, a .gguf file or a name, says about itself."""
    from qsift.hub import open_model

    file = open_model(model)
    facts = asdict(file) | ({"note": file.note} if file.note else {})
    if as_json:
        print_json(facts)
        return
    manifest = facts.pop("manifest") or {"qsift keys": "none: qsift did not make this file"}
    facts["labels"] = ", ".join(facts["labels"]) or None
    if facts["task"] == "embed":
        del facts["labels"], facts["score_source"]
    names = {"n_layers": "layers", "n_vocab": "vocabulary", "max_tokens": "context", "nbytes": "bytes"}
    rows = {names.get(name, name.replace("_", " ")): value for name, value in facts.items()}
    print_facts(rows | {name: value for name, value in manifest.items() if name not in facts})


@cli.command()
@as_json_option
@click.option("--again", is_flag=True, help="Run the self-check of llama.cpp's repacked weights anew, needed or not.")
@click.pass_context
def doctor(context: click.Context, as_json: bool, again: bool) -> None:
    """Show what is installed and what would help."""
    from qsift.engine import advise, examine

    facts = examine(again=again)
    advice = advise(facts)
    if as_json:
        derived = {"repacked_weights": facts.repacked_weights, "advice": [asdict(item) for item in advice]}
        print_json({"qsift": __version__, **asdict(facts), **derived})
    else:
        print_facts(
            {
                "qsift": __version__,
                "llama-cpp-python": facts.llama_cpp_python,
                "python, numpy": f"{facts.python}, {facts.numpy}",
                "system": facts.system,
                "CPU": facts.cpu,
                "CPU can": "this system does not tell" if facts.cpu_features is None else " ".join(facts.cpu_features),
                "built for": " ".join(facts.build_features),
                "GPU in use": facts.gpu,
                "threads": f"{facts.threads} by default (physical cores), of {facts.logical_cpus} CPUs",
                "AMX in CPU": facts.amx_reported,
                "AMX in build": "AMX_INT8" in facts.build_features,
                "self-check": facts.self_check_sentence,
                "repacked weights": None if facts.problem else "on" if facts.repacked_weights else "off",
                "accelerator": None if facts.accelerator is None else str(facts.accelerator),
                "cache folder": facts.cache_folder,
            }
        )
        for item in advice:
            click.echo(f"\n{item.reason}" + (f"\n  {item.command}" if item.command else ""))
    if facts.problem:
        context.exit(1)


def _texts(arguments: tuple[str, ...], options: dict[str, Any]) -> Texts:
    for argument in arguments:
        if len(argument) < 256 and os.path.isfile(argument) and not options["quiet"]:
            tell(f"Note: {argument!r} is taken as a text. To read the file of this name, pass it with --file.")
    return Texts(arguments, options["files"], options["jsonl"], options["field"], options["whole_files"])


def _format(options: dict[str, Any]) -> str:
    output = options["output"]
    form = options["form"] or ("npy" if output and output.endswith(".npy") else "jsonl")
    if form == "npy" and output is None and sys.stdout.isatty():
        raise click.UsageError("npy is binary and stdout is a terminal. Name a file with --output, or pipe it.")
    if options["with_text"] and form != "jsonl":
        raise click.UsageError(f"--with-text is for --format jsonl; the format is {form}.")
    return str(form)


def _shows_progress(options: dict[str, Any], source: Texts | None = None, output: str | None = "") -> bool:
    """Returns whether to draw a bar: as asked, else for more than arguments and where it disturbs no results."""
    few = source is not None and source.only_arguments
    clashes = output is None and sys.stdout.isatty()
    return shows_progress(options, otherwise=not few and not clashes)


def main() -> None:
    """Runs the command line and ends the process."""
    sys.exit(run(cli))
