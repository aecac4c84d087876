"""Where the files go, and whether they may and can go there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from .gguf_file import remove_leftovers
from .metadata import file_name
from .quantize import Plan

_HEADER_ROOM = 16 << 20
"""More than the vocabulary and all other keys take."""


def output_paths(out: str | os.PathLike[str] | None, name: str, quants: Iterable[str]) -> dict[str, Path]:
    """Returns the path of each quant's file: ``out`` itself if it ends in .gguf, else a file in the folder ``out``.

    Raises:
        ValueError: one path was given for several quants.
    """
    place, quants = Path(out or "."), tuple(quants)
    if place.suffix.lower() != ".gguf":
        return {quant: place / file_name(name, quant) for quant in quants}
    if len(quants) > 1:
        raise ValueError(f"{str(place)!r} is one file and {len(quants)} quants were asked for. Pass a folder instead.")
    return {quants[0]: place}


def output_problems(
    paths: Mapping[str, Path], plans: Mapping[str, Plan], *, force: bool, matrix: tuple[Path, Plan] | None = None
) -> list[str]:
    """Returns a sentence for each reason why the files cannot be written; clears away what dead runs left.

    Args:
        paths: the files by quant.
        plans: what will stand in them.
        force: whether files that exist may be replaced.
        matrix: where an importance matrix is measured, its file, and the model that lies on the disk meanwhile.
    """
    problems = []
    for path in (*paths.values(), *([matrix[0]] if matrix else [])):
        if path.is_dir():
            problems.append(f"{str(path)!r} is a folder. Move it, or choose another place.")
        elif path.exists() and not force:
            problems.append(f"{str(path)!r} exists. Pass --force to replace it, or choose another place.")
        remove_leftovers(path)
    # The folder may have to be made, so the disk is asked through the nearest one that exists.
    folder = next(iter(paths.values())).absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return [*problems, f"{str(folder)!r} is a file, so no folder can be made there. Choose another place."]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [*problems, f"Nothing may be written into {str(folder)!r}. Choose another place."]
    needed = sum(item.nbytes for plan in plans.values() for item in plan) + _HEADER_ROOM * len(plans)
    if matrix:  # its model is gone before the first file is written
        needed = max(needed, sum(item.nbytes for item in matrix[1])) + _HEADER_ROOM
    free = shutil.disk_usage(folder).free
    if needed > free:
        problems.append(
            f"{needed / 1e9:.2f} GB are needed in {str(folder)!r} and {free / 1e9:.2f} GB are free. "
            "Make room, choose another place, or ask for fewer quants."
        )
    return problems
