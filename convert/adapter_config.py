"""adapter_config.json: what PEFT was told when it trained a LoRA adapter, and which modules that concerns.

Field names and rules are PEFT's (LoraConfig and its functions that match names). A path is a module's name in
the model that was trained, such as "model.layers.0.self_attn.q_proj". This file knows no tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, TypeVar

from .config import read_json_object
from qsift.errors import ConversionError

Value = TypeVar("Value")

ADAPTER_CONFIG = "adapter_config.json"
MERGE_ELSEWHERE = "Merge the adapter with PEFT (merge_and_unload, save_pretrained) and convert that folder."
"""What to do with an adapter that is not merged here."""


@dataclass(frozen=True)
class AdapterConfig:
    """The part of adapter_config.json that a merge needs.

    Attributes:
        base: what the adapter was trained on, a repository or a folder; empty where it is not said.
        r, lora_alpha: of modules that no pattern names.
        rank_pattern, alpha_pattern: those of others, by regular expressions for the ends of paths.
        use_rslora: whether the change is scaled by alpha / √r instead of alpha / r.
        use_dora: whether rows get trained lengths.
        target_modules, exclude_modules: the ends of paths, or a regular expression for whole ones; None excludes none.
        layers_to_transform: the only layers that names in ``target_modules`` mean; empty for all.
        layers_pattern: what stands before a layer's number in a path; empty for anything.
        modules_to_save: the ends of paths of modules that were trained whole.
    """

    base: str
    r: int
    lora_alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    use_rslora: bool
    use_dora: bool
    target_modules: str | tuple[str, ...]
    exclude_modules: str | tuple[str, ...]
    layers_to_transform: tuple[int, ...]
    layers_pattern: tuple[str, ...]
    modules_to_save: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig:
        """Returns the settings in ``folder``/adapter_config.json.

        Raises:
            ConversionError: no JSON, another method than LoRA, a variant that is not merged, or values that cannot be.
        """
        raw = read_json_object(folder / ADAPTER_CONFIG)
        if raw.get("peft_type") != "LORA":
            raise ConversionError(
                [f"{ADAPTER_CONFIG} says the type {raw.get('peft_type')!r}; 'LORA' is merged here. {MERGE_ELSEWHERE}"]
            )
        problems = _variant_problems(raw)
        fields: dict[str, Any] = {}
        for name, (default, read, allowed) in _FIELDS.items():
            value = raw.get(name)
            try:
                fields[name] = read(default if value is None else value)
            except (TypeError, ValueError, OverflowError, re.error):
                problems.append(f"{name} in {ADAPTER_CONFIG} is {value!r}; {allowed} is needed.")
        if problems:
            raise ConversionError(problems)
        return cls(base=str(raw.get("base_model_name_or_path") or ""), **fields)

    def rank(self, path: str) -> int:
        """Returns the rank of a module's change."""
        return _by_pattern(self.rank_pattern, path) or self.r

    def scaling(self, path: str) -> float:
        """Returns the factor of a module's change. Source: the papers on LoRA (alpha / r) and rsLoRA (alpha / √r)."""
        rank, alpha = self.rank(path), _by_pattern(self.alpha_pattern, path)
        return (self.lora_alpha if alpha is None else alpha) / (sqrt(rank) if self.use_rslora else rank)

    def targets(self, path: str) -> bool:
        """Returns whether a module in a layer, or the embedding, was to be trained by low rank."""
        chosen, excluded = self.target_modules, self.exclude_modules
        if excluded and _named(excluded, path):
            return False
        if any(re.match(rf"(^|.*\.){name}($|\..*)", path) for name in self.modules_to_save):
            return False
        if isinstance(chosen, str) and chosen.lower() == "all-linear":
            return not path.endswith("embed_tokens")
        return _named(chosen, path) and (isinstance(chosen, str) or self._means_layer_of(path))

    def _means_layer_of(self, path: str) -> bool:
        if not self.layers_to_transform:
            return True
        places = [rf"(?:^|.*?\.){pattern}" for pattern in self.layers_pattern] or [r".*?\.[^.]*"]
        found = next(filter(None, (re.match(rf"{place}\.(?P<idx>\d+)\.", path) for place in places)), None)
        return found is not None and int(found["idx"]) in self.layers_to_transform

    def saves(self, path: str) -> bool:
        """Returns whether a module, or one that it is part of, was to be trained whole."""
        parts = path.split(".")
        names = [".".join(parts[: i + 1]) for i in range(len(parts))]
        return any(name.endswith(end) for name in names for end in self.modules_to_save)


def refuse_adapter(folder: Path) -> None:
    """Raises ConversionError if ``folder`` is an adapter, which is no checkpoint."""
    if (folder / ADAPTER_CONFIG).exists():
        told = read_json_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        of = f", trained on {told!r}" if told else ""
        raise ConversionError(
            [
                f"{str(folder)!r} is a LoRA adapter ({ADAPTER_CONFIG}){of}. Convert it with its base model: "
                f"qsift convert ADAPTER --base CHECKPOINT, in Python convert(adapter, base=…). "
                f"If it holds a whole model, remove {ADAPTER_CONFIG}."
            ]
        )


def place_problem(adapter: Path, base: Path) -> str | None:
    """Returns a sentence unless the first folder is an adapter and the second none."""
    if not adapter.is_dir():
        return f"There is no folder {str(adapter)!r}. Pass the folder of an adapter, with {ADAPTER_CONFIG}."
    if not (adapter / ADAPTER_CONFIG).exists():
        return (
            f"{str(adapter)!r} has no {ADAPTER_CONFIG}: it is no adapter, and --base is for adapters. "
            "Convert it without --base."
        )
    if (base / ADAPTER_CONFIG).exists():
        return (
            f"{str(base)!r}, which --base names, is an adapter itself ({ADAPTER_CONFIG}). Pass the checkpoint that "
            "both were trained on, or merge that one with PEFT first (merge_and_unload, save_pretrained)."
        )
    return None


def _named(names: str | tuple[str, ...], path: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, path) is not None
    return any(path == name or path.endswith(f".{name}") for name in names)


def _by_pattern(patterns: Mapping[str, Value], path: str) -> Value | None:
    """Returns the value of the first pattern that is the end of ``path``; None where there is none."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", path)), None)


_UNMERGED = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
"""Fields of LoraConfig with which an adapter is more than two matrices for each module."""

_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""The values of init_lora_weights that leave the base as it is. With the others PEFT changes it when it loads it."""


def _variant_problems(raw: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{ADAPTER_CONFIG} sets {name} to {raw[name]!r}, which is not merged here. {MERGE_ELSEWHERE}"
        for name in _UNMERGED
        if raw.get(name)
    ]
    start = raw.get("init_lora_weights")
    if not any(start is plain or (isinstance(start, str) and start == plain) for plain in _PLAIN_STARTS):
        problems.append(
            f"{ADAPTER_CONFIG} sets init_lora_weights to {start!r}, with which PEFT changes the base before it adds "
            f"the adapter. {MERGE_ELSEWHERE}"
        )
    return problems


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 1 <= value < 1 << 20:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value):
        raise ValueError
    return float(value)


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    re.compile(value)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_pattern, value))


def _modules(value: Any) -> str | tuple[str, ...]:
    return _pattern(value) if isinstance(value, str) else _texts(value)


def _layers(value: Any) -> tuple[int, ...]:
    layers = value if isinstance(value, list) else [value]
    if any(type(layer) is not int for layer in layers):
        raise TypeError
    return tuple(layers)


def _patterns(read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    def read_all(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise TypeError
        return {_pattern(key): read(inner) for key, inner in value.items()}

    return read_all


_NAMES = "a list of names"
_FIELDS: dict[str, tuple[Any, Callable[[Any], Any], str]] = {
    "r": (8, _whole, "a whole number from 1"),
    "lora_alpha": (8, _number, "a number"),
    "rank_pattern": ({}, _patterns(_whole), "an object of patterns and whole numbers from 1"),
    "alpha_pattern": ({}, _patterns(_number), "an object of patterns and numbers"),
    "use_rslora": (False, _truth, "true or false"),
    "use_dora": (False, _truth, "true or false"),
    "target_modules": (None, _modules, f"{_NAMES}, a regular expression or 'all-linear'"),
    "exclude_modules": ([], _modules, f"{_NAMES} or a regular expression"),
    "layers_to_transform": ([], _layers, "a whole number or a list of them"),
    "layers_pattern": ([], lambda value: _texts([value] if isinstance(value, str) else value), "a name or " + _NAMES),
    "modules_to_save": ([], _texts, _NAMES),
}
"""For each field the default of LoraConfig, what reads it, and what is allowed."""
