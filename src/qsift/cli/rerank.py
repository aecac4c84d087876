"""qsift rerank: texts by how well they answer a query."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from .completion import model_names
from .options import engine, engine_options, stderr_options
from .output import print_hits
from .texts import shows_progress_of, text_options, texts_of
from qsift.models import RERANK_TEMPLATES
from qsift.reranker import Reranker


@click.command()
@click.argument("model", shell_complete=model_names("rerank"))
@click.argument("query")
@click.argument("texts", nargs=-1, metavar="[TEXT]…")
@text_options
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
    source = texts_of(texts, options)
    with Reranker.load(model, template=options["template"], options=engine(options)) as reranker:
        hits = reranker.rank(
            query,
            list(source),
            top_k=options["top_k"],
            instruction=options["instruction"],
            raw_scores=options["raw_scores"],
            max_tokens=options["max_tokens"],
            truncate=options["truncate"],
            show_progress_bar=shows_progress_of(source, options),
        )
    print_hits([asdict(hit) for hit in hits], as_table=options["form"] == "table")
