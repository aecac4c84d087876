"""qsift convert: checkpoints to files, and with --push to a repository."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from .console import tell
from .options import shows_progress, stderr_options
from qsift.bench import prepare
from qsift.errors import UploadError
from qsift.models import SCHEMES, TASKS

_QUANTS = f"What to write: {', '.join(SCHEMES)}."
_MESSAGE = "Upload GGUF files made by qsift"


@click.command()
@click.argument("checkpoint")
@click.argument("out", required=False)
@click.option("--base", metavar="FOLDER", help="The checkpoint that a LoRA adapter was trained on, to merge it into.")
@click.option("--quant", "quants", default="q8_0", show_default=True, metavar="Q[,Q…]", help=_QUANTS)
@click.option("--task", type=click.Choice(TASKS), help="Needed where the checkpoint does not say.")
@click.option("--imatrix", multiple=True, metavar="TEXTS", help="Text files, or auto: measure which weights count.")
@click.option("--imatrix-file", metavar="FILE", help="Use a matrix that was measured before, or by llama.cpp.")
@click.option("--force", is_flag=True, help="Replace outputs that exist.")
@click.option("--push", "repo", metavar="OWNER/NAME", help="Make a repository of the files and upload it.")
@click.option("--public", is_flag=True, help="With --push: make the repository a public one.  [default: private]")
@stderr_options
def convert(checkpoint: str, out: str | None, quants: str, repo: str | None, public: bool, **options: Any) -> None:
    """Convert a Hugging Face CHECKPOINT, or with --base a LoRA adapter, to GGUF.

    Prints the files written. OUT is a folder, or for a single quant a path that ends in .gguf;
    without it, the current folder.

    --imatrix runs the model once over texts, keeps what it measures as MODEL.imatrix.gguf beside the
    files, and mostly makes K and IQ quants of few bits lose less. auto stands for texts that come with qsift.

    --push writes into the folder NAME in OUT, measures what each quant costs, adds a model card and
    checksums, and uploads to the Hugging Face hub. Without a token (HF_TOKEN, or hf auth login) the
    folder is made and nothing is sent.
    """
    names = [name.strip().lower() for name in quants.split(",")]
    if options["imatrix"] and options["imatrix_file"]:
        raise click.UsageError("--imatrix measures a matrix and --imatrix-file reads one. Pass one of them.")
    settings = {"quants": names, **{name: options[name] for name in ("base", "task", "force", "imatrix_file")}}
    settings["imatrix"] = options["imatrix"] or None
    settings["show_progress_bar"] = shows_progress(options)
    if repo is not None:
        _push(checkpoint, out, repo, settings, private=not public, quiet=options["quiet"])
        return
    if public:
        raise click.UsageError("--public is for the repository of --push.")
    from qsift.convert import convert as write_files

    for path in write_files(checkpoint, out, **settings):
        click.echo(path)


def _push(checkpoint: str, out: str | None, repo: str, settings: dict[str, Any], *, private: bool, quiet: bool) -> None:
    from qsift.hub import account, checked_repo, upload

    if out is not None and out.lower().endswith(".gguf"):
        raise click.UsageError("--push makes a folder. Pass a folder as OUT, or none.")
    owner = account(checked_repo(repo))
    folder = Path(out or ".") / repo.partition("/")[2]
    files = prepare(checkpoint, folder, **settings)
    for path in files:
        click.echo(path)
    ready = f"{str(folder)!r} is ready"
    by_hand = f"hf upload {repo} {shlex.quote(str(folder))}{' --private' if private else ''}"
    if owner is None:
        if not quiet:
            tell(f"Note: {ready}, and nothing was uploaded: there is no token. Run: hf auth login, then: {by_hand}")
        return
    try:
        bar = settings["show_progress_bar"]
        names = [path.name for path in files]
        url = upload(folder, repo, names, private=private, message=_MESSAGE, show_progress_bar=bar)
    except UploadError:
        tell(f"Note: {ready}. To upload it without converting again: {by_hand}")
        raise
    click.echo(url)
