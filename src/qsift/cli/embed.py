"""The commands that take texts: `embed` and `rerank`."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

import click

from .console import tell
from .options import all_of, engine, engine_options, shows_progress, stderr_options
from .output import Format, opened, print_hits, write_jsonl, write_npy, write_table
from .ray import RayCommand, embed_with_ray
from .texts import Texts
from qsift.embedder import Embedder
from qsift.models import RERANK_TEMPLATES
from qsift.reranker import Reranker
from qsift.text import PRECISIONS

_readable = click.Path(exists=True, dir_okay=False, allow_dash=True)
_text_options = all_of(
    click.option("--file", "-f", "files", type=_readable, multiple=True, help="Read texts from a file, one a line."),
    click.option("--whole-files", is_flag=True, help="Take each --file as one text."),
    click.option("--jsonl", type=_readable, multiple=True, help="Read texts from JSON lines, one object a line."),
    click.option("--field", default="text", show_default=True, help="The field of --jsonl that holds the text."),
    click.option("--max-tokens", type=int, help="Longest input in tokens.  [default: the model's context]"),
    click.option("--truncate/--no-truncate", default=True, show_default=True, help="Cut longer texts, or refuse them."),
)


@click.command(cls=RayCommand)
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


@click.command()
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
