"""Qwen3 for training: the released architecture at any size, in a page of torch.

Module names are Hugging Face's, so a state dict is a checkpoint. tests/reference.py holds the same maths in the
plainest form; `evaluate.py` runs the converted files through llama.cpp. This file knows neither texts nor losses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from models.checkpoints import Shape, write_evidence
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

KeysAndValues = tuple[Tensor, Tensor]
Cache = list[KeysAndValues]
"""Keys and values of a text that all sequences begin with, for each layer: (1, kv heads, length, head_dim)."""


SHAPE = Shape(
    num_hidden_layers=3,
    hidden_size=256,
    intermediate_size=768,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,
    max_position_embeddings=2048,
)
"""Of the demo pair; its reranker has a layer more."""
PARTS = ("embedding.safetensors", "layers.safetensors")
"""Files of `save_parts`."""
EPSILON, THETA = 1e-6, 1e6
"""rms_norm_eps and rope_theta of the released models."""


class Norm(nn.Module):
    """RMSNorm; the sums are float32 whatever the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight.shape, self.weight.to(x.dtype), EPSILON)


class Attention(nn.Module):
    """Causal attention of grouped queries, with normalised queries and keys."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.kv_heads, self.head_dim = shape.num_key_value_heads, shape.head_dim
        self.group = shape.num_attention_heads // shape.num_key_value_heads
        rows = shape.num_attention_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, rows, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(rows, shape.hidden_size, bias=False)
        self.q_norm = Norm(shape.head_dim)
        self.k_norm = Norm(shape.head_dim)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor, before: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        """Returns the mixed values and this text's keys and values; ``before`` are those of a shared beginning."""
        n, length, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(n, length, self.kv_heads, self.group, self.head_dim))
        k = self.k_norm(self.k_proj(x).view(n, length, self.kv_heads, self.head_dim))
        v = self.v_proj(x).view(n, length, self.kv_heads, self.head_dim).transpose(1, 2)
        # The queries of one group stand behind each other, so that their common keys need no copies.
        q = rotated(q.permute(0, 2, 3, 1, 4), angles).reshape(n, self.kv_heads, self.group * length, self.head_dim)
        k = rotated(k.transpose(1, 2), angles)
        own = (k, v)
        if before is not None:
            k, v = (torch.cat((old.expand(n, -1, -1, -1), new), dim=2) for old, new in zip(before, own, strict=True))
        if x.is_cuda:
            mixed = scaled_dot_product_attention(q, k, v, mask)
        else:  # at these lengths plain products are four times as fast on CPUs as fused attention with a mask
            scores = (q @ k.transpose(2, 3)) * self.head_dim**-0.5 + mask
            mixed = scores.softmax(-1) @ v
        mixed = mixed.view(n, self.kv_heads, self.group, length, self.head_dim).permute(0, 3, 1, 2, 4)
        return self.o_proj(mixed.reshape(n, length, -1)), own


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))
        return found


class Layer(nn.Module):
    """Attention and MLP, each on the normalised sum of all before."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape.hidden_size)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.hidden_size)
        self.mlp = MLP(shape)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor, before: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        mixed, own = self.self_attn(self.input_layernorm(x), angles, mask, before)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), own


class Qwen3(nn.Module):
    """The body of the model; its head, where one is needed, is the embedding matrix."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, vocab_size: int) -> None:
        super().__init__()
        self.shape, self.vocab_size = shape, vocab_size
        self.embed_tokens = nn.Embedding(vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size)
        half = shape.head_dim // 2
        frequencies = THETA ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(shape.max_position_embeddings, dtype=torch.float64)[:, None] * frequencies
        self.register_buffer("cos", angles.cos().bfloat16(), persistent=False)
        self.register_buffer("sin", angles.sin().bfloat16(), persistent=False)

    def forward(self, ids: Tensor, last: Tensor, before: Cache | None = None) -> Tensor:
        """Returns the final states of the tokens at ``last``: float32 (n, width).

        Args:
            ids: (n, length), padded at the end with anything.
            last: (n,), the place of each sequence's last token.
            before: from `cache`, what all sequences begin with; its tokens are not in ``ids``.
        """
        return self.forward_with_sums(ids, last, before)[0]

    def forward_with_sums(self, ids: Tensor, last: Tensor, before: Cache | None = None) -> tuple[Tensor, list[Tensor]]:
        """Returns what `forward` does, and the sums before the first layer and after each at ``last``."""
        sums, _ = self._run(ids, before)
        found = [x[torch.arange(len(ids), device=ids.device), last].float() for x in sums]
        return self.norm(found[-1]), found

    def layer(self, number: int) -> Layer:
        """Returns a layer, from 0."""
        found = self.layers[number]
        assert isinstance(found, Layer)
        return found

    def cache(self, ids: Sequence[int]) -> Cache:
        """Returns the keys and values of a beginning that many sequences share."""
        return self._run(torch.tensor([list(ids)], device=self.cos.device), None)[1]

    def _run(self, ids: Tensor, before: Cache | None) -> tuple[list[Tensor], Cache]:
        """Returns the sums before the first layer and after each, and the keys and values."""
        start, length = before[0][0].shape[2] if before else 0, ids.shape[1]
        angles = self.cos[start : start + length], self.sin[start : start + length]
        later = torch.ones(length, start + length, dtype=torch.bool, device=ids.device).triu(start + 1)
        group = self.shape.num_attention_heads // self.shape.num_key_value_heads
        mask = torch.zeros(later.shape, dtype=torch.bfloat16, device=ids.device)
        mask = mask.masked_fill(later, -torch.inf).repeat(group, 1)
        sums, own = [self.embed_tokens(ids).bfloat16()], []
        for i, layer in enumerate(self.layers):
            x, kv = layer(sums[-1], angles, mask, before[i] if before else None)
            sums.append(x)
            own.append(kv)
        return sums, own


def rotated(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Returns x, (..., length, head_dim), turned by its positions' angles."""
    cos, sin = angles
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def save_checkpoint(model: Qwen3, folder: Path, task: str, tokenizer: str) -> None:
    """Writes a model as Hugging Face's files lay it out: float32, tied head, tokenizer, "embed" or "rerank"."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "vocab_size": model.vocab_size,
        **asdict(model.shape),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "tokenizer.json").write_text(tokenizer, "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Qwen2Tokenizer"}))
    write_evidence(folder, task)
    weights = {f"model.{name}": value.detach().float().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def save_parts(model: Qwen3, folder: Path) -> None:
    """Writes the weights alone in float16: the embedding matrix in one file, the layers in another."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().half().cpu().contiguous() for name, value in model.state_dict().items()}
    for part, of_embedding in zip(PARTS, (True, False), strict=True):
        found = {name: value for name, value in weights.items() if name.startswith("embed") == of_embedding}
        save_file(found, folder / f".{part}")
        (folder / f".{part}").rename(folder / part)


def load_parts(folder: Path, layers: int) -> Qwen3:
    """Returns the model that `save_parts` wrote, in the demo pair's shape with that many layers."""
    weights = {name: value.float() for part in PARTS for name, value in load_file(folder / part).items()}
    model = Qwen3(replace(SHAPE, num_hidden_layers=layers), len(weights["embed_tokens.weight"]))
    model.load_state_dict(weights)
    return model


def load_checkpoint(folder: Path) -> Qwen3:
    """Returns the model that `save_checkpoint` wrote."""
    config = json.loads((folder / "config.json").read_text())
    model = Qwen3(Shape(**{field.name: config[field.name] for field in fields(Shape)}), config["vocab_size"])
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
    return model
