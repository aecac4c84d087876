"""What a pull will do, decided from the listings of repositories before the first byte comes.

A GGUF that a repository has ready-made is taken as it is; the official ones of embedding models lie in a
repository beside the checkpoint. What no repository has is converted from the checkpoint.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .names import ModelName
from .snapshot import HUBS, Snapshot
from .store import models_folder
from qsift.errors import DownloadError
from qsift.models import SCHEMES, largest_share

_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
_SHARD = re.compile(r"[^/]+-\d+-of-\d+\.safetensors")
_DESCRIPTION = re.compile(
    r"(config|tokenizer|tokenizer_config|modules|config_sentence_transformers|sentence_bert_config|adapter_config)\.json"
    r"|chat_template\.jinja|README\.md|[^/]+/config\.json"
)

_ADAPTER = (
    "The repository is a LoRA adapter (adapter_config.json), which is merged into its base model when it is converted. "
    "Download both, for example with hf download, and run: qsift convert ADAPTER --base CHECKPOINT."
)


@dataclass(frozen=True)
class Plan:
    """What a pull will do.

    Attributes:
        model: the repository that people name.
        ready: for each quant that a repository has ready-made, that repository and the file's name.
        converted: the quants that are made here.
        checkpoint: the repository whose weights are converted; None where nothing is converted.
        description: the small files of it that say what the checkpoint is.
        weights: the large ones.
    """

    model: str
    ready: Mapping[str, tuple[Snapshot, str]]
    converted: tuple[str, ...] = ()
    checkpoint: Snapshot | None = None
    description: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, name: ModelName, quants: Iterable[str], source: str, revision: str | None, *, unfit: Collection[str] = ()
    ) -> Plan:
        """Returns how quants of a model come from a hub.

        Args:
            name: the model.
            quants: what is wanted of it.
            source: name of the hub.
            revision: branch, tag or commit; None is the newest.
            unfit: the quants whose ready-made files are of no use.

        Raises:
            DownloadError: the hub cannot be asked, or has not what is needed.
            ValueError: a quant that is neither there nor can be made.
        """
        ready: dict[str, tuple[Snapshot, str]] = {}
        left = list(quants)
        beside = [f"{name.repo}-GGUF"] if name.spec and name.spec.task == "embed" and set(left) - set(unfit) else []
        snapshot = None
        for repo in (*beside, name.repo):
            snapshot = Snapshot.look_up(source, repo, revision, name.file_name) if left else None
            for quant in set(left) - set(unfit):
                if snapshot and (found := _ready_made(snapshot, quant)):
                    ready[quant] = (snapshot, found)
                    left.remove(quant)
        if not left:
            return cls(name.repo, ready)
        if snapshot is None:
            at = f" at revision {revision!r}" if revision else ""
            reason = (
                f"There is no such repository{at}, or it is private. Check the name, and the token if it is private."
            )
            raise DownloadError(name.repo, name.file_name, reason)
        return cls(name.repo, ready, _makeable(name, left), snapshot, *_checkpoint_files(name, snapshot, unfit))

    def without(self, quants: Collection[str]) -> Plan:
        """Returns the plan for the other quants."""
        ready = {quant: place for quant, place in self.ready.items() if quant not in quants}
        converted = tuple(quant for quant in self.converted if quant not in quants)
        return replace(self, ready=ready, converted=converted, checkpoint=self.checkpoint if converted else None)

    @property
    def missing(self) -> list[tuple[Snapshot, str]]:
        """The files that have to come from a hub."""
        needed = list(self.ready.values())
        if self.checkpoint:
            needed += [(self.checkpoint, name) for name in (*self.description, *self.weights)]
        return [(snapshot, name) for snapshot, name in needed if snapshot.cached(name) is None]

    @property
    def download_bytes(self) -> int:
        """Size of what has to come from a hub."""
        return sum(snapshot.files[name].nbytes for snapshot, name in self.missing)

    @property
    def result_bytes(self) -> int:
        """Size of what conversions write, at most."""
        weights = sum(self.checkpoint.files[name].nbytes for name in self.weights) if self.checkpoint else 0
        return sum(int(weights * largest_share(quant)) for quant in self.converted)

    def __str__(self) -> str:
        """Returns what it takes, in one line."""
        parts = [f"{_size(self.download_bytes)} to download"]
        if self.ready:
            parts.append(f"{', '.join(self.ready)} ready-made")
        if self.converted:
            parts.append(f"{', '.join(self.converted)} to convert, at most {_size(self.result_bytes)}")
        return f"{self.model}: {', '.join(parts)}."

    def check_room(self) -> None:
        """Compares what is needed with what is free, for each disk that is written to.

        Raises:
            DownloadError: there is no room.
        """
        needed: dict[int, tuple[int, Path]] = {}
        source = next((snapshot.source for snapshot, _ in self.missing), None)
        places = [(HUBS[source].folder(), self.download_bytes)] if source else []
        for folder, nbytes in (*places, (models_folder(), self.result_bytes)):
            while not folder.exists():
                folder = folder.parent
            device = os.stat(folder).st_dev
            needed[device] = (needed[device][0] + nbytes if device in needed else nbytes, folder)
        for nbytes, folder in needed.values():
            free = shutil.disk_usage(folder).free
            if nbytes > free:
                snapshot, name = next(iter(self.missing), (self.checkpoint, self.model))
                raise DownloadError(
                    snapshot.repo if snapshot else self.model,
                    name,
                    f"{_size(nbytes)} are needed on the disk of {str(folder)!r} and {_size(free)} are free. "
                    "Make room, or choose other places with HF_HOME and QSIFT_CACHE.",
                )


def _ready_made(snapshot: Snapshot, quant: str) -> str | None:
    """Returns the name of a repository's GGUF in a quant; one that is split over several files does not count."""
    ends = tuple(f"{mark}{quant}.gguf" for mark in "-._")
    return next((name for name in sorted(snapshot.files) if name.lower().endswith(ends)), None)


def _makeable(name: ModelName, quants: list[str]) -> tuple[str, ...]:
    unknown = ", ".join(repr(quant) for quant in quants if quant not in SCHEMES)
    if unknown:
        raise ValueError(f"There is no {name.repo} in {unknown}; it can be made in {', '.join(SCHEMES)}.")
    return tuple(quants)


def description_files(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the names of the small files that say what a checkpoint is."""
    return tuple(sorted(filter(_DESCRIPTION.fullmatch, snapshot.files)))


def _checkpoint_files(
    name: ModelName, snapshot: Snapshot, unfit: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names of the files that a conversion reads: those that describe the checkpoint, and its weights."""
    weights = [_SINGLE] if _SINGLE in snapshot.files else sorted(filter(_SHARD.fullmatch, snapshot.files))
    if not weights or "config.json" not in snapshot.files:
        found = ", ".join(sorted(snapshot.files)[:5]) or "nothing"
        if "adapter_config.json" in snapshot.files:
            raise DownloadError(snapshot.repo, name.file_name, _ADAPTER)
        lacks = f"a fit GGUF in {', '.join(unfit)}" if unfit else "a GGUF in this quant"
        reason = (
            f"The repository has neither {lacks} nor a safetensors checkpoint; it holds {found}. Choose "
            "another, or save its model with transformers (save_pretrained) and pass that folder."
        )
        raise DownloadError(snapshot.repo, name.file_name, reason)
    index = [] if _SINGLE in snapshot.files else [_INDEX] * (_INDEX in snapshot.files)
    return (*index, *description_files(snapshot)), tuple(weights)


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e7 else f"{nbytes / 1e6:.2f} MB"
