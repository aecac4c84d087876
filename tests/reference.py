"""Qwen3 in a page of torch, float32, read straight from a checkpoint's files.

The tests first show that transformers agrees with it, then hold llama.cpp against it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn.functional import linear, rms_norm, silu

_ROWS = 1024  # queries whose attention is computed at a time; bounds memory for long texts


class Reference:
    """A checkpoint, computed in float32."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.head_dim, self.layers = config["head_dim"], config["num_hidden_layers"]
        self.eps = config["rms_norm_eps"]
        self.theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
        self.tied = config["tie_word_embeddings"]
        vocabulary = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
        self.yes, self.no = vocabulary["yes"], vocabulary["no"]
        self.weights: dict[str, torch.Tensor] = {}
        for shard in sorted(folder.glob("*.safetensors")):
            for name, tensor in load_file(shard).items():
                self.weights[name.removeprefix("model.")] = tensor.float()

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """Returns the normalised final hidden states of the last tokens, (n, width) float32."""
        with torch.no_grad():
            rows = torch.stack([self._last_state(ids) for ids in sequences])
            return torch.nn.functional.normalize(rows, dim=1).numpy()

    def score(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """Returns l_yes - l_no after the last tokens, (n,) float32."""
        head = self.weights["embed_tokens.weight" if self.tied else "lm_head.weight"]
        with torch.no_grad():
            rows = torch.stack([self._last_state(ids) for ids in sequences])
            return (rows @ (head[self.yes] - head[self.no])).numpy()

    def _last_state(self, ids: Sequence[int]) -> torch.Tensor:
        x = self.weights["embed_tokens.weight"][torch.tensor(np.asarray(ids, np.int64))]
        for layer in range(self.layers):
            block = f"layers.{layer}."
            x = x + self._attention(block, self._norm(block + "input_layernorm", x))
            y = self._norm(block + "post_attention_layernorm", x)
            gated = silu(self._linear(block + "mlp.gate_proj", y)) * self._linear(block + "mlp.up_proj", y)
            x = x + self._linear(block + "mlp.down_proj", gated)
        return self._norm("norm", x[-1])

    def _attention(self, block: str, x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        q = self._linear(block + "self_attn.q_proj", x).view(n, self.heads, self.head_dim)
        k = self._linear(block + "self_attn.k_proj", x).view(n, self.kv_heads, self.head_dim)
        v = self._linear(block + "self_attn.v_proj", x).view(n, self.kv_heads, self.head_dim)
        q = self._rotate(self._norm(block + "self_attn.q_norm", q)).transpose(0, 1)
        k = self._rotate(self._norm(block + "self_attn.k_norm", k)).transpose(0, 1)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=0) for t in (k, v.transpose(0, 1)))
        parts = []
        for start in range(0, n, _ROWS):
            stop = min(start + _ROWS, n)
            scores = q[:, start:stop] @ k[:, :stop].transpose(1, 2) / self.head_dim**0.5
            later = torch.ones(stop - start, stop, dtype=torch.bool).triu(start + 1)
            parts.append(scores.masked_fill(later, -torch.inf).softmax(-1) @ v[:, :stop])
        mixed = torch.cat(parts, dim=1).transpose(0, 1).reshape(n, -1)
        return self._linear(block + "self_attn.o_proj", mixed)

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        half = self.head_dim // 2
        frequencies = self.theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(len(x), dtype=torch.float64)[:, None] * frequencies
        cos, sin = angles.cos().float()[:, None], angles.sin().float()[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight = self.weights[name + ".weight"]
        return rms_norm(x, weight.shape, weight, self.eps)

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weights[name + ".weight"])
