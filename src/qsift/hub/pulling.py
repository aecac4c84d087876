"""From a name to a GGUF on this machine: plan → fetch → convert → keep.

One process at a time works on a model, and whatever kills it leaves what the next one completes: a name is made
to point at a file last. Weights that were fetched for a conversion go after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .checksums import checksum, contents, signature
from .client import chosen_source
from .names import ModelName
from .original import compare, find_original
from .pull_plan import Plan
from .snapshot import HUBS, Snapshot, discard
from .store import Shelf, StoredModel, find
from qsift.errors import DownloadError, ModelFileError, UnknownModelError
from qsift.models import ModelFile, Task

logger = logging.getLogger("qsift.pull")


def pull(
    *models: str,
    task: Task | None = None,
    source: str | None = None,
    revision: str | None = None,
    keep_checkpoint: bool = False,
    on_plan: Callable[[Plan], object] | None = None,
    show_progress_bar: bool = False,
) -> list[Path]:
    """Returns the GGUF files of models, which are fetched or converted where they are not on this machine.

    Args:
        models: names, repositories or checkpoint folders, each with ":" and a quant behind it or in q8_0.
        task: what a checkpoint is for that does not say; None goes by the checkpoint.
        source: "hf" or "modelscope"; None takes $QSIFT_SOURCE, else "hf".
        revision: a branch, tag or commit, looked up whatever is here; None keeps what is here, and takes the
            newest of what is not.
        keep_checkpoint: leave the weights in the hub's cache after they were converted.
        on_plan: told what will be done, once for each model of which something is missing.
        show_progress_bar: on stderr, in bytes.

    Returns:
        The paths, in the order of ``models``.

    Raises:
        UnknownModelError: a name that names nothing, or a bundled model, which is here always.
        DownloadError: a hub cannot be reached, refuses, or sends what it does not list; no room on the disk, or no
            right to write to the cache.
        ConversionError: a checkpoint cannot be converted.
        MissingExtraError: ModelScope's client is not installed.
        ValueError: an unknown source or quant.
    """
    source = chosen_source(source)
    names = [ModelName.parse(model) for model in models]
    groups: dict[str, list[ModelName]] = {}
    for name in names:
        if name.bundled:
            advice = "It comes with qsift: load it by this name."
            raise UnknownModelError(name.repo, advice=advice, problem="cannot be pulled")
        groups.setdefault(name.key, []).append(name)
    for group in groups.values():
        first = group[0]
        work = _Work(first, Shelf.named(first.key), task, keep_checkpoint, show_progress_bar)
        try:
            with work.shelf.locked():
                work.shelf.sweep()
                # One repository may be spelt in several ways.
                wanted = list(dict.fromkeys(name.quant for name in group if revision is not None or not find(name)))
                if wanted and first.folder:
                    work.convert(first.folder, wanted, "folder", contents(first.folder))
                elif wanted:
                    work.pull(wanted, source, revision, on_plan or (lambda _: None))
        except OSError as error:  # the hubs' are DownloadErrors by now
            place = f"{error.filename!r}: " if error.filename else ""
            reason = f"{place}{error.strerror or error}. Make it writable, or choose another folder with QSIFT_CACHE."
            raise DownloadError(first.repo, first.file_name, reason) from error
    kept = [Shelf.named(name.key).get(name.quant) for name in names]
    return [Path(model.path) for model in kept if model]


def remove(*models: str) -> list[StoredModel]:
    """Makes names point at nothing and removes their files, unless these were there before qsift; returns the records.

    Args:
        models: as for `pull`; a name without a quant stands for all quants that are here.

    Raises:
        UnknownModelError: a name that names nothing, or nothing that is here.
    """
    gone = []
    for model in models:
        name = ModelName.parse(model, quant="")
        if name.bundled:
            raise UnknownModelError(name.repo, advice="It comes with qsift.", problem="cannot be removed")
        shelf = Shelf.named(name.key)
        with shelf.locked():
            found = [kept for kept in shelf.records() if name.quant in ("", kept.quant)]
            if not found and not shelf.fetched():
                here = ", ".join(kept.quant for kept in shelf.records())
                advice = f"It is here in {here}." if here else "See what is here with: qsift models."
                raise UnknownModelError(model, advice=advice, problem="is not on this machine")
            for kept in found:
                shelf.remove(kept.quant)
                _drop(kept)
            _discard_fetched(shelf)
            shelf.sweep()
        gone += found
    return gone


@dataclass(frozen=True)
class _Work:
    """What is done for one model, while its shelf is locked."""

    name: ModelName
    shelf: Shelf
    task: Task | None
    keep_checkpoint: bool
    bar: bool

    @property
    def _known_task(self) -> Task | None:
        """What the model is for, whatever its files say."""
        return self.name.spec.task if self.name.spec else self.task

    def pull(self, wanted: Sequence[str], source: str, revision: str | None, on_plan: Callable[[Plan], object]) -> None:
        """Fetches and converts quants; where a ready-made file is unfit, it is converted instead."""
        unfit: dict[str, str] = {}
        left = wanted
        try:
            while left:
                plan = Plan.of(self.name, left, source, revision, unfit=unfit)
                if known := self._known_unfit(plan):
                    unfit |= known
                    continue
                plan = plan.without({quant for quant in left if self._has(plan, quant)})
                if not (plan.ready or plan.converted):
                    break
                on_plan(plan)
                plan.check_room()
                left = self._fetch_ready(plan)
                if plan.converted and plan.checkpoint:
                    self._fetch_and_convert(plan, plan.checkpoint, unfit)
                unfit |= {quant: _label(plan.ready[quant][0]) for quant in left}
            _discard_fetched(self.shelf)
        except DownloadError as error:
            raise DownloadError(error.repo, error.filename, f"{error.reason} {self._advice(wanted)}") from error

    def convert(
        self, folder: Path, quants: Sequence[str], source: str, commit: str, unfit: Mapping[str, str] | None = None
    ) -> None:
        """Converts a checkpoint and keeps the results; ``unfit`` says which ready-made files they stand for."""
        from qsift.convert import convert

        out = self.shelf.folder / commit.rpartition("@")[2][:12]
        paths = convert(folder, out, quants=quants, task=self._known_task, force=True, show_progress_bar=self.bar)
        for quant, path in zip(quants, paths, strict=True):
            instead_of = (unfit or {}).get(quant)
            self._keep(quant, path, source, self.name.repo, commit, checksum(path), ours=True, instead_of=instead_of)
        self.shelf.sweep()

    def _has(self, plan: Plan, quant: str) -> bool:
        """Returns whether a quant is here from the commit that would be fetched."""
        kept = self.shelf.find(quant)
        snapshot = plan.ready[quant][0] if quant in plan.ready else plan.checkpoint
        return kept is not None and snapshot is not None and kept.commit == snapshot.commit

    def _known_unfit(self, plan: Plan) -> dict[str, str]:
        """Returns the quants whose ready-made files were found unfit before, with the labels of their snapshots."""
        kept = {quant: self.shelf.get(quant) for quant in plan.ready}
        labels = {quant: _label(snapshot) for quant, (snapshot, _) in plan.ready.items()}
        return {quant: label for quant, label in labels.items() if (one := kept[quant]) and one.instead_of == label}

    def _fetch_ready(self, plan: Plan) -> list[str]:
        """Fetches ready-made files and keeps them where they are; returns the quants whose files are unfit."""
        unfit = []
        paths = self._fetch(list(plan.ready.values()))
        snapshots = {snapshot.repo: snapshot for snapshot, _ in plan.ready.values()}
        originals = {repo: find_original(self.name, one, self._fetch) for repo, one in snapshots.items()}
        for path, (quant, (snapshot, name)) in zip(paths, plan.ready.items(), strict=True):
            what = f"{name} of {snapshot.repo}"
            try:
                file = ModelFile.open(path)
                if self.name.spec:
                    file.require(self.name.spec.task)
                facts = compare(file, originals[snapshot.repo], self._fetch, what=what, task=self._known_task)
            except ModelFileError as error:
                logger.warning("%s is of no use, so a conversion has to take its place: %s", what, error.reason)
                unfit.append(quant)
            else:
                ours = name in self.shelf.fetched().get(_label(snapshot), ())
                remote = snapshot.files[name]
                sha256 = remote.digest if remote.algorithm == "sha256" else checksum(path)
                self._keep(quant, path, snapshot.source, snapshot.repo, snapshot.commit, sha256, ours=ours, **facts)
        return unfit

    def _fetch_and_convert(self, plan: Plan, checkpoint: Snapshot, unfit: Mapping[str, str]) -> None:
        """Fetches a checkpoint and converts it; what cannot be converted is refused before the weights come."""
        from qsift.convert import check_checkpoint

        paths = self._fetch([(checkpoint, name) for name in plan.description])
        folder = paths[plan.description.index("config.json")].parent
        check_checkpoint(folder, self._known_task)
        self._fetch([(checkpoint, name) for name in plan.weights])
        self.convert(folder, plan.converted, checkpoint.source, checkpoint.commit, unfit)
        if self.keep_checkpoint:
            others = {label: names for label, names in self.shelf.fetched().items() if label != _label(checkpoint)}
            self.shelf.note_fetched(others)

    def _fetch(self, files: Sequence[tuple[Snapshot, str]]) -> list[Path]:
        """Returns where files lie after they were fetched; notes first which of them were not here before."""
        noted = self.shelf.fetched()
        for snapshot, name in files:
            if name in noted.get(_label(snapshot), ()):
                snapshot.remove_partial(name)
            elif snapshot.cached(name) is None:
                noted.setdefault(_label(snapshot), []).append(name)
        self.shelf.note_fetched(noted)
        total = sum(snapshot.files[name].nbytes for snapshot, name in files if snapshot.cached(name) is None)
        with tqdm(total=total, unit="B", unit_scale=True, disable=not (self.bar and total)) as bar:
            paths = []
            for snapshot, name in files:
                bar.set_description(name)
                paths.append(snapshot.fetch(name, bar.update))
        return paths

    def _keep(
        self,
        quant: str,
        path: Path,
        source: str,
        repo: str,
        commit: str,
        sha256: str,
        *,
        ours: bool,
        **facts: Any,
    ) -> None:
        """Makes a name point at a verified file, and removes what it pointed at before.

        ``facts`` are fields of the record that say what the file was compared with or stands for.
        """
        before, file, marks = self.shelf.get(quant), ModelFile.open(path), signature(path)
        same = before is not None and before.path == str(path)
        if marks is None:
            raise ModelFileError(path, "It vanished while it was pulled. Pull it again.")
        self.shelf.put(
            StoredModel(
                model=self.name.repo,
                source=source,
                repo=repo,
                commit=commit,
                quant=quant,
                task=file.task,
                path=str(path),
                nbytes=marks[0],
                sha256=sha256,
                ours=ours or (same and before is not None and before.ours),
                signature=marks,
                **facts,
            )
        )
        if before and not same:
            _drop(before)

    def _advice(self, wanted: Sequence[str]) -> str:
        """Returns the command that does it, and what there is without it."""
        names = [str(ModelName(self.name.repo, quant, self.name.spec)) for quant in wanted]
        here = [kept.quant for kept in self.shelf.records() if self.shelf.find(kept.quant)]
        hint = f" This model is here in {', '.join(here)}." if here else ""
        return f"Then run: qsift pull {' '.join(names)}.{hint}"


def _drop(kept: StoredModel) -> None:
    """Removes the file of a record that is gone, if it lies in a hub's cache; others go when the shelf is swept."""
    if kept.ours and not kept.converted:
        discard(Path(kept.path))


def _discard_fetched(shelf: Shelf) -> None:
    """Removes the downloads that no record points at."""
    kept = {Path(model.path).resolve() for model in shelf.records()}
    for label, names in shelf.fetched().items():
        source, repo, commit = label.split(" ")
        for path in (HUBS[source].cached(repo, commit, name) for name in names):
            if path and path.resolve() not in kept:
                discard(path)
    shelf.note_fetched({})


def _label(snapshot: Snapshot) -> str:
    return f"{snapshot.source} {snapshot.repo} {snapshot.commit}"
