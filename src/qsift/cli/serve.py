"""The command that serves models over HTTP: `serve`."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack
from typing import Any

import click
from click.core import ParameterSource

from .completion import model_names
from .console import tell
from .options import Size, engine, engine_options
from .service import SERVICES, service_of
from qsift.embedder import Embedder
from qsift.errors import MissingExtraError
from qsift.reranker import Reranker

_LIMITS = ("max_body", "max_texts", "max_tokens", "max_waiting", "timeout", "body_timeout", "memory")


@click.command()
@click.option(
    "--embedding",
    "embeddings",
    metavar="NAME",
    shell_complete=model_names("embed"),
    multiple=True,
    help="Embedding model: a .gguf file or a name (qsift models); may be repeated.",
)
@click.option(
    "--reranker",
    "rerankers",
    metavar="NAME",
    shell_complete=model_names("rerank"),
    multiple=True,
    help="Reranker: a .gguf file or a name (qsift models); may be repeated.",
)
@click.option(
    "--memory",
    type=Size(),
    help="What several models may take together, such as 12GB.  [default: 3/4 of what is available]",
)
@click.option(
    "--alias",
    "aliases",
    metavar="NAME[=MODEL]",
    multiple=True,
    help="Another name for the first model of each task, or for MODEL; may be repeated.",
)
@click.option("--any-model-name", is_flag=True, help="Take any other model name for the first model of the task.")
@click.option("--accept-token-ids", is_flag=True, help="Take texts that come as this model's token ids.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--unix-socket",
    type=click.Path(),
    metavar="PATH",
    help="Listen on a Unix socket, for this user alone, and on no port.",
)
@click.option(
    "--port-file", type=click.Path(dir_okay=False), metavar="PATH", help="Write the port there as soon as all is ready."
)
@click.option("--api-key", "api_keys", multiple=True, envvar="QSIFT_API_KEY", help="Demand this key; may be repeated.")
@click.option(
    "--allow-origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="Answer web pages of this origin, such as http://localhost:3000; may be repeated.",
)
@click.option("--insecure", is_flag=True, help="Bind beyond this machine without a key.")
@click.option("--max-body", type=click.IntRange(1), default=8 * 2**20, show_default=True, help="Bytes of a body.")
@click.option("--max-texts", type=click.IntRange(1), default=2048, show_default=True, help="Texts of a request.")
@click.option("--max-tokens", type=click.IntRange(1), help="Tokens of a text.  [default: 8192, or the model's context]")
@click.option(
    "--max-waiting", type=click.IntRange(1), default=2**19, show_default=True, help="Tokens that may wait for a model."
)
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=600, show_default=True, help="Seconds of a request."
)
@click.option(
    "--body-timeout",
    type=click.FloatRange(0, min_open=True),
    default=30,
    show_default=True,
    help="Seconds until a body is there.",
)
@click.option(
    "--log/--no-log", default=True, show_default=True, help="A line on stderr for each request, without texts."
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: everything on stderr is an object a line.",
)
@click.option("--systemd", "service", flag_value="systemd", help="Print a unit that runs this command, and end.")
@click.option("--launchd", "service", flag_value="launchd", help="Print such an agent of macOS, and end.")
@click.option("--task-scheduler", "service", flag_value="task-scheduler", help="Print such a task of Windows, and end.")
@click.option("--quiet", "-q", is_flag=True, help="Nothing on stderr but the address and errors.")
@engine_options
def serve(embeddings: tuple[str, ...], rerankers: tuple[str, ...], **options: Any) -> None:
    """Serve models over HTTP, with the APIs of OpenAI, Cohere, Jina, Voyage, TEI, Ollama, llama-server and vLLM.

    Prints the address when both models are loaded and warm; of several of a kind, the first. The others are loaded
    when a request names them. Ctrl-C or SIGTERM ends it, after the answers to what it accepted.
    """
    try:
        from qsift.desk import OPEN_PATHS, Desk, desk_routers
        from qsift.server import (
            ServerOptions,
            bound_socket,
            create_app,
            is_loopback,
            log_to_stderr,
            port_file,
            unix_socket,
        )
        from qsift.server import serve as run
    except ImportError as error:
        package = (error.name or "fastapi").partition(".")[0]
        raise MissingExtraError("Starting the server", package, "server") from error

    names = embeddings + rerankers
    if not names:
        raise click.UsageError("There is nothing to serve. Name a model with --embedding, --reranker, or both.")
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"The model {name!r} is named twice. Name it once.")
    context = click.get_current_context()
    has_port = options["unix_socket"] is None
    if not has_port:
        _check_unix_socket(context)
    is_local = not has_port or is_loopback(options["host"])
    if not is_local and not options["api_keys"] and not options["insecure"]:
        raise click.UsageError(
            f"Others can reach {options['host']}, and there is no key. Give one with --api-key or QSIFT_API_KEY, "
            "or say --insecure if that is meant."
        )
    limits = ServerOptions(
        api_keys=tuple(options["api_keys"]),
        aliases=tuple(options["aliases"]),
        any_model_name=options["any_model_name"],
        accept_token_ids=options["accept_token_ids"],
        origins=tuple(options["origins"]),
        # No web page gets to a Unix socket; what its clients call this server is theirs.
        local_names_only=has_port and is_local and not options["api_keys"],
        **{name: options[name] for name in _LIMITS},
    )
    if options["service"]:
        text, advice = SERVICES[options["service"]](service_of(context))
        click.echo(text, nl=False)
        tell(advice)
        return
    log_to_stderr(options["log_format"], each_request=options["log"] and not options["quiet"])
    with ExitStack() as stack:
        # The address is taken before the models are loaded, so that a mistake shows at once.
        bound = stack.enter_context(
            bound_socket(options["host"], options["port"]) if has_port else unix_socket(options["unix_socket"])
        )
        write_port = stack.enter_context(port_file(options["port_file"])) if options["port_file"] else None
        models = _load(embeddings, rerankers, options, stack)
        # For browsers, "/" is the desk's page with what models do by themselves.
        page = desk_routers(Desk())
        app = create_app(*models, options=limits, engine=engine(options), routers=page, open_paths=OPEN_PATHS)

        def on_ready() -> None:
            if write_port:
                write_port(bound.getsockname()[1])
            say = tell if options["log_format"] == "text" else logging.getLogger("qsift.server").info
            url = address_of(bound)
            docs = "" if url.startswith("unix:") else f", its API on {url}/docs"
            say(f"Serving on {url}{docs}. Ctrl-C ends it.")

        run(app, bound, on_ready=on_ready)


def _check_unix_socket(context: click.Context) -> None:
    for name in ("host", "port", "port_file", "insecure"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} is for a port, and --unix-socket opens none. Leave one of them out.")
    if not hasattr(socket, "AF_UNIX"):
        raise click.UsageError("Python has no Unix sockets on this system. Use --host and --port.")


def address_of(bound: socket.socket) -> str:
    """Returns where a socket listens: a URL without a path, or "unix:" and the socket's file."""
    name = bound.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _load(embeddings: tuple[str, ...], rerankers: tuple[str, ...], options: dict[str, Any], models: ExitStack) -> Any:
    """Returns the models by name: a pair is loaded here and stays; more, or those of a budget, the server loads."""
    if len(embeddings) > 1 or len(rerankers) > 1 or options["memory"]:
        return {name: name for name in embeddings}, {name: name for name in rerankers}
    settings = engine(options)
    return (
        {name: models.enter_context(Embedder.load(name, options=settings)) for name in embeddings},
        {name: models.enter_context(Reranker.load(name, options=settings)) for name in rerankers},
    )
