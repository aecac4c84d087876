"""The models that this machine keeps: which names are here, where their files lie, and that they are whole.

    $QSIFT_CACHE/models/<organisation>--<name>/<quant>.json     what a name points at
    $QSIFT_CACHE/models/<organisation>--<name>/<commit>/*.gguf  what was converted here

A record is written last, in one rename, and only for a file that was verified; so a name points at a whole
file or at none. What no record points at is rubbish, and goes when the next process holds the lock. Downloads
that are used as they are stay where the hub's own client keeps them, for every program on the machine.
This file knows no hubs.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .checksums import Signature, checksum, contents, signature
from .names import ModelName
from qsift.engine import cache_folder
from qsift.models import Task

logger = logging.getLogger("qsift.store")

_FETCHED = "fetched.json"


@dataclass(frozen=True)
class StoredModel:
    """A record: what a name points at.

    Attributes:
        model: the repository that people name, or the path of a checkpoint's folder.
        source: "hf", "modelscope" or "folder".
        repo: the repository that it came from, which is another one for a ready-made GGUF.
        commit: the commit that it was made from; for a folder a digest of what is in it.
        quant: name of the quantisation.
        task: "embed" or "rerank"; None where the file does not say.
        path: the GGUF.
        nbytes: its size.
        sha256: its digest.
        ours: whether the file goes when the name goes; False for one that was there before qsift.
        signature: of the file when its digest was last compared.
        compared_with: the repository and commit whose small files a ready-made file was compared with; None for a file
            that was compared with nothing.
        differences: what is different there without changing a number, a sentence each.
        instead_of: the hub, repository and commit of a ready-made file that was unfit, so that this one was converted.
    """

    model: str
    source: str
    repo: str
    commit: str
    quant: str
    task: Task | None
    path: str
    nbytes: int
    sha256: str
    ours: bool
    signature: Signature
    compared_with: str | None = None
    differences: tuple[str, ...] = ()
    instead_of: str | None = None

    @property
    def converted(self) -> bool:
        """Whether it was made here; else it is used as it came, where the hub's client keeps it."""
        return Path(self.path).is_relative_to(models_folder())


@dataclass(frozen=True)
class Shelf:
    """The part of the store that belongs to one repository or checkpoint.

    Attributes:
        folder: where it lies; it need not exist.
    """

    folder: Path

    @classmethod
    def named(cls, key: str) -> Shelf:
        """Returns the shelf of a `ModelName.key`."""
        return cls(models_folder() / key)

    def get(self, quant: str) -> StoredModel | None:
        """Returns the record of a quant, whole or not; None where there is none."""
        try:
            fields = json.loads((self.folder / f"{quant}.json").read_text("utf-8"))
            fields |= {"path": str(self.folder / fields["path"]), "signature": tuple(fields["signature"])}
            return StoredModel(**fields | {"differences": tuple(fields.get("differences", ()))})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None  # a damaged record points at nothing

    def find(self, quant: str) -> StoredModel | None:
        """Returns the record of a quant if its file is whole; reads all of a file that was touched since."""
        model = self.get(quant)
        now = signature(model.path) if model else None
        if model is None or now is None or now == model.signature:
            return model if now else None
        logger.info("%s was touched since it was verified; comparing its digest.", model.path)
        if now[0] != model.nbytes or checksum(Path(model.path)) != model.sha256:
            return None
        with suppress(OSError):  # where the store may not be written, the next load compares again
            self.put(replace(model, signature=now))
        return model

    def records(self) -> list[StoredModel]:
        """Returns all records, by quant."""
        names = sorted(path.stem for path in self.folder.glob("*.json") if path.name != _FETCHED)
        return [model for model in map(self.get, names) if model]

    def put(self, model: StoredModel) -> None:
        """Points a quant's name at a verified file. The caller holds the lock, or changes the signature alone."""
        fields = asdict(model)
        with suppress(ValueError):  # a file elsewhere keeps its absolute path, one of ours moves with the cache
            fields["path"] = Path(model.path).relative_to(self.folder).as_posix()
        _write_json(self.folder / f"{model.quant}.json", fields)

    def remove(self, quant: str) -> None:
        """Makes a quant's name point at nothing. The caller holds the lock."""
        (self.folder / f"{quant}.json").unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes what no record points at, and the shelf if nothing is left. The caller holds the lock."""
        kept = {Path(model.path) for model in self.records()}
        for path in [*self.folder.glob("*/*"), *self.folder.glob("*.part-*")]:
            if path not in kept:
                with suppress(OSError):  # Windows does not remove what a process has open: it goes the next time
                    path.unlink()
        for folder in (*self.folder.glob("*/"), self.folder):
            with suppress(OSError):  # not empty
                folder.rmdir()

    def fetched(self) -> dict[str, list[str]]:
        """Returns the downloads that no record has taken over yet: names of files by snapshot.

        qsift began them, so they are its to remove, also where the process that began them is dead.
        """
        try:
            return dict(json.loads((self.folder / _FETCHED).read_text("utf-8")))
        except (OSError, ValueError):
            return {}

    def note_fetched(self, files: dict[str, list[str]]) -> None:
        """Replaces what `fetched` returns. The caller holds the lock."""
        if files:
            _write_json(self.folder / _FETCHED, files)
        else:
            (self.folder / _FETCHED).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lets one process at a time change the shelf; the system takes the lock from a process that dies."""
        from filelock import FileLock, Timeout

        place = models_folder() / ".locks" / f"{self.folder.name}.lock"
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("Another process is fetching or converting %s; waiting for it.", self.folder.name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def find(name: ModelName) -> StoredModel | None:
    """Returns what a name points at on this machine, if the file is whole; for a folder, if it is as it was."""
    model = Shelf.named(name.key).find(name.quant)
    if model and name.folder and model.commit != contents(name.folder):
        return None
    return model


def models_folder() -> Path:
    """Returns the folder of the store; it need not exist."""
    return cache_folder().absolute() / "models"


def shelves() -> list[Shelf]:
    """Returns the shelves that hold something, by name."""
    return [Shelf(path) for path in sorted(models_folder().glob("[!.]*/"))]


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.part-{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
