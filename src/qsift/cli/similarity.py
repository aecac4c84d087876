"""The commands that compare texts with each other: `similarity`, `dedup` and `cluster`."""

from __future__ import annotations

from typing import Any

import click

from .completion import model_names
from .console import tell
from .options import Decorator, all_of, engine, engine_options, stderr_options
from .output import print_compared, print_json
from .texts import Texts, shows_progress_of, text_options, texts_of
from qsift.embedder import Embedder
from qsift.text import Vectors, community_detection, near_duplicates
from qsift.text import similarity as cosines

_model = click.argument("model", shell_complete=model_names("embed"))
_table_or_lines = click.option(
    "--format", "form", type=click.Choice(["table", "jsonl"]), default="table", show_default=True
)
_texts = click.argument("texts", nargs=-1, metavar="[TEXT]…")
_common = all_of(
    click.option("--dim", type=int, help="Width to cut to, from 32 (Matryoshka).  [default: the full one]"),
    engine_options,
    stderr_options,
)


def _threshold(default: float, what: str) -> Decorator:
    return click.option("--threshold", type=click.FloatRange(-1, 1), default=default, show_default=True, help=what)


@click.command()
@_model
@click.argument("text")
@_texts
@text_options
@click.option("--query", is_flag=True, help="TEXT is a query, the others are documents.  [default: all are documents]")
@click.option("--instruction", help="What a query searches for, one sentence.  [default: the model's]")
@_table_or_lines
@_common
def similarity(model: str, text: str, texts: tuple[str, ...], **options: Any) -> None:
    """Print the cosine of TEXT with each of the other texts.

    They come from arguments, --file and --jsonl, in this order; - reads standard input, a text a line.
    """
    if options["instruction"] is not None and not options["query"]:
        raise click.UsageError("--instruction is for queries, and documents stand bare. Add --query.")
    source = texts_of(texts, options)
    with Embedder.load(model, options=engine(options)) as embedder:
        instruction, prompt_name = options["instruction"], "query" if options["query"] else "document"
        one = embedder.encode(text, instruction=instruction, prompt_name=prompt_name, truncate_dim=options["dim"])
        others, vectors = _embedded(embedder, source, options)
    (row,) = cosines(one, vectors)
    found = zip(row.tolist(), others, strict=True)
    rows = ({"index": index, "similarity": cosine, "text": other} for index, (cosine, other) in enumerate(found))
    print_compared(rows, as_table=options["form"] == "table")


@click.command()
@_model
@_texts
@text_options
@_threshold(0.95, "The smallest cosine that makes a text a duplicate of one that is kept.")
@click.option("--duplicates", is_flag=True, help="Print what is left out, and of what it is a duplicate.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl"]),
    help="[default: text, a line each; jsonl with --jsonl, --whole-files and --duplicates]",
)
@_common
def dedup(model: str, texts: tuple[str, ...], **options: Any) -> None:
    """Print the texts without those that nearly repeat an earlier one.

    Texts come from arguments, --file and --jsonl, in this order; - reads standard input, a text a line.
    """
    has_lines_in_it = options["jsonl"] or options["whole_files"] or options["duplicates"]
    form = options["form"] or ("jsonl" if has_lines_in_it else "text")
    source = texts_of(texts, options)
    with Embedder.load(model, options=engine(options)) as embedder:
        known, vectors = _embedded(embedder, source, options)
    found = near_duplicates(vectors, threshold=options["threshold"])
    n_left_out = 0
    for index, (kept, score, text) in enumerate(zip(found.kept.tolist(), found.scores.tolist(), known, strict=True)):
        n_left_out += kept != index
        if options["duplicates"] == (kept == index):
            continue
        if form == "text":
            click.echo(text)
        else:
            more = {"duplicate_of": kept, "similarity": score} if options["duplicates"] else {}
            print_json({"index": index, **more, "text": text})
    if not options["quiet"]:
        tell(f"{n_left_out} of {len(known)} texts are near duplicates.")


@click.command()
@_model
@_texts
@text_options
@_threshold(0.75, "The smallest cosine of a text with the centre of its group.")
@click.option(
    "--min-community-size", type=click.IntRange(1), default=2, show_default=True, help="Texts that make a group."
)
@_table_or_lines
@_common
def cluster(model: str, texts: tuple[str, ...], **options: Any) -> None:
    """Print groups of texts that are alike, the largest first, each with its centre first.

    Texts come from arguments, --file and --jsonl, in this order; - reads standard input, a text a line. Texts that are
    like no other are in no group.
    """
    source = texts_of(texts, options)
    with Embedder.load(model, options=engine(options)) as embedder:
        known, vectors = _embedded(embedder, source, options)
    groups = community_detection(
        vectors, threshold=options["threshold"], min_community_size=options["min_community_size"]
    )
    rows = (
        {"group": number, "index": index, "similarity": cosine, "text": known[index]}
        for number, group in enumerate(groups)
        for index, cosine in zip(group.tolist(), cosines(vectors[group[0]], vectors[group])[0].tolist(), strict=True)
    )
    print_compared(rows, as_table=options["form"] == "table")
    if not options["quiet"]:
        tell(f"Groups: {len(groups)}, with {sum(map(len, groups))} of {len(known)} texts.")


def _embedded(embedder: Embedder, source: Texts, options: dict[str, Any]) -> tuple[list[str], Vectors]:
    """Returns the texts, and their vectors as documents."""
    texts = list(source)
    vectors = embedder.encode_document(
        texts,
        truncate_dim=options["dim"],
        max_tokens=options["max_tokens"],
        truncate=options["truncate"],
        show_progress_bar=shows_progress_of(source, options),
    )
    return texts, vectors
