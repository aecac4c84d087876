"""config.json: the sizes and settings of a checkpoint, and whether it is a Qwen3 that we can convert.

This file knows neither tensors nor tokens. Field names are those of config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsift.errors import ConversionError
from qsift.models import Shape

CLASSIFIER = "Qwen3ForSequenceClassification"
ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3Model", CLASSIFIER)


@dataclass(frozen=True)
class Config(Shape):
    """The part of config.json that a conversion needs.

    Attributes:
        architecture: one of `ARCHITECTURES`.
        max_position_embeddings: the context that the model was trained for, positive.
        rms_norm_eps: epsilon of the norms.
        rope_theta: base of the rotary embedding.
        tie_word_embeddings: whether the output head is the embedding matrix.
        raw: the whole file.
    """

    architecture: str
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool
    raw: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Config:
        """Returns the settings in ``folder``/config.json.

        Raises:
            ConversionError: missing, no JSON, another architecture, or values that cannot be.
        """
        raw = read_json_object(folder / "config.json")
        problem = _architecture_problem(raw)
        if problem:
            raise ConversionError([problem])
        problems = [*_feature_problems(raw)]
        sizes = {name: _size(raw, name, largest, problems) for name, largest in _SIZES.items()}
        epsilon = _number(raw.get("rms_norm_eps"), "rms_norm_eps", 1.0, problems)
        theta = _number(_rope(raw).get("rope_theta"), "rope_theta", 1e12, problems)
        if not problems:
            problems += _attention_problems(sizes)
        if problems:
            raise ConversionError(problems)
        # transformers' default for Qwen3 is untied; the released files always say.
        tied = bool(raw.get("tie_word_embeddings", False))
        return cls(
            architecture=raw["architectures"][0],
            rms_norm_eps=epsilon,
            rope_theta=theta,
            tie_word_embeddings=tied,
            raw=raw,
            **sizes,
        )


def read_json_object(path: Path) -> dict[str, Any]:
    """Returns a JSON file's object.

    Raises:
        ConversionError: missing, unreadable, no JSON, or not an object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ConversionError([f"{path.name} holds a {type(value).__name__}, not an object. Download it again."])
    return value


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds; raises ConversionError with a sentence if it cannot be read."""
    try:
        text = path.read_text("utf-8")
        value = json.loads(text)
        if "\\ud" in text.lower():
            # Half of a surrogate pair is a character in JSON but cannot be written anywhere.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (FileNotFoundError, NotADirectoryError):
        raise ConversionError([f"{path.name} is missing in {str(path.parent)!r}. {_advice(path)}"]) from None
    except OSError as error:
        raise ConversionError([f"{path.name} cannot be read: {error.strerror or error}."]) from error
    except (ValueError, RecursionError) as error:
        raise ConversionError([f"{path.name} is not JSON ({error}). Download it again."]) from error


def _advice(path: Path) -> str:
    folder = path.parent
    if folder.suffix == ".gguf":
        return "This is a GGUF already, not a checkpoint: it needs no conversion."
    if not folder.is_dir():
        return "There is no such folder. Pass the folder of a checkpoint."
    if path.name == "tokenizer.json":
        return "Save the tokenizer once with transformers (AutoTokenizer, save_pretrained) or copy the base model's."
    return "Pass the folder that holds config.json, tokenizer.json and the safetensors files."


_SIZES = {
    "num_hidden_layers": 512,
    "hidden_size": 1 << 16,
    "intermediate_size": 1 << 20,
    "num_attention_heads": 1 << 10,
    "num_key_value_heads": 1 << 10,
    "head_dim": 1 << 12,
    "vocab_size": 1 << 22,
    "max_position_embeddings": 1 << 24,
}
"""The largest value that is believed, for each size."""


def _architecture_problem(raw: Mapping[str, Any]) -> str | None:
    architectures, model_type = raw.get("architectures"), raw.get("model_type")
    found = architectures[0] if isinstance(architectures, list) and architectures else None
    if found in ARCHITECTURES and model_type == "qwen3":
        return None
    return (
        f"config.json says the architecture {found!r} of type {model_type!r}. qsift converts Qwen3-Embedding and "
        f"Qwen3-Reranker: {', '.join(ARCHITECTURES)} of type 'qwen3'."
    )


def _feature_problems(raw: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each setting that llama.cpp's qwen3 does not compute."""
    problems = []
    tied = raw.get("tie_word_embeddings", False)
    if not isinstance(tied, bool):
        problems.append(f"tie_word_embeddings in config.json is {tied!r}; true or false is needed.")
    if raw.get("attention_bias"):
        problems.append("config.json sets attention_bias; Qwen3-Embedding and Qwen3-Reranker have no biases.")
    if raw.get("use_sliding_window") or "sliding_attention" in str(raw.get("layer_types")):
        problems.append("config.json asks for sliding-window attention, which llama.cpp's qwen3 does not compute.")
    if raw.get("is_causal") is False or raw.get("use_bidirectional_attention"):
        problems.append("config.json asks for attention in both directions, which llama.cpp's qwen3 does not compute.")
    if raw.get("hidden_act", "silu") != "silu":
        problems.append(f"config.json sets hidden_act to {raw['hidden_act']!r}; Qwen3 has 'silu'.")
    if raw.get("quantization_config"):
        problems.append("The weights are quantised already (quantization_config). Convert the original checkpoint.")
    scaling = _rope(raw).get("rope_type", "default")
    if scaling not in ("default", "none", None):
        problems.append(
            f"config.json asks for the rotary scaling {scaling!r}; only the unscaled original is converted. "
            "Remove rope_scaling from config.json to get it."
        )
    return problems


def _rope(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the rotary settings: transformers 5 nests them, earlier versions spread them over two keys."""
    rope = {"rope_theta": raw["rope_theta"]} if "rope_theta" in raw else {}
    for key in ("rope_scaling", "rope_parameters"):
        if isinstance(raw.get(key), dict):
            rope |= raw[key]
    if "type" in rope:
        rope.setdefault("rope_type", rope["type"])
    return rope


def _size(raw: Mapping[str, Any], name: str, largest: int, problems: list[str]) -> int:
    value = raw.get(name)
    if type(value) is int and 1 <= value <= largest:
        return value
    found = f"is {value!r}" if name in raw else "is missing"
    problems.append(f"{name} in config.json {found}; a whole number from 1 to {largest} is needed.")
    return 1


def _number(value: Any, name: str, largest: float, problems: list[str]) -> float:
    if type(value) in (int, float) and 0 < value < largest:
        return float(value)
    problems.append(f"{name} in config.json is {value!r}; a number between 0 and {largest:g} is needed.")
    return 1.0


def _attention_problems(sizes: Mapping[str, int]) -> list[str]:
    problems = []
    heads, kv_heads = sizes["num_attention_heads"], sizes["num_key_value_heads"]
    if heads % kv_heads:
        problems.append(f"config.json has {heads} attention heads over {kv_heads} key heads; the second must divide.")
    if sizes["head_dim"] % 2:
        problems.append(f"head_dim in config.json is {sizes['head_dim']}; rotary embeddings need an even number.")
    return problems
