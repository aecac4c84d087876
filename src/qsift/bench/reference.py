"""Qwen3 in a page of torch, float32, read straight from a checkpoint's files: what every other number is held against.

It shares nothing with the converter or the engine. tests/parity shows that transformers agrees with it. Only
`verify` and the tests load this file, because only it needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from qsift.errors import MissingExtraError, ModelFileError
from qsift.models import RERANK_LABELS, Prompt

try:
    import torch
    from safetensors import safe_open
    from tokenizers import Tokenizer
    from torch.nn.functional import linear, normalize, rms_norm, silu
except ImportError as error:
    raise MissingExtraError("Comparing with a checkpoint", error.name or "torch", "reference") from error

_BLOCK = (
    *("input_layernorm.weight", "post_attention_layernorm.weight"),
    *(f"self_attn.{name}.weight" for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")),
    *(f"mlp.{name}.weight" for name in ("gate_proj", "up_proj", "down_proj")),
)
_ROWS = 1024  # queries whose attention is computed at a time; bounds memory for long texts


class Reference:
    """A checkpoint, computed in float32, a layer at a time: what it takes of memory is a layer and the embedding.

    Attributes:
        folder: the checkpoint's.
        width: of the hidden states.
        layers: number of blocks.
    """

    def __init__(self, folder: Path, *, show_progress_bar: bool = False) -> None:
        """Opens a checkpoint.

        Args:
            folder: with config.json, tokenizer.json and the safetensors files.
            show_progress_bar: on stderr, in layers.

        Raises:
            ModelFileError: a file or an entry is missing or damaged.
        """
        self.folder, self._show = folder, show_progress_bar
        try:
            self._read(folder, json.loads((folder / "config.json").read_text("utf-8")))
        except Exception as error:  # tokenizers and safetensors have no error of their own
            raise ModelFileError(
                folder,
                f"This is no checkpoint of a Qwen3 ({type(error).__name__}: {error}). Pass the folder with "
                "config.json, tokenizer.json and the safetensors files.",
            ) from error

    def _read(self, folder: Path, config: dict[str, Any]) -> None:
        self.width, self.layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        self._heads, self._kv_heads = int(config["num_attention_heads"]), int(config["num_key_value_heads"])
        self._head_dim, self._eps = int(config["head_dim"]), float(config["rms_norm_eps"])
        self._theta = float(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
        self._tied = bool(config["tie_word_embeddings"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        names = config.get("id2label") or {}
        self._classes = {str(name): int(index) for index, name in names.items()}
        self._places: dict[str, tuple[Path, str]] = {}
        for shard in sorted(folder.glob("*.safetensors")):
            with safe_open(shard, "pt") as file:
                self._places |= {name.removeprefix("model."): (shard, name) for name in file.keys()}  # noqa: SIM118
        if "norm.weight" not in self._places:
            raise ValueError("no safetensors file with the weight norm.weight")

    def text_ids(self, text: str) -> list[int]:
        """Returns the ids of a text as transformers gives them: with the end token where the tokenizer adds one."""
        return list(self._tokenizer.encode(text).ids)

    def pair_ids(self, prompt: Prompt) -> list[int]:
        """Returns the ids of a rerank prompt as the model cards build it: three parts, nothing added."""
        parts = (prompt.head, prompt.body, prompt.tail)
        return [i for part in parts for i in self._tokenizer.encode(part, add_special_tokens=False).ids]

    def embed(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Returns the normalised final hidden states of the last tokens, (n, width) float32.

        Raises:
            ModelFileError: the checkpoint lacks a weight.
        """
        with torch.no_grad():
            vectors: NDArray[np.float32] = normalize(self._last_states(sequences), dim=1).numpy()
        return vectors

    def score(self, sequences: Sequence[Sequence[int]], labels: Sequence[str] = RERANK_LABELS) -> NDArray[np.float32]:
        """Returns the logit of the first label after the last tokens, less that of the second: (n,) float32.

        Args:
            sequences: token ids.
            labels: tokens of the vocabulary, or a classifier's labels; a single one has the whole logit.

        Raises:
            ModelFileError: the checkpoint lacks one of the labels, or a weight.
        """
        is_classifier = "score.weight" in self._places
        # Labels without names are transformers' own: the second is the positive.
        classes = self._classes or {one: len(labels) - 1 - place for place, one in enumerate(labels)}
        places = [classes.get(one) if is_classifier else self._tokenizer.token_to_id(one) for one in labels]
        if None in places:
            raise ModelFileError(
                self.folder, f"It lacks one of the labels {', '.join(labels)}: it is no such reranker."
            )
        tied = "embed_tokens.weight" if self._tied else "lm_head.weight"
        with torch.no_grad():
            rows = self._weight("score.weight" if is_classifier else tied)[places].float()
            row = rows[0] - rows[1] if len(rows) > 1 else rows[0]
            scores: NDArray[np.float32] = (self._last_states(sequences) @ row).numpy()
        return scores

    def _last_states(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        embedding = self._weight("embed_tokens.weight")
        states = [embedding[torch.tensor(np.asarray(ids, np.int64))].float() for ids in sequences]
        for layer in tqdm(range(self.layers), "torch", unit="layer", disable=not self._show):
            start = f"layers.{layer}."
            block = {name: self._weight(start + name).float() for name in _BLOCK}
            states = [self._block(block, x) for x in states]
        norm = self._weight("norm.weight").float()
        return self._norm(norm, torch.stack([x[-1] for x in states]))

    def _weight(self, name: str) -> torch.Tensor:
        if name not in self._places:
            raise ModelFileError(self.folder, f"It has no weight {name}. Fetch the checkpoint whole.")
        shard, spelt = self._places[name]
        with safe_open(shard, "pt") as file:
            tensor: torch.Tensor = file.get_tensor(spelt)
        return tensor

    def _block(self, block: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        x = x + self._attention(block, self._norm(block["input_layernorm.weight"], x))
        y = self._norm(block["post_attention_layernorm.weight"], x)
        gated = silu(linear(y, block["mlp.gate_proj.weight"])) * linear(y, block["mlp.up_proj.weight"])
        return x + linear(gated, block["mlp.down_proj.weight"])

    def _attention(self, block: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        q = linear(x, block["self_attn.q_proj.weight"]).view(n, self._heads, self._head_dim)
        k = linear(x, block["self_attn.k_proj.weight"]).view(n, self._kv_heads, self._head_dim)
        v = linear(x, block["self_attn.v_proj.weight"]).view(n, self._kv_heads, self._head_dim)
        q = self._rotate(self._norm(block["self_attn.q_norm.weight"], q)).transpose(0, 1)
        k = self._rotate(self._norm(block["self_attn.k_norm.weight"], k)).transpose(0, 1)
        k, v = (t.repeat_interleave(self._heads // self._kv_heads, dim=0) for t in (k, v.transpose(0, 1)))
        parts = []
        for start in range(0, n, _ROWS):
            stop = min(start + _ROWS, n)
            scores = q[:, start:stop] @ k[:, :stop].transpose(1, 2) / self._head_dim**0.5
            later = torch.ones(stop - start, stop, dtype=torch.bool).triu(start + 1)
            parts.append(scores.masked_fill(later, -torch.inf).softmax(-1) @ v[:, :stop])
        mixed = torch.cat(parts, dim=1).transpose(0, 1).reshape(n, -1)
        return linear(mixed, block["self_attn.o_proj.weight"])

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        half = self._head_dim // 2
        frequencies = self._theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(len(x), dtype=torch.float64)[:, None] * frequencies
        cos, sin = angles.cos().float()[:, None], angles.sin().float()[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

    def _norm(self, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, weight.shape, weight, self._eps)
