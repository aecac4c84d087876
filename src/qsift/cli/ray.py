"""`qsift embed MODEL --ray [ADDRESS] IN OUT`: files to files, on a cluster."""

from __future__ import annotations

import re
from typing import Any

import click

from .console import tell
from .options import engine, shows_progress

LOCAL = "local"
_ADDRESS = re.compile(r"local|auto|ray://.+|[^/\\\s]+:\d+")


class RayCommand(click.Command):
    """A command whose --ray may stand without an address before other arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Gives a --ray that no address follows the address of this machine."""
        for place, argument in enumerate(args):
            if argument == "--":
                break
            if argument == "--ray" and not _ADDRESS.fullmatch(args[place + 1] if place + 1 < len(args) else ""):
                args = [*args[:place], f"--ray={LOCAL}", *args[place + 1 :]]
        return super().parse_args(ctx, args)


def embed_with_ray(model: str, paths: tuple[str, ...], options: dict[str, Any]) -> None:
    """Embeds the files of IN into OUT, and says what was done on stderr."""
    _refuse_others(paths, options)
    from qsift.integrations import ray

    source, target = paths
    address = None if options["ray"] == LOCAL else options["ray"]
    done = ray.embed_files(
        source,
        target,
        model=model,
        pool=ray.Pool(actors=options["actors"], threads=options["threads"], address=address),
        column=options["field"],
        instruction=options["instruction"],
        prompt_name=options["prompt_name"],
        truncate_dim=options["dim"],
        options=engine(options),
        on_progress=_told if shows_progress(options) else None,
    )
    if not options["quiet"]:
        kept = f", {done.kept} were done before" if done.kept else ""
        tell(f"{done.rows} rows embedded in {done.partitions} partitions{kept}. The result lies in {target}.")


def _refuse_others(paths: tuple[str, ...], options: dict[str, Any]) -> None:
    if len(paths) != 2:
        raise click.UsageError(
            "With --ray the arguments are MODEL IN OUT: a file or folder of tables, and a new folder."
        )
    taken = {
        "--file": options["files"],
        "--jsonl": options["jsonl"],
        "--output": options["output"],
        "--format": options["form"],
        "--with-text": options["with_text"],
        "--max-tokens": options["max_tokens"],
        "--no-truncate": not options["truncate"],
        "--no-normalize": not options["normalize"],
        "--precision": options["precision"] != "float32",
        "--prompt": options["prompt"] is not None,
    }
    if given := [name for name, value in taken.items() if value]:
        raise click.UsageError(f"{', '.join(given)} cannot be used with --ray, which reads and writes tables.")


def _told(done: int, total: int) -> None:
    tell(f"{done} of {total} rows ({done / total:.0%})")
