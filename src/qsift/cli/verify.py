"""qsift verify: a model against what others published, and against torch over its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .completion import model_names
from .options import as_json_option, engine, engine_options, shows_progress, stderr_options
from .output import print_columns, print_json
from qsift import __version__
from qsift.bench import Check, check_finite, check_published, check_reference, open_reference
from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.hub import open_model
from qsift.models import ModelFile
from qsift.reranker import Reranker

_HEADS = ("check", "expected", "found", "off by", "allowed", "")


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL…", shell_complete=model_names())
@click.option(
    "--reference",
    metavar="CHECKPOINT",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Also hold them against torch over this folder, on 240 texts.",
)
@engine_options
@as_json_option
@stderr_options
@click.pass_context
def verify(context: click.Context, /, models: tuple[str, ...], **options: Any) -> None:
    """Hold MODELs, .gguf files or names (qsift models), against results that were published about them.

    A row for each result: what is expected, what was found, how far that is off, and how far a quant may be. Nothing
    is published about a fine-tune: --reference takes the checkpoint that it was made of, and needs torch.

    The exit code is 1 where a row failed, and where there was nothing to hold a model against.
    """
    folder = options["reference"]
    reference = open_reference(folder, show_progress_bar=shows_progress(options)) if folder else None
    found = []
    for name in models:
        file = open_model(name)
        checks, unknown = _checks(file, engine(options), reference)
        found.append(
            {
                "model": name,
                "path": file.path,
                "name": file.name,
                "quant": file.quant,
                "checks": [asdict(check) for check in checks],
                "note": unknown,
                "passed": unknown is None and all(check.passed for check in checks),
            }
        )
        if not options["as_json"]:
            _print(name, file, checks, unknown)
    if options["as_json"]:
        print_json({"qsift": __version__, "models": found, "passed": all(one["passed"] for one in found)})
    if not all(one["passed"] for one in found):
        context.exit(1)


def _checks(file: ModelFile, options: EngineOptions, reference: Any) -> tuple[list[Check], str | None]:
    """Returns a model's rows, and the sentence that says that there was nothing to hold it against."""
    loader = Reranker if file.task == "rerank" else Embedder
    with loader.load(file.path, options=options) as model:
        checks = check_published(model)
        if reference:
            checks += check_reference(model, reference)
        unknown = None
        if not checks:
            unknown = (
                f"It calls itself {file.name!r}, and no values were published for that. Hold it against the checkpoint "
                "that it was made of: --reference CHECKPOINT."
            )
        return [*checks, check_finite(model)], unknown


def _print(name: str, file: ModelFile, checks: Sequence[Check], unknown: str | None) -> None:
    click.echo(f"{name}  {file.quant}  {file.path}")
    print_columns([_HEADS, *(_cells(check) for check in checks)])
    for source in dict.fromkeys(check.source for check in checks):
        click.echo(f"  from {source}")
    if unknown:
        click.echo(f"  {unknown}")
    click.echo()


def _cells(check: Check) -> tuple[str, ...]:
    verdict = "ok" if check.passed else "FAILED"
    off, allowed = f"{check.off:.5f}", f"{check.tolerance:.5f}"
    return check.name, _numbers(check.expected), _numbers(check.found), off, allowed, verdict


def _numbers(values: Sequence[float]) -> str:
    return " ".join(str(value) if isinstance(value, int) else f"{value:.4f}" for value in values)
