"""From a checkpoint to a folder that can become a repository: GGUFs, a model card, checksums.

The parity figures are measured here, each time, on this machine. Nothing is sent anywhere (`hub.upload` does that).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .model_card import CardFile, card_fields, card_text
from .parity import difference, results
from qsift.errors import ConversionError
from qsift.hub import checksum
from qsift.models import SPECS, Manifest, ModelFile, Task, checked_quants, read_header

CARD, SUMS = "README.md", "SHA256SUMS"
_REFERENCES = ("f32", "bf16", "f16")
"""From the most exact; BF16 is what the checkpoints are in, and F16 of the 8B models overflows on some texts."""


def prepare(
    checkpoint: str | Path,
    folder: Path,
    *,
    base: str | Path | None = None,
    quants: str | Iterable[str] = ("q8_0",),
    task: Task | None = None,
    force: bool = False,
    imatrix: Iterable[str] | None = None,
    imatrix_file: str | None = None,
    show_progress_bar: bool = False,
) -> list[Path]:
    """Converts a checkpoint into ``folder`` and adds what a repository needs; returns the files.

    Where no quant is as exact as the checkpoint, a BF16 file is made to compare with, and removed again.

    Args:
        checkpoint, base, quants, task, force, imatrix, imatrix_file, show_progress_bar: as `convert`.
        folder: made if it is not there; its name becomes the card's title.

    Returns:
        The GGUFs in the order of ``quants``, README.md and SHA256SUMS.

    Raises:
        ConversionError, ValueError, EngineError: as `convert`; also where a file is in the way and not ``force``.
    """
    from qsift.convert import convert
    from qsift.hub import front_matter

    quants = checked_quants(quants)
    in_the_way = [str(folder / name) for name in (CARD, SUMS) if (folder / name).exists() and not force]
    if in_the_way:
        raise ConversionError([f"{path!r} exists. Pass --force to replace it." for path in in_the_way])
    paths = convert(
        checkpoint,
        folder,
        base=base,
        quants=quants,
        task=task,
        force=force,
        imatrix=imatrix,
        imatrix_file=imatrix_file,
        show_progress_bar=show_progress_bar,
    )
    made = dict(zip(quants, paths, strict=True))
    manifest = Manifest.from_keys(read_header(paths[0]).keys)
    assert manifest is not None, "convert writes it"
    with _reference(checkpoint, base, made, folder, manifest.task) as (name, reference):
        files = _card_files(made, name, reference, manifest.task)
    repo = checkpoint_repo(Path(checkpoint), ModelFile.open(paths[0]).name)
    fields = card_fields(read_header(paths[0]).keys, manifest.task, repo)
    card = front_matter(fields) + card_text(folder.resolve().name, manifest, files, name, repo)
    (folder / CARD).write_text(card, "utf-8", newline="\n")
    sums = "".join(f"{checksum(path)}  {path.name}\n" for path in (*paths, folder / CARD))
    (folder / SUMS).write_text(sums, "utf-8", newline="\n")
    return [*paths, folder / CARD, folder / SUMS]


def checkpoint_repo(checkpoint: Path, name: str) -> str | None:
    """Returns the repository of a checkpoint: a released model's by its name, another's by its place in the cache."""
    cached = re.fullmatch(r"models--(.+)--(.+)", checkpoint.resolve().parent.parent.name)
    if cached:
        return f"{cached[1]}/{cached[2]}"
    spec = SPECS.get(name.lower())
    return spec.repo if spec else None


@contextmanager
def _reference(
    checkpoint: str | Path, base: str | Path | None, made: dict[str, Path], folder: Path, task: Task
) -> Iterator[tuple[str, Path]]:
    from qsift.convert import convert

    for quant in _REFERENCES:
        if quant in made:
            yield quant, made[quant]
            return
    with tempfile.TemporaryDirectory(prefix=".reference-", dir=folder) as scratch:
        (path,) = convert(checkpoint, scratch, base=base, quants="bf16", task=task)
        yield "bf16", path


def _card_files(made: dict[str, Path], name: str, reference: Path, task: Task) -> Sequence[CardFile]:
    expected = results(reference, task)
    return [
        CardFile(
            path.name,
            quant,
            path.stat().st_size,
            None if quant == name else difference(expected, results(path, task), task),
        )
        for quant, path in made.items()
    ]
