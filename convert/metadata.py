"""The keys of a GGUF: what it is called, its sizes, how it is to be run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from qsift.manifest import ARCHITECTURE, POOLING_LAST, POOLING_RANK, Manifest
from qsift.prompts import END_OF_TEXT, RERANK_LABELS
from qsift.specs import Task

from .checkpoint import Checkpoint
from .config import ModelConfig
from .quantize import SCHEMES
from .vocab import rerank_chat_template

_QUANTIZATION_VERSION = 2  # ggml's GGML_QNT_VERSION


def model_name(source: Checkpoint) -> str:
    """Returns the model's name: that of its folder, or of its repository where the folder is a hub snapshot."""
    folder = source.folder.resolve()
    repo = re.fullmatch(r"models--.+?--(.+)", folder.parent.parent.name) if folder.parent.name == "snapshots" else None
    return repo.group(1) if repo else folder.name


def file_name(source: Checkpoint, quant: str) -> str:
    """Returns the file name as Hugging Face users know them, such as Qwen3-Embedding-0.6B-Q8_0.gguf."""
    return f"{model_name(source)}-{SCHEMES[quant].label}.gguf"


def metadata_of(source: Checkpoint, config: ModelConfig, task: Task, quant: str) -> dict[str, Any]:
    """Returns the keys in file order, apart from the vocabulary.

    They are complete enough for llama-server and Ollama to pool the last token, to append the end
    token, and to fill in the rerank template.
    """
    name, manifest = model_name(source), Manifest.for_task(task, quant)
    keys: dict[str, Any] = {
        "general.architecture": ARCHITECTURE,
        "general.type": "model",
        "general.name": name,
        **_origin(source.folder, name),
        "general.tags": ["feature-extraction"] if task == "embed" else ["text-ranking"],
        "general.quantized_by": "qsift",
        "general.file_type": SCHEMES[quant].file_type,
        "general.quantization_version": _QUANTIZATION_VERSION,
        "qwen3.block_count": config.num_hidden_layers,
        "qwen3.context_length": config.max_position_embeddings,
        "qwen3.embedding_length": config.hidden_size,
        "qwen3.feed_forward_length": config.intermediate_size,
        "qwen3.attention.head_count": config.num_attention_heads,
        "qwen3.attention.head_count_kv": config.num_key_value_heads,
        "qwen3.attention.key_length": config.head_dim,
        "qwen3.attention.value_length": config.head_dim,
        "qwen3.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "qwen3.rope.freq_base": config.rope_theta,
        "qwen3.pooling_type": POOLING_LAST if task == "embed" else POOLING_RANK,
    }
    if task == "rerank":
        keys["qwen3.classifier.output_labels"] = list(RERANK_LABELS)
        keys["tokenizer.chat_templates"] = ["rerank"]
        keys["tokenizer.chat_template.rerank"] = rerank_chat_template(manifest.instruction)
    return keys | manifest.to_keys()


def special_tokens(task: Task) -> dict[str, str | bool]:
    """Returns the vocabulary's special tokens by their text, and whether an end token is appended."""
    return {
        "eos_token_id": END_OF_TEXT if task == "embed" else "<|im_end|>",
        "padding_token_id": END_OF_TEXT,
        "add_bos_token": False,
        "add_eos_token": task == "embed",
    }


def _origin(folder: Path, name: str) -> dict[str, Any]:
    """Returns size, licence and base model, as far as the name and the model card tell them."""
    keys: dict[str, Any] = {}
    if size := re.search(r"(?i)(?<![a-z0-9])(\d+(?:\.\d+)?[bm])(?![a-z0-9])", name):
        keys["general.size_label"] = size.group(1).upper()
        keys["general.basename"] = name[: size.start()].strip("-_ ")
    card = _front_matter(folder / "README.md")
    if "license" in card:
        keys["general.license"] = card["license"]
    if base := card.get("base_model"):
        organization, _, base_name = base.rpartition("/")
        keys["general.base_model.count"] = 1
        keys["general.base_model.0.name"] = base_name
        if organization:
            keys["general.base_model.0.organization"] = organization
            keys["general.base_model.0.repo_url"] = f"https://huggingface.co/{base}"
    return keys


def _front_matter(path: Path) -> dict[str, str]:
    """Returns the plain values at the head of a model card; a list gives its first entry."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.findall(r"(?m)^(license|base_model):[ \t]*(?:\n[ \t]*-)?[ \t]*([^\s#]+)", head.group(1) if head else "")
    return {key: value.strip("'\"") for key, value in found}
