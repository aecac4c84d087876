"""The command that opens a page on this machine: `desk`."""

from __future__ import annotations

import secrets
import threading
import webbrowser
from contextlib import ExitStack
from typing import Any

import click

from .completion import model_names
from .console import tell
from .options import engine, engine_options, model_option
from .serve import address_of
from qsift.embedder import Embedder
from qsift.errors import MissingExtraError
from qsift.reranker import Reranker


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=str), metavar="[FOLDER|INDEX]…")
@click.option(
    "--embedding",
    "embeddings",
    metavar="MODEL",
    multiple=True,
    default=("demo-embedding",),
    show_default=True,
    shell_complete=model_names("embed"),
    help="A .gguf file or a name; may be repeated: the first searches, all can be compared.",
)
@model_option("--reranker")
@click.option("--no-reranker", is_flag=True, help="Search with the first stage alone.")
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the page in a browser.")
@click.option("--editor", metavar="COMMAND", help="What opens files, such as 'code --goto {path}:{line}'.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one.")
@engine_options
def desk(paths: tuple[str, ...], **options: Any) -> None:
    """Open a page on this machine: search folders and indices as you type, compare texts, rank documents.

    A FOLDER gets an index in qsift's cache, which is brought up to date at each start. Without any there are the
    models alone. Only this machine reaches the page, and only with the token in the address. Ctrl-C ends it.
    """
    try:
        from qsift.desk import OPEN_PATHS, Desk, Opener, Shelf, desk_routers
        from qsift.server import ServerOptions, bound_socket, create_app, log_to_stderr
        from qsift.server import serve as run
    except ImportError as error:
        package = (error.name or "fastapi").partition(".")[0]
        raise MissingExtraError("The desk", package, "desk") from error

    opener = Opener(options["editor"])
    log_to_stderr("text", each_request=False)
    token = secrets.token_urlsafe(24)
    with ExitStack() as stack:
        bound = stack.enter_context(bound_socket("127.0.0.1", options["port"]))
        settings = engine(options)
        first, *others = options["embeddings"]
        embedder = stack.enter_context(Embedder.load(first, options=settings))
        rerankers = {}
        if not options["no_reranker"]:
            rerankers[options["reranker"]] = stack.enter_context(Reranker.load(options["reranker"], options=settings))
        shelves = [Shelf.open(path, embedder) for path in paths]
        app = create_app(
            {first: embedder, **{name: name for name in others}},
            rerankers,
            options=ServerOptions(api_keys=(token,), local_names_only=True),
            engine=settings,
            routers=desk_routers(Desk(shelves, opener)),
            open_paths=OPEN_PATHS,
        )
        # In the fragment, the token is in no request line, no log and no Referer.
        page = f"{address_of(bound)}/#token={token}"

        def on_ready() -> None:
            tell(f"The desk is open at {page} Ctrl-C ends it.")
            if options["opens"]:  # a browser in the terminal returns when it is left, and the server must answer it
                threading.Thread(target=_browse, args=(page,), daemon=True).start()

        run(app, bound, on_ready=on_ready)


def _browse(page: str) -> None:
    if not webbrowser.open(page):
        tell("No browser was found here. Open the address by hand.")
