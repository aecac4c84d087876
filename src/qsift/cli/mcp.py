"""The command that serves agents and editors: `mcp`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import click
from click.core import ParameterSource

from .completion import index_paths
from .console import tell
from .options import engine, engine_options, model_option, quiet_option
from qsift.embedder import Embedder
from qsift.reranker import Reranker
from qsift.search import SearchIndex


@click.command()
@click.argument(
    "indices", nargs=-1, required=True, type=click.Path(path_type=str), metavar="INDEX…", shell_complete=index_paths
)
@model_option("--embedding", "What the indices were made with: a .gguf file or a name.")
@model_option("--reranker")
@click.option("--candidates", type=click.IntRange(1), default=50, show_default=True, help="Passages to rerank.")
@click.option("--no-reranker", is_flag=True, help="Search with the first stage alone, and offer no tool to rerank.")
@click.option("--embed", is_flag=True, help="Offer a tool that gives vectors, too.")
@click.option(
    "--http", is_flag=True, help="Serve streamable HTTP on this machine instead of standard input and output."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="0 takes a free one.")
@engine_options
@quiet_option
def mcp(indices: tuple[str, ...], **options: Any) -> None:
    """Let agents and editors search INDEXes, over the Model Context Protocol.

    Clients start this command themselves and speak with it over standard input and output; with --http they find it at
    http://127.0.0.1:PORT/mcp. Nothing but these indices can be read. An index is called as its folder is.
    """
    if not options["http"] and click.get_current_context().get_parameter_source("port") is not ParameterSource.DEFAULT:
        raise click.UsageError("--port is for --http. Add it, or leave the port out.")
    named = _named(indices)
    from qsift.integrations.mcp import create_server, serve_http, serve_stdio

    with ExitStack() as stack:
        embedder = stack.enter_context(Embedder.load(options["embedding"], options=engine(options)))
        opened = {
            name: stack.enter_context(SearchIndex.open(path, embedder, create=False)) for name, path in named.items()
        }
        reranker = None
        if not options["no_reranker"]:
            reranker = stack.enter_context(Reranker.load(options["reranker"], options=engine(options)))
        server = create_server(opened, embedder, reranker, candidates=options["candidates"], embed=options["embed"])
        if options["http"]:
            serve_http(server, options["port"], on_ready=None if options["quiet"] else _tell_address)
        else:
            serve_stdio(server)


def _named(paths: tuple[str, ...]) -> dict[str, str]:
    """Returns the paths by what the indices are called."""
    named: dict[str, str] = {}
    for path in paths:
        name = os.path.basename(os.path.abspath(path))
        if name in named:
            raise click.UsageError(f"Two indices would be called {name!r}, and clients could not tell them apart.")
        named[name] = path
    return named


def _tell_address(url: str) -> None:
    tell(f"Serving on {url}. Ctrl-C ends it.")
