"""No step: the bundled pair as checkpoints again, which `convert` makes into files with the same weights.

So training can go on from it, with its vocabulary, where the checkpoints are gone. What Q8_0 rounded off stays off.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, dequantize
from models.checkpoints import Shape
from tokenizers import Tokenizer, models

from .model import SHAPE, Qwen3, save_checkpoint
from .vocabulary import split_as_qwen, with_controls
from qsift.hub import BUNDLED
from qsift.models import END_OF_TEXT, RERANK_LABELS, Task

NAMES: dict[str, Task] = {"demo-embedding": "embed", "demo-reranker": "rerank"}
PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""A layer's parts in a GGUF file and in a checkpoint."""


def tokenizer_of(reader: GGUFReader) -> Tokenizer:
    """Returns the vocabulary of a file as step 2 wrote it."""
    tokens, merges = (_contents(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
    learnt = {token: number for number, token in enumerate(tokens[: tokens.index(END_OF_TEXT)])}
    tokenizer = with_controls(
        split_as_qwen(Tokenizer(models.BPE(learnt, [tuple(merge.split(" ")) for merge in merges])))
    )
    assert tokenizer.get_vocab() == {token: number for number, token in enumerate(tokens)}
    return tokenizer


def weights_of(reader: GGUFReader) -> dict[str, torch.Tensor]:
    """Returns the weights of a file in float32, by the names of `Qwen3`; a head's rows stand in the embedding."""
    found = {
        tensor.name.removesuffix(".weight"): torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        for tensor in reader.tensors
    }
    tokens = _contents(reader, "tokenizer.ggml.tokens")
    rows = found.pop("token_embd")
    if "cls.output" in found:
        rows[[tokens.index(label) for label in RERANK_LABELS]] = found.pop("cls.output")
    weights = {"embed_tokens.weight": rows, "norm.weight": found.pop("output_norm")}
    for name, values in found.items():
        _, layer, part = name.split(".")
        weights[f"layers.{layer}.{PARTS[part]}.weight"] = values
    return weights


def model_of(reader: GGUFReader) -> Qwen3:
    """Returns the model of a file; its shape is the demo pair's but for the number of layers."""
    shape = Shape(**{**vars(SHAPE), "num_hidden_layers": _contents(reader, "qwen3.block_count")})
    weights = weights_of(reader)
    model = Qwen3(shape, len(weights["embed_tokens.weight"]))
    model.load_state_dict(weights)
    return model


def _contents(reader: GGUFReader, key: str) -> Any:
    return reader.fields[key].contents()


def write_checkpoint(name: str, folder: Path) -> Path:
    """Writes one of the pair as a checkpoint; returns ``folder``/``name``."""
    reader = GGUFReader(BUNDLED / f"{name}.gguf")
    save_checkpoint(model_of(reader), folder / name, NAMES[name], tokenizer_of(reader).to_str(pretty=True))
    return folder / name


def main() -> None:
    """Writes tokenizer.json and both checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    for name in NAMES:
        shutil.copy(write_checkpoint(name, folder) / "tokenizer.json", folder)


if __name__ == "__main__":
    main()
