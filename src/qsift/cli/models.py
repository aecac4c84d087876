"""The commands about models: `pull`, `models`, `rm`, and `info` of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .completion import model_names
from .console import tell
from .options import as_json_option, shows_progress, stderr_options
from .output import print_facts, print_json
from qsift.hub import DEFAULT_QUANT, SOURCES, StoredModel, open_model, shelves
from qsift.models import SCHEMES, SPECS, TASKS, ModelFile, ModelSpec, gguf_bytes

_NAMES = click.argument("models", nargs=-1, required=True, metavar="NAME[:QUANT]…", shell_complete=model_names())


@click.command()
@_NAMES
@click.option("--task", type=click.Choice(TASKS), help="Needed where a checkpoint does not say.")
@click.option("--source", type=click.Choice(SOURCES), help="[default: $QSIFT_SOURCE, else hf]")
@click.option("--revision", help="Branch, tag or commit; main looks for a newer one.  [default: keep what is here]")
@click.option("--keep-checkpoint", is_flag=True, help="Keep the weights after they were converted.")
@stderr_options
def pull(models: tuple[str, ...], **options: Any) -> None:
    """Put models on this machine, so that they load by name and offline.

    NAME is one of qsift models, a repository, or the folder of a checkpoint. What is there as a GGUF is taken,
    everything else is converted here and verified. Prints the files. A pull that was interrupted goes on.
    """
    from qsift.hub import pull as fetch

    paths = fetch(
        *models,
        task=options["task"],
        source=options["source"],
        revision=options["revision"],
        keep_checkpoint=options["keep_checkpoint"],
        on_plan=lambda plan: None if options["quiet"] else tell(str(plan)),
        show_progress_bar=shows_progress(options),
    )
    for path in paths:
        click.echo(path)
    _offer_verify(models, paths, options)


def _offer_verify(models: Sequence[str], paths: Sequence[Path], options: dict[str, Any]) -> None:
    from qsift.bench import published_results

    known = [name for name, path in zip(models, paths, strict=True) if published_results(ModelFile.open(path))]
    if known and not options["quiet"]:
        tell(f"Hold what came against published values: qsift verify {' '.join(known)}")


@click.command()
@as_json_option
def models(as_json: bool) -> None:
    """List the models that load by name, and what is on this machine.

    Sizes are in GB; * marks what is here.
    """
    # A hub's cache is its client's: what was removed there is not here any more.
    kept = [model for shelf in shelves() for model in shelf.records() if os.path.isfile(model.path)]
    if as_json:
        print_json({"models": [_facts(spec, kept) for spec in SPECS.values()], "here": [asdict(one) for one in kept]})
        return
    width = max(map(len, SPECS))
    click.echo((f"{'':<{width}}  width  context  " + "".join(f"{quant:<8}" for quant in SCHEMES)).rstrip())
    for spec in SPECS.values():
        facts = _facts(spec, kept)
        sizes = [
            f"{nbytes / 1e9:.2f}" + "*" * (quant in facts["here"]) for quant, nbytes in (facts["bytes"] or {}).items()
        ]
        cells = "".join(f"{size:<8}" for size in sizes) or "bundled, for trying out and for tests"
        click.echo(f"{spec.name:<{width}}  {spec.hidden_size:>5}  {spec.context:>7}  {cells}".rstrip())
    for model in kept:
        how = "converted here" if model.converted else "as it came"
        click.echo(f"\n{model.model}:{model.quant}  {model.nbytes / 1e9:.2f} GB, {how}")
        click.echo(f"  from {model.repo} ({model.source}, {model.commit})\n  {model.path}")


@click.command()
@_NAMES
@stderr_options
def rm(models: tuple[str, ...], **options: Any) -> None:
    """Remove models from this machine: one quant, or all quants of a NAME without one.

    Files that were in a hub's cache before qsift came stay there.
    """
    from qsift.hub import remove

    for model in remove(*models):
        if not options["quiet"]:
            tell(f"Removed {model.model}:{model.quant}.")


@click.command()
@click.argument("model", shell_complete=model_names())
@click.option("--against", metavar="CHECKPOINT", help="Compare it with a checkpoint: a folder, a name or a repository.")
@as_json_option
@click.pass_context
def info(context: click.Context, model: str, against: str | None, as_json: bool) -> None:
    """Show what MODEL, a .gguf file or a name, says about itself.

    With --against, also how it differs from CHECKPOINT, of which only the small files are needed. The exit code is 1
    where a difference changes numbers.
    """
    file = open_model(model)
    compared = _compared(file, against) if against else _recorded(file)
    facts = asdict(file) | ({"note": file.note} if file.note else {})
    if as_json:
        print_json(facts | {"against": compared})
    else:
        _print_info(facts)
        _print_differences(compared)
    if compared and any(one["changes_numbers"] for one in compared["differences"]):
        context.exit(1)


def _print_info(facts: dict[str, Any]) -> None:
    manifest = facts.pop("manifest") or {"qsift keys": "none: qsift did not make this file"}
    own = {name: manifest.pop(name, ()) for name in ("labels", "parts")}
    facts["labels"] = ", ".join(own["labels"] or facts["labels"]) or None
    if facts["task"] == "embed":
        del facts["labels"], facts["score_source"]
    names = {"n_layers": "layers", "n_vocab": "vocabulary", "max_tokens": "context", "nbytes": "bytes"}
    rows = {names.get(name, name.replace("_", " ")): value for name, value in facts.items()}
    prompts = manifest.pop("prompts", None)
    rows |= {
        name.replace("_", " "): value for name, value in manifest.items() if name not in facts and value is not None
    }
    if prompts:
        rows |= {f"prompt {name!r}": repr(text) for name, text in prompts["texts"].items()}
        rows["default prompt"] = prompts["default"]
    if own["parts"]:
        rows["template parts"] = " ".join(map(repr, own["parts"]))
    print_facts(rows)


def _compared(file: ModelFile, checkpoint: str) -> dict[str, Any]:
    """Returns how a file differs from a checkpoint."""
    from qsift.convert import differences
    from qsift.hub import checkpoint_files

    folder, name = checkpoint_files(checkpoint)
    found = differences(file, folder, task=name.spec.task if name.spec else None)
    return {"model": name.repo, "differences": [asdict(difference) for difference in found]}


def _recorded(file: ModelFile) -> dict[str, Any] | None:
    """Returns what was found when a ready-made file was pulled; None for any other file."""
    for kept in (model for shelf in shelves() for model in shelf.records()):
        if os.path.realpath(kept.path) == os.path.realpath(file.path) and not kept.converted:
            found = [{"sentence": sentence, "changes_numbers": False} for sentence in kept.differences]
            return {"model": kept.compared_with, "differences": found}
    return None


def _print_differences(compared: dict[str, Any] | None) -> None:
    if compared and compared["model"] is None:
        click.echo("\nIt was compared with no model. Compare it with: qsift info MODEL --against CHECKPOINT")
    elif compared:
        click.echo(f"\nCompared with {compared['model']}" + ("" if compared["differences"] else ": no difference"))
        for one in compared["differences"]:
            click.echo(f"  {'changes numbers' if one['changes_numbers'] else 'harmless'}: {one['sentence']}")


def _facts(spec: ModelSpec, kept: list[StoredModel]) -> dict[str, Any]:
    """Returns what is known of a model: its shape, its size in each quant, and the quants that are here."""
    return {
        "name": spec.name,
        "repo": spec.repo,
        "task": spec.task,
        "width": spec.hidden_size,
        "context": spec.context,
        "default_quant": DEFAULT_QUANT,
        "bytes": {quant: gguf_bytes(spec, quant) for quant in SCHEMES} if spec.repo else None,
        "here": [model.quant for model in kept if model.model == spec.repo],
        "note": spec.note,
    }
