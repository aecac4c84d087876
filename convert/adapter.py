"""A checkpoint's tensors with a LoRA adapter merged in: each weight is computed when it is read, in float32.

The adapter is what PEFT saves: two matrices for each module that was trained by low rank, and whole weights for
`modules_to_save`. What does not fit the checkpoint and adapter_config.json exactly is refused.
Source of the arithmetic: the papers on LoRA and DoRA, and PEFT's merge, which this equals within rounding.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .adapter_config import MERGE_ELSEWHERE, AdapterConfig
from .checkpoint import FixedRows, Rows, StoredTensor, listed, open_file, pickle_problem
from .config import CLASSIFIER, Config
from .tensors import EMBEDDING, HEAD, SCORE, by_short_name
from qsift.errors import ConversionError
from qsift.models import weights

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PART = re.compile(
    r"(?P<path>.+?)\.(?P<part>(lora_[AB]\.|base_layer\.)?weight|lora_embedding_[AB]|lora_magnitude_vector)"
)
_PAIR, _EMBEDDING_PAIR = ("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")
_WHOLE, _BASE, _LENGTHS = "weight", "base_layer.weight", "lora_magnitude_vector"


@dataclass(frozen=True, eq=False)
class MergedRows:
    """A weight with its change: base + scaling · left · right, and with DoRA each row made as long as was trained.

    See `Rows`.

    Attributes:
        base: the weight before, (rows, columns).
        left: (rows, rank).
        right: (rank, columns).
        scaling: factor of the change.
        lengths: of the rows that result, as one row; None leaves them as they are.
    """

    base: Rows
    left: Rows
    right: Rows
    scaling: float
    lengths: Rows | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the weight."""
        return self.base.shape

    @property
    def nbytes(self) -> int:
        """Size of the weight where it is stored, without its change."""
        return self.base.nbytes

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns rows as float32; see `Rows`."""
        with np.errstate(all="ignore"):  # what is not finite is found by `largest`
            left, right = self.left.read(start, stop), self.right.read(0, self.right.shape[0])
            # Not BLAS: its threads would fight with ours, and what is verified must be what was written, to the bit.
            values: np.ndarray = np.einsum("ik,kj->ij", left, right)
            values *= np.float32(self.scaling)
            values += self.base.read(start, stop)
            if self.lengths is not None:
                due = self.lengths.read(0, 1)[0, start:stop]
                values *= (due / np.linalg.norm(values, axis=1))[:, None]
        return values

    def largest(self, start: int, stop: int) -> float:
        """Returns the largest magnitude; see `Rows`."""
        top = float(np.abs(self.read(start, stop)).max())
        return top if top == top else float("inf")


@dataclass(frozen=True)
class _Change:
    """What an adapter holds for one module: its path in the model that was trained, and the tensors by part."""

    path: str
    parts: dict[str, StoredTensor]

    @property
    def is_pair(self) -> bool:
        return any(name in self.parts for name in (*_PAIR, *_EMBEDDING_PAIR))

    def merged(self, base: Rows, settings: AdapterConfig) -> Rows:
        """Returns the module's weight after the change; ``base`` is the one before."""
        if _WHOLE in self.parts:
            return self.parts[_WHOLE]
        scaling, base = settings.scaling(self.path), self.parts.get(_BASE, base)
        if _EMBEDDING_PAIR[0] in self.parts:
            left, right = (_transposed(self.parts[name]) for name in _EMBEDDING_PAIR)
            return MergedRows(base, left, right, scaling)
        return MergedRows(base, self.parts["lora_B"], self.parts["lora_A"], scaling, self.parts.get(_LENGTHS))


def _transposed(tensor: StoredTensor) -> FixedRows:
    return FixedRows(tensor.read(0, tensor.shape[0]).T.copy())


def merge(
    folder: Path, settings: AdapterConfig, stored: Mapping[str, Rows], config: Config
) -> tuple[dict[str, Rows], Config]:
    """Returns a checkpoint's tensors with an adapter merged in, and what config.json then says.

    The output head of a tied checkpoint is no longer its embedding matrix where the adapter changes one of the
    two: both are what the adapter was trained with. A ``score`` that was trained makes a classifier.

    Args:
        folder: the adapter.
        settings: its adapter_config.json.
        stored: the checkpoint's tensors.
        config: its config.json.

    Raises:
        ConversionError: the adapter does not fit the checkpoint or its own settings; with every problem.
    """
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise ConversionError([_no_weights(folder)])
    changes, strange = _changes(open_file(folder / ADAPTER_WEIGHTS))
    tensors, problems = by_short_name(stored)
    problems += _Findings.of(changes, strange, settings, tensors, config).problems()
    if problems:
        raise ConversionError(problems)
    merged: dict[str, Rows] = dict(tensors)
    if config.tie_word_embeddings and {"embed_tokens", "lm_head"} & changes.keys() and EMBEDDING in tensors:
        merged.setdefault(HEAD, tensors[EMBEDDING])
        config = replace(config, tie_word_embeddings=False)
    if _WHOLE in (changes["score"].parts if "score" in changes else ()):
        config = replace(config, architecture=CLASSIFIER)
    for module, change in changes.items():
        name = f"{module}.weight"
        before = merged.get(name, change.parts.get(_WHOLE, change.parts.get(_BASE)))
        if before is not None:  # else the base has no such weight: a head, or one that will be missed
            merged[name] = change.merged(before, settings)
    return merged, config


def _no_weights(folder: Path) -> str:
    return pickle_problem(folder) or f"{ADAPTER_WEIGHTS} is missing in {str(folder)!r}. Download the adapter again."


def _changes(stored: Mapping[str, StoredTensor]) -> tuple[dict[str, _Change], list[str]]:
    """Returns the changes by module, named as in a checkpoint without "model.", and what is none."""
    changes: dict[str, _Change] = {}
    strange = []
    for name, tensor in stored.items():
        match = _PART.fullmatch(name.removeprefix("base_model.model."))
        if match is None:
            strange.append(name)
            continue
        change = changes.setdefault(match["path"].removeprefix("model."), _Change(match["path"], {}))
        part = match["part"]
        part = part if part in (_WHOLE, _BASE) else part.removesuffix(".weight")
        if change.path != match["path"] or part in change.parts:
            strange.append(name)
        change.parts[part] = tensor
    return changes, strange


_STRANGE = "{n} tensors of the adapter have no place in this base, or are of a kind that is not merged: {names}."
_HALF = "{n} modules of the adapter lack a part, or have one too many: {names}."
_SHAPE = "{n} tensors of the adapter do not fit this base: {names}."
_RANK = "{n} matrices of the adapter have another rank than adapter_config.json says: {names}."
_BROKEN = "{n} tensors of the adapter hold NaN or Inf: {names}. The training broke or the file is damaged."
_MISSING = "adapter_config.json names {n} modules for which the adapter holds nothing: {names}."
_SURPLUS = "adapter_config.json does not name {n} modules that the adapter changes: {names}."
_LONG_EMBEDDING = "{n} embedding was trained with DoRA, which is not merged here: {names}. " + MERGE_ELSEWHERE


class _Findings:
    """What is wrong with an adapter: the names by the sentence that they stand in."""

    def __init__(self, settings: AdapterConfig) -> None:
        self.settings = settings
        self.names: dict[str, list[str]] = defaultdict(list)

    @classmethod
    def of(
        cls,
        changes: Mapping[str, _Change],
        strange: list[str],
        settings: AdapterConfig,
        tensors: Mapping[str, Rows],
        config: Config,
    ) -> _Findings:
        """Returns what is wrong with these changes of these tensors."""
        self = cls(settings)
        self.names[_STRANGE] += strange
        shapes = {weight.source.removesuffix(".weight"): weight.shape for weight in weights(config)}
        self._compare_with_settings(changes, shapes)
        shapes["lm_head"] = (config.vocab_size, config.hidden_size)
        score = changes["score"].parts.get(_WHOLE, tensors.get(SCORE)) if "score" in changes else None
        if score:
            shapes["score"] = (*score.shape[:1], config.hidden_size)
        for module, change in changes.items():
            due = shapes.get(module)
            if due is None or (change.is_pair and len(due) != 2):
                self.names[_STRANGE] += [tensor.name for tensor in change.parts.values()]
            elif self._is_whole(module, change):
                self._compare_shapes(change, due)
        return self

    def _compare_with_settings(self, changes: Mapping[str, _Change], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Finds modules that should have been trained and were not, or the other way round; heads may come or not."""
        prefix = "model." * any(change.path.startswith("model.") for change in changes.values())
        for module, shape in shapes.items():
            change, path = changes.get(module), prefix + module
            is_target = len(shape) == 2 and self.settings.targets(path)
            is_pair = change is not None and change.is_pair
            if is_pair and not is_target:
                self.names[_SURPLUS].append(module)
            elif (is_target and not is_pair) or (self.settings.saves(path) and change is None):
                self.names[_MISSING].append(module)
        if not changes:
            self.names[_MISSING].append("none at all")

    def _is_whole(self, module: str, change: _Change) -> bool:
        """Returns whether the parts of a change are those of one kind of change, all of them."""
        pair = _EMBEDDING_PAIR if module == "embed_tokens" else _PAIR
        due = {*pair, _LENGTHS} if self.settings.use_dora else {*pair}
        if module == "embed_tokens" and change.is_pair and self.settings.use_dora:
            self.names[_LONG_EMBEDDING].append(module)
        elif change.parts.keys() not in ({_WHOLE}, due, {*due, _BASE}):
            self.names[_HALF].append(f"{module} ({', '.join(change.parts)})")
        else:
            return True
        return False

    def _compare_shapes(self, change: _Change, due: tuple[int, ...]) -> None:
        rank = self.settings.rank(change.path)
        shapes = {
            "lora_A": (rank, due[-1]),
            "lora_B": (due[0], rank),
            "lora_embedding_A": (rank, due[0]),
            "lora_embedding_B": (due[-1], rank),
            _LENGTHS: due[:1],
            _WHOLE: due,
            _BASE: due,
        }
        for part, tensor in change.parts.items():
            if tensor.shape == shapes[part]:
                if part not in (_WHOLE, _BASE) and tensor.largest(0, tensor.shape[0]) == float("inf"):
                    self.names[_BROKEN].append(tensor.name)
                continue
            other = 0 if part.endswith("B") else -1  # the side that is not the rank
            has_rank = part in (*_PAIR, *_EMBEDDING_PAIR) and len(tensor.shape) == 2
            kind = _RANK if has_rank and tensor.shape[other] == shapes[part][other] else _SHAPE
            self.names[kind].append(f"{tensor.name} is {tensor.shape}, not {shapes[part]}")

    def problems(self) -> list[str]:
        """Returns a sentence for each kind, and which base was meant."""
        found = [kind.format(n=len(names), names=listed(names)) for kind, names in self.names.items() if names]
        if any(self.names.get(kind) for kind in (_STRANGE, _SHAPE)):
            base = repr(self.settings.base) if self.settings.base else "a base that it does not name"
            found.append(f"The adapter was trained on {base} (base_model_name_or_path): pass that with --base.")
        return found
