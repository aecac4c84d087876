"""The command line: a mirror of the API, one short function a command.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from .cli_input import texts_from
from .engine import EngineOptions
from .errors import QsiftError

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="qsift")
def cli() -> None:
    """Qwen3-Embedding and Qwen3-Reranker on llama.cpp."""


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return add


_engine = _options(
    click.option("--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True),
    click.option("--gpu-layers", type=click.IntRange(0), help="Blocks on the GPU.  [default: all]"),
    click.option("--main-gpu", type=click.IntRange(0), help="Number of the one GPU to use.  [default: all]"),
    click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: physical cores]"),
    click.option("--cache-type", type=click.Choice(["f16", "f32", "q8_0"]), default="f16", show_default=True),
)
_texts = _options(
    click.option("--file", "files", multiple=True, metavar="PATH", help="Read texts from a file, one a line."),
    click.option("--field", metavar="NAME", help="The lines are JSON; take this field."),
    click.option("--whole", is_flag=True, help="Each file is one text."),
    click.option("--instruction", metavar="SENTENCE", help="Replaces the model's default instruction."),
    click.option("--max-tokens", type=int, help="Longest text in tokens.  [default: the model's context]"),
    click.option("--truncate/--no-truncate", default=True, show_default=True, help="Cut longer texts, or refuse them."),
    click.option("--quiet", "-q", is_flag=True, help="No progress and no warnings."),
)


@cli.command()
@click.argument("checkpoint")
@click.argument("out", required=False)
@click.option("--quant", "quants", default="q8_0", show_default=True, metavar="Q,Q,…", help="What to write.")
@click.option("--task", type=click.Choice(["embed", "rerank"]), help="Where the checkpoint does not say.")
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def convert(checkpoint: str, out: str | None, quants: str, task: Any, force: bool, quiet: bool) -> None:
    """Convert a Hugging Face CHECKPOINT to GGUF files in OUT.

    Quants: f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q4_0, iq4_xs.
    """
    from .convert import convert as run

    paths = run(checkpoint, out, quants=quants, task=task, force=force, show_progress_bar=_shows_progress(quiet))
    for path in paths:
        click.echo(path)


@cli.command()
@click.argument("model")
@click.argument("texts", nargs=-1)
@_texts
@click.option("--query", "is_query", is_flag=True, help="The texts are queries: put the instruction before them.")
@click.option("--dim", type=int, help="Width of the vectors, from 32 (Matryoshka).  [default: full]")
@click.option("--precision", default="float32", show_default=True, help="float32, int8, uint8, binary, ubinary.")
@click.option("--format", "form", type=click.Choice(["jsonl", "npy", "table"]), default="jsonl", show_default=True)
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write here instead of to stdout.")
@_engine
def embed(model: str, texts: tuple[str, ...], **options: Any) -> None:
    """Embed TEXTS (or --file, or - for standard input) with MODEL, a .gguf file."""
    from .embedder import Embedder

    source = texts_from(texts, options["files"], field=options["field"], whole=options["whole"])
    if options["form"] == "npy" and options["output"] is None and sys.stdout.isatty():
        raise click.UsageError("npy is binary. Pass --output FILE or pipe it.")
    instruction = options["instruction"]
    with Embedder.load(model, options=_engine_options(options)) as embedder:
        if instruction is None and options["is_query"]:
            instruction = embedder.instruction
        rows = embedder.encode(
            iter(source),
            instruction=instruction,
            truncate_dim=options["dim"],
            precision=options["precision"],
            max_tokens=options["max_tokens"],
            truncate=options["truncate"],
            show_progress_bar=_shows_progress(options["quiet"]),
        )
        with _opened(options["output"]) as file:
            {"jsonl": _write_jsonl, "npy": _write_npy, "table": _write_table}[options["form"]](rows, file)


@cli.command()
@click.argument("model")
@click.argument("query")
@click.argument("texts", nargs=-1)
@_texts
@click.option("--top-k", type=click.IntRange(1), help="How many to print.  [default: all]")
@click.option("--template", type=click.Choice(["card", "evaluation"]), help="The prompt.  [default: the file's]")
@click.option("--raw-scores", is_flag=True, help="Print the difference of logits instead of P(yes).")
@click.option("--format", "form", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
@_engine
def rerank(model: str, query: str, texts: tuple[str, ...], **options: Any) -> None:
    """Rank TEXTS (or --file, or - for standard input) by how well they answer QUERY."""
    from .reranker import Reranker

    source = texts_from(texts, options["files"], field=options["field"], whole=options["whole"])
    with Reranker.load(model, template=options["template"], options=_engine_options(options)) as reranker:
        hits = reranker.rank(
            query,
            source,
            top_k=options["top_k"],
            instruction=options["instruction"],
            raw_scores=options["raw_scores"],
            max_tokens=options["max_tokens"],
            truncate=options["truncate"],
            show_progress_bar=_shows_progress(options["quiet"]),
        )
    for hit in hits:
        if options["form"] == "jsonl":
            line = {"corpus_id": hit.corpus_id, "score": hit.score, "text": hit.text}
            click.echo(json.dumps(line, ensure_ascii=False))
        else:
            click.echo(f"{hit.score:8.4f}  {hit.corpus_id:4d}  {_one_line(hit.text, 80)}")


@cli.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
def info(model: str, as_json: bool) -> None:
    """Show what MODEL, a .gguf file, says about itself."""
    from dataclasses import asdict

    from .loading import open_model

    facts = asdict(open_model(model))
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    facts |= {f"manifest.{key}": value for key, value in (facts.pop("manifest") or {}).items()}
    for key, value in facts.items():
        click.echo(f"{key:24} {'-' if value is None else value}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
@click.option("--again", is_flag=True, help="Run the self-check of the AMX kernels anew, needed or not.")
def doctor(as_json: bool, again: bool) -> None:
    """Show what is installed, whether it is safe, and what would make it faster."""
    from .doctor import examine

    report = examine(again=again).to_dict()
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
        return
    advice = report.pop("advice")
    for key, value in report.items():
        click.echo(f"{key:18} {' '.join(value) if isinstance(value, tuple) else value}")
    for sentence in advice or ["Nothing to improve was found."]:
        click.echo(f"\n{sentence}")


def _engine_options(options: dict[str, Any]) -> EngineOptions:
    names = ("device", "gpu_layers", "main_gpu", "threads", "cache_type")
    return EngineOptions(**{name: options[name] for name in names})


def _shows_progress(quiet: bool) -> bool:
    if quiet:
        warnings.simplefilter("ignore")
    return not quiet and sys.stderr.isatty()


@contextmanager
def _opened(path: str | None) -> Iterator[IO[bytes]]:
    """Gives the place for results; a file gets its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        return
    scratch = Path(f"{path}.part")
    try:
        with scratch.open("wb") as file:
            yield file
        os.replace(scratch, path)
    except OSError as error:
        raise click.ClickException(f"{path!r} cannot be written: {error.strerror}.") from None
    finally:
        scratch.unlink(missing_ok=True)


def _write_jsonl(rows: Iterable[Any], file: IO[bytes]) -> None:
    for index, row in enumerate(rows):
        file.write(json.dumps({"index": index, "vector": row.tolist()}).encode() + b"\n")
    file.flush()


def _write_npy(rows: Iterable[Any], file: IO[bytes]) -> None:
    import numpy as np

    np.save(file, np.stack(list(rows)))
    file.flush()


def _write_table(rows: Iterable[Any], file: IO[bytes]) -> None:
    for index, row in enumerate(rows):
        start = "  ".join(f"{value:9.5f}" if row.dtype.kind == "f" else f"{value:4d}" for value in row[:8])
        file.write(f"{index:6d}  {start}{'  …' if len(row) > 8 else ''}\n".encode())
    file.flush()


def _one_line(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def main() -> None:
    """Runs the command line and exits the process."""
    warnings.showwarning = lambda message, *_: click.echo(f"Warning: {message}", err=True)  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (ValueError, TypeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except QsiftError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader went away (| head); what follows at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
