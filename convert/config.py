"""The sizes in config.json, checked. Nothing is filled in from a table of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

_SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
)
_ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3Model")


@dataclass(frozen=True)
class ModelConfig:
    """What a Qwen3 config.json says, named as it says it."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    max_position_embeddings: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool

    @classmethod
    def read(cls, config: Mapping[str, Any], problems: list[str]) -> ModelConfig | None:
        """Returns the sizes; adds every problem to ``problems`` and returns None if there is one."""
        if not config:
            return None
        found: list[str] = []
        _check_variants(config, found)
        sizes = {name: _size(config, name, found) for name in _SIZES}
        heads, kv_heads = sizes["num_attention_heads"], sizes["num_key_value_heads"]
        # transformers fills in this default where config.json leaves head_dim out.
        head_dim = _size({"head_dim": config.get("head_dim") or 128}, "head_dim", found)
        if heads and kv_heads and heads % kv_heads:
            found.append(f"config.json: {heads} attention heads cannot share {kv_heads} key-value heads.")
        if head_dim % 2:
            found.append(f"config.json: head_dim is {head_dim}; an even number is needed.")
        eps, theta = _number(config.get("rms_norm_eps"), "rms_norm_eps", found), _rope_theta(config, found)
        tied = config.get("tie_word_embeddings", False)
        if not isinstance(tied, bool):
            found.append(f"config.json: tie_word_embeddings is {tied!r}; true or false is needed.")
        problems.extend(found)
        if found:
            return None
        return cls(**sizes, head_dim=head_dim, rms_norm_eps=eps, rope_theta=theta, tie_word_embeddings=tied)


def _check_variants(config: Mapping[str, Any], problems: list[str]) -> None:
    named = config.get("architectures")
    named = named if isinstance(named, list) else []
    if config.get("model_type") != "qwen3" or any(name not in _ARCHITECTURES for name in named):
        problems.append(
            f"config.json: the architecture is {', '.join(map(str, named)) or '?'} (model_type "
            f"{config.get('model_type')!r}); qsift converts {' and '.join(_ARCHITECTURES)} (model_type 'qwen3')."
        )
    allowed = {
        "hidden_act": (None, "silu"),
        "attention_bias": (None, False),
        "use_sliding_window": (None, False),
        "quantization_config": (None,),
    }
    for name, values in allowed.items():
        if config.get(name) not in values:
            problems.append(f"config.json: {name} is {config[name]!r}; Qwen3-Embedding and Qwen3-Reranker have none.")
    layers = config.get("layer_types") or []
    if not isinstance(layers, list) or any(kind != "full_attention" for kind in layers):
        problems.append(f"config.json: layer_types is {layers!r:.80}; full attention alone is known.")


def _rope_theta(config: Mapping[str, Any], problems: list[str]) -> float:
    # transformers 5 writes rope_parameters, older ones rope_theta and rope_scaling.
    parameters = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or {}
    for name, block in (("rope_parameters", parameters), ("rope_scaling", scaling)):
        if not isinstance(block, dict):
            problems.append(f"config.json: {name} is {block!r}; an object is needed.")
            return 0.0
        kind = block.get("rope_type", block.get("type", "default"))
        if kind not in ("default", None):
            problems.append(f"config.json: {name} scales the rotation by {kind!r}; qsift converts unscaled models.")
    return _number(parameters.get("rope_theta", config.get("rope_theta")), "rope_theta", problems)


def _size(config: Mapping[str, Any], name: str, problems: list[str]) -> int:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 24:
        problems.append(f"config.json: {name} is {value!r}; a whole number above 0 is needed.")
        return 0
    return value


def _number(value: Any, name: str, problems: list[str]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        problems.append(f"config.json: {name} is {value!r}; a number above 0 is needed.")
        return 0.0
    return float(value)
