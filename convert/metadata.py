"""The ``general.`` and ``qwen3.`` keys of a GGUF, and the name that a model goes by.

Names are read from folders and model cards because people know them; nothing that decides how a
file computes is ever taken from here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from .config import Config
from .tensors import Tensor
from qsift.models import (
    ARCHITECTURE,
    POOLING_LAST,
    POOLING_RANK,
    RERANK_LABELS,
    SCHEMES,
    Manifest,
    Task,
)

_SIZE = re.compile(r"(?<![\w.])\d+(?:\.\d+)?[BMbm](?![A-Za-z0-9])")
_REPO = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
_NAMELESS = re.compile(r"(model|checkpoint|ckpt|final|output|merged|snapshot)s?([-_]?\d+)?|[-_.]*", re.IGNORECASE)


def model_name(folder: Path, told: str = "") -> str:
    """Returns what people call the model: its folder's name, or its repository's in a download cache.

    Args:
        folder: where it lies.
        told: the path or name that its config.json gives; a folder that is only called "model" or "checkpoint-500"
            gives way to it.
    """
    folder = folder.resolve()
    name, cached = folder.name, folder.parent.parent.name
    if folder.parent.name == "snapshots" and "--" in cached:  # as Hugging Face's and ModelScope's clients lay it out
        name = cached.rpartition("--")[2]
    told = told.rstrip("/").rpartition("/")[2]
    if _NAMELESS.fullmatch(name) and told and not _NAMELESS.fullmatch(told):
        name = told
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model"


def file_name(name: str, quant: str) -> str:
    """Returns the file's name as on the hub, such as "Qwen3-Embedding-0.6B-Q8_0.gguf"."""
    return f"{name}-{quant.upper()}.gguf"


def general_keys(folder: Path, name: str, tensors: Sequence[Tensor], task: Task) -> dict[str, Any]:
    """Returns the keys that say what the model is called and where it comes from."""
    card = read_card(folder)
    # PEFT writes a base's path on the machine of the training, in a tag too.
    tags = [tag for tag in card.get("tags", []) if not tag.startswith("base_model:")]
    bases = [base for base in card.get("base_model", []) if _REPO.fullmatch(base)]
    size = _SIZE.search(name)
    count = sum(prod(tensor.shape) for tensor in tensors)
    keys: dict[str, Any] = {
        "general.architecture": ARCHITECTURE,
        "general.type": "model",
        "general.name": name,
        "general.basename": (name[: size.start()].strip("-_ .") if size else "") or name,
        "general.size_label": size[0].upper() if size else _size_label(count),
        "general.tags": list(dict.fromkeys([_PIPELINE_TAGS[task], *tags])),
        "general.quantized_by": "qsift",
    }
    for key in ("license", "license_name", "license_link"):
        if card.get(key):
            keys[f"general.{key.replace('_', '.')}"] = card[key][0]
    if bases:
        keys["general.base_model.count"] = len(bases)
    for index, base in enumerate(bases):
        organisation, _, base_name = base.rpartition("/")
        keys[f"general.base_model.{index}.name"] = base_name
        if organisation:
            keys[f"general.base_model.{index}.organization"] = organisation
            keys[f"general.base_model.{index}.repo_url"] = f"https://huggingface.co/{base}"
    return keys


_PIPELINE_TAGS: dict[Task, str] = {"embed": "feature-extraction", "rerank": "text-ranking"}


def _size_label(count: int) -> str:
    unit, divisor = ("B", 1e9) if count >= 5e8 else ("M", 1e6)
    return f"{count / divisor:.2g}{unit}" if count < 10 * divisor else f"{count / divisor:.0f}{unit}"


def model_keys(config: Config, task: Task) -> dict[str, Any]:
    """Returns the keys that llama.cpp computes by."""
    keys: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope_theta,
        "rope.dimension_count": config.head_dim,
        "pooling_type": POOLING_LAST if task == "embed" else POOLING_RANK,
    }
    if task == "rerank":
        keys["classifier.output_labels"] = list(RERANK_LABELS)
    return {f"{ARCHITECTURE}.{key}": value for key, value in keys.items()}


def template_keys(manifest: Manifest) -> dict[str, Any]:
    """Returns the prompt that llama-server fills for a reranker; nothing for an embedding model."""
    if manifest.task == "embed":
        return {}
    prompt = manifest.rerank_template.prompt("{query}", "{document}")
    text = prompt.head + prompt.body + prompt.tail
    return {"tokenizer.chat_template.rerank": text, "tokenizer.chat_templates": ["rerank"]}


def quant_keys(manifest: Manifest) -> dict[str, Any]:
    """Returns the keys that differ from quant to quant, and qsift's own."""
    return {
        "general.file_type": SCHEMES[manifest.quant].file_type,
        "general.quantization_version": 2,
        **manifest.to_keys(),
    }


def read_card(folder: Path) -> dict[str, list[str]]:
    """Returns the simple fields of a model card's front matter, each as a list of texts.

    Only ``key: value`` and ``key:`` with ``- value`` lines are read; anything else is passed over.
    """
    try:
        lines = (folder / "README.md").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    fields: dict[str, list[str]] = {}
    key = ""
    for line in lines[1:] if lines[:1] == ["---"] else ():
        if line.strip() == "---":
            break
        if match := re.fullmatch(r"(\w+):\s*(.*)", line):
            key, value = match[1], match[2].strip("\"' ")
            fields[key] = [value] if value else []
        elif key and (match := re.fullmatch(r"\s*-\s+([^:{}\[\]]+)", line)):
            fields[key].append(match[1].strip("\"' "))
    return fields
