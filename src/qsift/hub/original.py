"""The model that a ready-made GGUF was made from: which repository that is, and whether the file is what it is.

What is compared, and which difference changes numbers, is `convert`'s to know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .client import chosen_source
from .names import ModelName
from .pull_plan import description_files
from .snapshot import Snapshot
from qsift.errors import DownloadError, ModelFileError, UnknownModelError
from qsift.models import ModelFile, Task

logger = logging.getLogger("qsift.pull")

_NEEDED = {"config.json", "tokenizer.json"}
_CARD = "README.md"

Fetch = Callable[[Sequence[tuple[Snapshot, str]]], list[Path]]
"""Returns where files lie after they were fetched."""


def find_original(name: ModelName, ready: Snapshot, fetch: Fetch) -> Snapshot | None:
    """Returns the repository of the model itself; None where none is named, or it is not there or lacks the files.

    Args:
        name: the model. A released one is in its own repository.
        ready: the repository of the GGUF. It may hold the model's own files, too, or its card names the model.
        fetch: for the card.

    Raises:
        DownloadError: the hub cannot be asked, or refuses.
    """
    if name.spec:
        repo: str | None = name.repo
    else:
        repo = ready.repo if ready.files.keys() >= _NEEDED else _named_in_card(ready, fetch)
    if repo == ready.repo:
        snapshot: Snapshot | None = ready
    else:
        snapshot = Snapshot.look_up(ready.source, repo, None, "config.json") if repo else None
    return snapshot if snapshot and snapshot.files.keys() >= _NEEDED else None


def _named_in_card(ready: Snapshot, fetch: Fetch) -> str | None:
    """Returns the repository that a card says was quantised; None where it says nothing, or of what it was trained."""
    from qsift.convert import read_card

    if _CARD not in ready.files:
        return None
    card = read_card(fetch([(ready, _CARD)])[0].parent)
    bases, relation = card.get("base_model", []), card.get("base_model_relation")
    # Without a relation, hubs take the base of a GGUF for what was quantised; cards by qsift name a parent so.
    is_quantised = relation == ["quantized"] or (relation is None and "qsift" not in card.get("tags", []))
    return bases[0] if len(bases) == 1 and is_quantised else None


def compare(
    file: ModelFile, original: Snapshot | None, fetch: Fetch, *, what: str, task: Task | None
) -> dict[str, Any]:
    """Returns what the record of a ready-made file says about the comparison with its model; nothing without a model.

    Args:
        file: the file.
        original: the repository of the model; None where `find_original` found none, which is said in a warning.
        fetch: for its small files.
        what: the file's name and repository, for messages.
        task: what the model is for where it does not say.

    Raises:
        ModelFileError: the file gives other numbers.
        DownloadError: the model's small files cannot be fetched.
    """
    from qsift.convert import differences

    if original is None:
        logger.warning(
            "%s was not compared with its model, because no repository with its config.json and tokenizer.json was "
            "found. If you know one, run: qsift info %s --against REPOSITORY.",
            what,
            file.path,
        )
        return {}
    try:
        folder = _small_files(original, fetch)
    except DownloadError as error:
        reason = f"{error.reason} Without it {what} cannot be compared with its model, and is not used by its name."
        raise DownloadError(error.repo, error.filename, reason) from error
    found = differences(file, folder, task=task)
    if wrong := [difference.sentence for difference in found if difference.changes_numbers]:
        raise ModelFileError(file.path, f"It is not what {original.repo} is. {' '.join(wrong)}")
    compared_with = f"{original.repo} at {original.commit}"
    return {"compared_with": compared_with, "differences": tuple(difference.sentence for difference in found)}


def _small_files(original: Snapshot, fetch: Fetch) -> Path:
    """Returns the folder where the files lie that say what a model is, its weights not among them."""
    names = description_files(original)
    return fetch([(original, name) for name in names])[names.index("config.json")].parent


def checkpoint_files(model: str) -> tuple[Path, ModelName]:
    """Returns a folder with the small files of a checkpoint, and what names it.

    Args:
        model: a folder, which is taken as it is, or a name or repository, whose newest small files are fetched into the
            cache of the hub's client and stay there.

    Raises:
        UnknownModelError: it names nothing, or a bundled model, of which there is no checkpoint.
        DownloadError: they cannot be fetched.
    """
    name = ModelName.parse(model)
    if name.folder:
        return name.folder, name
    if name.bundled:
        advice = "Pass a folder or a repository."
        raise UnknownModelError(name.repo, advice=advice, problem="has no checkpoint to compare with")
    snapshot = Snapshot.look_up(chosen_source(None), name.repo, None, "config.json")
    if snapshot is None or not snapshot.files.keys() >= _NEEDED:
        reason = "There is no such repository, or it is private or no checkpoint. Pass another, or a folder."
        raise DownloadError(name.repo, "config.json", reason)
    return _small_files(snapshot, lambda files: [one.fetch(file) for one, file in files]), name
