"""The commands that search files: `search`, and `index` with what belongs to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, get_args

import click

from .completion import index_paths
from .console import tell
from .options import all_of, as_json_option, engine, engine_options, model_option, shows_progress, stderr_options
from .output import print_facts, print_found, print_json, print_places
from qsift.documents import KINDS, Document, OnSkip, source_name
from qsift.embedder import Embedder
from qsift.reranker import Reranker
from qsift.search import (
    ORDERS,
    Filter,
    IndexChanges,
    IndexOptions,
    Mode,
    OnProgress,
    PassageList,
    Root,
    SearchIndex,
    SearchPipeline,
    documents_of,
)

_NAMED = 10
"""Files that are named for each reason to skip them."""
_PATH = click.Path(path_type=str)
_embedding = model_option("--embedding")
_index = click.argument("index", metavar="INDEX", type=_PATH, shell_complete=index_paths)
_WALK = ("no_ignore", "hidden")
_some_paths = click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="PATH…")
_any_paths = click.argument("paths", nargs=-1, type=_PATH, metavar="[PATH…]")
_walk = all_of(
    click.option("--no-ignore", is_flag=True, help="Take what ignore files name, and generated files."),
    click.option("--hidden", is_flag=True, help="Take hidden files and folders."),
)
_from_paths = all_of(_walk, _embedding, engine_options, stderr_options)
_filters = all_of(
    click.option("--glob", help="Only sources that match, such as 'notes/*.md'."),
    click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only documents of this kind."),
    click.option("--after", type=click.DateTime(), help="Only documents changed at this time or later."),
    click.option("--before", type=click.DateTime(), help="Only documents changed at this time or earlier."),
)


@click.command()
@click.argument("question")
@click.argument("paths", nargs=-1, type=_PATH, metavar="[PATH]…")
@click.option(
    "--index", "index_path", type=_PATH, shell_complete=index_paths, help="Search this index instead of paths."
)
@_walk
@_embedding
@model_option("--reranker")
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
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "grep", "json"]),
    help="grep: path:line:text, a passage a line.  [default: text]",
)
@as_json_option
@engine_options
@stderr_options
def search(question: str, paths: tuple[str, ...], **options: Any) -> None:
    """Find the passages of files, or of an index, that answer QUESTION.

    The embedding model sifts all passages, the reranker sorts the best of them. PATHs are files and folders: text,
    Markdown, code, HTML, PDF, Word, PowerPoint, Excel, OpenDocument, EPUB, notebooks, mails, tables and subtitles. As
    with grep, the exit code is 1 where nothing is found: nothing above --min-score, or nothing to search in.
    """
    form = "json" if options["as_json"] else options["form"]
    if options["as_json"] and options["form"] not in (None, "json"):
        raise click.UsageError(f"--json and --format {options['form']} ask for two forms. Give one of them.")
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
    if form == "json":
        print_json({"question": question, "hits": found})
    elif form == "grep":
        print_places(found)
    else:
        print_found(found)
    if not found:
        click.get_current_context().exit(1)


@contextmanager
def _first_stage(paths: Sequence[str], embedder: Any, options: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Gives what finds candidates and the options of its search."""
    if options["index_path"] is not None:
        if given := [name for name in _WALK if options[name]]:
            raise click.UsageError(f"{_named(given)}: for paths only.")
        where = Filter(options["glob"], options["kinds"], _seconds(options["after"]), _seconds(options["before"]))
        with SearchIndex.open(options["index_path"], embedder, create=False) as index:
            yield index, {"mode": options["mode"] or "hybrid", "where": where, "coarse_dim": options["coarse_dim"]}
        return
    given = [name for name in ("mode", "coarse_dim", "glob", "kinds", "after", "before") if options[name]]
    if given:
        raise click.UsageError(f"{_named(given)}: for --index only.")
    with _reading(_given(paths, options), options) as (documents, _, on_progress):
        passages = PassageList.of(documents, embedder, on_skip=_skipping(options), on_progress=on_progress)
    if not passages.passages:
        _tell("There is no text in these paths.", options)
    yield passages, {}


def _named(options: Sequence[str]) -> str:
    return ", ".join("--" + name.replace("_", "-").replace("kinds", "kind") for name in options)


@click.group()
def index() -> None:
    """Keep an index of files, so that searching them takes milliseconds."""


@index.command()
@_index
@_some_paths
@_from_paths
def add(index: str, paths: tuple[str, ...], **options: Any) -> None:
    """Add files and folders to INDEX, a folder that is made if it is not there."""
    with _opened(index, options, create=True) as opened:
        roots = _roots(opened, paths, options)
        with _reading(roots, options) as (documents, _, on_progress):
            opened.keep(roots)
            changes = opened.add(documents, on_skip=_skipping(options), on_progress=on_progress)
        _tell(_said(changes), options)


@index.command()
@_index
@_any_paths
@_from_paths
def update(index: str, paths: tuple[str, ...], **options: Any) -> None:
    """Bring INDEX up to date with files and folders: embed what changed, remove what is gone from them.

    Without PATHs, with those that it was made of.
    """
    with _opened(index, options, create=False) as opened:
        roots = _roots(opened, paths, options)
        within = [root.source for root in roots]
        with _reading(roots, options) as (documents, unread, on_progress):
            if paths:
                opened.keep(roots)
            changes = opened.update(
                documents, within=within, unread=unread, on_skip=_skipping(options), on_progress=on_progress
            )
        _tell(_said(changes), options)


@index.command()
@_index
@_any_paths
@_from_paths
def watch(index: str, paths: tuple[str, ...], **options: Any) -> None:
    """Keep INDEX up to date while files change, until Ctrl-C.

    Watched are PATHs or, without them, those that it was made of. While nothing changes, nothing is done or said.
    """
    with _opened(index, options, create=False, wait=-1) as opened:
        roots = _roots(opened, paths, options)
        if paths:
            opened.keep(roots)
        updates = opened.watch(roots, on_skip=_skipping(options))
        _tell(_said(next(updates)), options)
        _tell(f"Watching {', '.join(root.source for root in roots)}. Ctrl-C ends it.", options)
        for changes in updates:
            _tell(f"{datetime.now():%H:%M:%S}  {_said(changes, zeros=False)}", options)


@index.command()
@_index
@click.argument("sources", nargs=-1, required=True, metavar="PATH…")
@stderr_options
def remove(index: str, sources: tuple[str, ...], **options: Any) -> None:
    """Remove documents from INDEX by their names, or those of the folders that they are in.

    An INDEX that was made of such a path forgets it.
    """
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
def _opened(
    path: str, options: dict[str, Any], *, create: bool, wait: float = IndexOptions.wait
) -> Iterator[SearchIndex]:
    with (
        Embedder.load(options["embedding"], options=engine(options)) as embedder,
        SearchIndex.open(path, embedder, create=create, options=IndexOptions(wait=wait)) as opened,
    ):
        yield opened


def _given(paths: Sequence[str], options: dict[str, Any]) -> list[Root]:
    return [Root.of(path, ignore=not options["no_ignore"], hidden=options["hidden"]) for path in paths]


def _roots(opened: SearchIndex, paths: Sequence[str], options: dict[str, Any]) -> list[Root]:
    """Returns what a command is about: its paths, else what the index was made of."""
    if paths:
        return _given(paths, options)
    if given := [name for name in _WALK if options[name]]:
        raise click.UsageError(f"{_named(given)}: for paths only. Without them, the index knows how it was made.")
    return opened.roots()


@contextmanager
def _reading(
    roots: Sequence[Root], options: dict[str, Any]
) -> Iterator[tuple[Iterable[Document], list[str], OnProgress]]:
    """Gives the documents of roots, what was unread, and what draws a bar of passages when it is told of them."""
    from tqdm import tqdm

    unread: list[str] = []
    documents = list(documents_of(roots, on_skip=_skipping(options), on_unread=unread.append))
    n_read = 0
    with tqdm(unit=" passages", dynamic_ncols=True, disable=not shows_progress(options)) as bar:

        def read() -> Iterator[Document]:
            nonlocal n_read
            for n_read, document in enumerate(documents, 1):
                bar.set_postfix_str(f"{n_read} of {len(documents)} documents", refresh=False)
                bar.update(0)
                yield document

        def on_progress(done: int, cut: int) -> None:
            # The documents that are left have as many passages each, as far as one can tell.
            bar.total = round(cut * len(documents) / n_read)
            bar.update(done - bar.n)

        yield read(), unread, on_progress


def _skipping(options: dict[str, Any]) -> OnSkip:
    """Returns what names the first files that are skipped for a reason; the end of the command counts the others."""
    context = click.get_current_context()
    if __name__ not in context.meta:
        context.meta[__name__] = Counter()
        context.call_on_close(lambda: _tell_of_others(counts, options))
    counts: Counter[str] = context.meta[__name__]

    def on_skip(name: str, reason: str) -> None:
        kind = reason.partition(":")[0].rstrip(".")
        counts[kind] += 1
        if counts[kind] <= _NAMED:
            _tell(f"Skipped {name!r}: {reason}", options)

    return on_skip


def _tell_of_others(counts: Counter[str], options: dict[str, Any]) -> None:
    for kind, count in counts.items():
        if count > _NAMED:
            _tell(f"Skipped {count - _NAMED} more: {kind}.", options)


def _said(changes: IndexChanges, *, zeros: bool = True) -> str:
    counts = asdict(changes).items()
    said = ", ".join(f"{count} {name}" for name, count in counts if count or zeros) + " (passages)."
    return f"{said} The index keeps what it has of those that could not be read." if changes.skipped else said


def _tell(line: str, options: dict[str, Any]) -> None:
    if not options["quiet"]:
        tell(line)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
