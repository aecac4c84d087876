"""qsift embed: texts to vectors, here or on a cluster."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, get_args

import click

from .completion import model_names
from .options import engine, engine_options, stderr_options
from .output import Format, opened, write_jsonl, write_npy, write_table
from .ray import RayCommand, embed_with_ray
from .texts import shows_progress_of, text_options, texts_of
from qsift.embedder import Embedder
from qsift.text import PRECISIONS


@click.command(cls=RayCommand)
@click.argument("model", shell_complete=model_names("embed"))
@click.argument("texts", nargs=-1, metavar="[TEXT]…")
@text_options
@click.option("--query/--document", "is_query", default=False, help="What the texts are.  [default: documents]")
@click.option("--instruction", help="What queries search for, one sentence.  [default: the model's]")
@click.option(
    "--prompt-name", metavar="NAME", help="Which of the model's prompts (qsift info) stands before each text."
)
@click.option("--prompt", metavar="TEXT", help="What stands before each text, to the letter.")
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
    name = _prompt_name(options)
    if options["ray"] is not None:
        embed_with_ray(model, texts, options | {"prompt_name": name})
        return
    if options["actors"] is not None:
        raise click.UsageError("--actors is for --ray, which divides the work among them.")
    source, form, output = texts_of(texts, options), _format(options), options["output"]
    with Embedder.load(model, options=engine(options)) as embedder:
        encode = partial(
            embedder.encode,
            instruction=options["instruction"],
            prompt_name=name,
            prompt=options["prompt"],
            truncate_dim=options["dim"],
            normalize_embeddings=options["normalize"],
            precision=options["precision"],
            max_tokens=options["max_tokens"],
            truncate=options["truncate"],
        )
        empty = encode([])
        rows = source.beside(partial(encode, show_progress_bar=shows_progress_of(source, options, output)))
        with opened(output, seekable=form == "npy") as file:
            if form == "npy":
                write_npy(rows, file, empty=empty)
            elif form == "jsonl":
                write_jsonl(rows, file, with_text=options["with_text"])
            else:
                write_table(rows, file)


def _prompt_name(options: dict[str, Any]) -> str | None:
    """Returns the name of the prompt that stands before the texts; None where its text is given."""
    query, name, prompt = options["is_query"], options["prompt_name"], options["prompt"]
    given = [("--query", query), ("--prompt-name", name is not None), ("--prompt", prompt is not None)]
    if len(several := [option for option, there in given if there]) > 1:
        raise click.UsageError(f"{' and '.join(several)} all say what stands before the texts. Give one of them.")
    if options["instruction"] is not None and not several:
        raise click.UsageError("--instruction is for queries, and documents stand bare. Add --query.")
    return "query" if query else name if name is not None or prompt is not None else "document"


def _format(options: dict[str, Any]) -> str:
    output = options["output"]
    form = options["form"] or ("npy" if output and output.endswith(".npy") else "jsonl")
    if form == "npy" and output is None and sys.stdout.isatty():
        raise click.UsageError("npy is binary and stdout is a terminal. Name a file with --output, or pipe it.")
    if options["with_text"] and form != "jsonl":
        raise click.UsageError(f"--with-text is for --format jsonl; the format is {form}.")
    return str(form)
