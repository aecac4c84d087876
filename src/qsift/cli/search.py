"""The commands that search files: `search`, and `index` with what belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, get_args

import click

from .console import tell
from .options import all_of, as_json_option, engine, engine_options, shows_progress, stderr_options
from .output import print_facts, print_found, print_json
from qsift.documents import KINDS, Document, OnBatch, OnSkip, Passage, find_documents, source_name
from qsift.embedder import Embedder
from qsift.reranker import Reranker
from qsift.search import ORDERS, Filter, IndexChanges, Mode, PassageList, SearchIndex, SearchPipeline

_PATH = click.Path(path_type=str)
_embedding = click.option(
    "--embedding", default="demo-embedding", show_default=True, metavar="MODEL", help="A .gguf file or a name."
)
_index = click.argument("index", metavar="INDEX", type=_PATH)
_from_paths = all_of(
    _index,
    click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="PATH…"),
    _embedding,
    engine_options,
    stderr_options,
)
_filters = all_of(
    click.option("--glob", help="Only sources that match, such as 'notes/*.md'."),
    click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only documents of this kind."),
    click.option("--after", type=click.DateTime(), help="Only documents changed at this time or later."),
    click.option("--before", type=click.DateTime(), help="Only documents changed at this time or earlier."),
)


@click.command()
@click.argument("question")
@click.argument("paths", nargs=-1, type=_PATH, metavar="[PATH]…")
@click.option("--index", "index_path", type=_PATH, help="Search this index instead of paths.")
@_embedding
@click.option("--reranker", default="demo-reranker", show_default=True, metavar="MODEL", help="A .gguf file or a name.")
@click.option("--no-reranker", is_flag=True, help="Print what the first stage finds.")
@click.option("--top-k", type=click.IntRange(1), default=10, show_default=True, help="Passages to print.")
@click.option("--candidates", type=click.IntRange(1), default=50, show_default=True, help="Passages to rerank.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Leave out what the reranker gives less.")
@click.option(
    "--order", type=click.Choice(ORDERS), default="both", show_default=True, help="Sort by both stages or by P(yes)."
)
@click.option("--query-instruction", help="Of the first stage, one sentence.  [default: the model's]")
@click.option("--rerank-instruction", help="Of the second stage, one sentence.  [default: the model's]")
@click.option("--mode", type=click.Choice(get_args(Mode)), help="First stage of an index.  [default: hybrid]")
@click.option("--coarse-dim", type=click.IntRange(1), help="Look at this width of the index's vectors first.")
@_filters
@as_json_option
@engine_options
@stderr_options
def search(question: str, paths: tuple[str, ...], **options: Any) -> None:
    """Find the passages of files, or of an index, that answer QUESTION.

    The embedding model sifts all passages, the reranker sorts the best of them. PATHs are files and folders: text,
    Markdown, code, HTML, PDF, Word, PowerPoint, Excel, OpenDocument, EPUB, notebooks, mails, tables and subtitles.
    """
    if bool(paths) == (options["index_path"] is not None):
        raise click.UsageError("Pass either paths to search or --index INDEX.")
    with ExitStack() as stack:
        embedder = stack.enter_context(Embedder.load(options["embedding"], options=engine(options)))
        first_stage, extra = stack.enter_context(_first_stage(paths, embedder, options))
        reranker = None
        if not options["no_reranker"]:
            reranker = stack.enter_context(Reranker.load(options["reranker"], options=engine(options)))
        hits = SearchPipeline(embedder, reranker, first_stage).search(
            question,
            top_k=options["top_k"],
            candidates=options["candidates"],
            min_score=options["min_score"],
            order=options["order"],
            query_instruction=options["query_instruction"],
            rerank_instruction=options["rerank_instruction"],
            **extra,
        )
    found = [
        {**asdict(hit.passage), "score": hit.score, "similarity": hit.similarity, "rank": hit.rank} for hit in hits
    ]
    if options["as_json"]:
        print_json({"question": question, "hits": found})
    else:
        print_found(found)


@contextmanager
def _first_stage(paths: Sequence[str], embedder: Any, options: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Gives what finds candidates and the options of its search."""
    if options["index_path"] is not None:
        where = Filter(options["glob"], options["kinds"], _seconds(options["after"]), _seconds(options["before"]))
        with SearchIndex.open(options["index_path"], embedder, create=False) as index:
            yield index, {"mode": options["mode"] or "hybrid", "where": where, "coarse_dim": options["coarse_dim"]}
        return
    given = [name for name in ("mode", "coarse_dim", "glob", "kinds", "after", "before") if options[name]]
    if given:
        named = ", ".join("--" + name.replace("_", "-").replace("kinds", "kind") for name in given)
        raise click.UsageError(f"{named}: for --index only.")
    with _reading(paths, options) as (documents, on_batch):
        passages = PassageList.of(documents, embedder, on_skip=_skipping(options), on_batch=on_batch)
    if not passages.passages:
        _tell("There is no text in these paths.", options)
    yield passages, {}


@click.group()
def index() -> None:
    """Keep an index of files, so that searching them takes milliseconds."""


@index.command()
@_from_paths
def add(index: str, paths: tuple[str, ...], **options: Any) -> None:
    """Add files and folders to INDEX, a folder that is made if it is not there."""
    with _opened(index, options, create=True) as opened, _reading(paths, options) as (documents, on_batch):
        _tell(_said(opened.add(documents, on_skip=_skipping(options), on_batch=on_batch)), options)


@index.command()
@_from_paths
def update(index: str, paths: tuple[str, ...], **options: Any) -> None:
    """Bring INDEX up to date with files and folders: embed what changed, remove what is gone from them."""
    with _opened(index, options, create=False) as opened, _reading(paths, options) as (documents, on_batch):
        within = [source_name(path) for path in paths]
        changes = opened.update(documents, within=within, on_skip=_skipping(options), on_batch=on_batch)
        _tell(_said(changes), options)


@index.command()
@_index
@click.argument("sources", nargs=-1, required=True, metavar="PATH…")
@stderr_options
def remove(index: str, sources: tuple[str, ...], **options: Any) -> None:
    """Remove documents from INDEX by their names, or those of the folders that they are in."""
    with SearchIndex.open(index, None) as opened:
        _tell(f"{opened.remove([source_name(source) for source in sources])} documents removed.", options)


@index.command()
@_index
@as_json_option
def info(index: str, as_json: bool) -> None:
    """Show what is in INDEX."""
    with SearchIndex.open(index, None) as opened:
        facts = asdict(opened.info())
    if as_json:
        print_json(facts)
    else:
        print_facts({"bytes" if name == "nbytes" else name: value for name, value in facts.items()})


@contextmanager
def _opened(path: str, options: dict[str, Any], *, create: bool) -> Iterator[SearchIndex]:
    with (
        Embedder.load(options["embedding"], options=engine(options)) as embedder,
        SearchIndex.open(path, embedder, create=create) as opened,
    ):
        yield opened


@contextmanager
def _reading(paths: Sequence[str], options: dict[str, Any]) -> Iterator[tuple[Iterable[Document], OnBatch]]:
    """Gives the documents of paths, drawn as a bar while they are read, and what is to be told of each batch."""
    from tqdm import tqdm

    documents = list(find_documents(paths, on_skip=_skipping(options)))
    with tqdm(documents, unit=" documents", dynamic_ncols=True, disable=not shows_progress(options)) as bar:
        count = 0

        def on_batch(passages: Sequence[Passage]) -> None:
            nonlocal count
            count += len(passages)
            bar.set_postfix_str(f"{count / max(bar.format_dict['elapsed'], 1e-9):.0f} passages/s")

        yield bar, on_batch


def _skipping(options: dict[str, Any]) -> OnSkip:
    return lambda name, reason: _tell(f"Skipped {name!r}: {reason}", options)


def _said(changes: IndexChanges) -> str:
    return ", ".join(f"{count} {name}" for name, count in asdict(changes).items()) + " (passages)."


def _tell(line: str, options: dict[str, Any]) -> None:
    if not options["quiet"]:
        tell(line)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
