"""From texts to vectors while training: token ids as qsift makes them, padded batches, loops.

What all queries begin with, the instruction, is computed once a batch and kept out of the token ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn.functional import normalize

from .model import Qwen3
from qsift.models import END_OF_TEXT, RELEASED_PROMPTS, RERANK_LABELS, RERANK_TEMPLATES

Tokens = Sequence[int] | np.ndarray
"""Token ids of a text."""


class Encoder:
    """Our vocabulary and the prompts.

    Attributes:
        tokenizer: tokenizer.json as it was trained.
        text: its contents, for a checkpoint.
        end: id of the end token.
        labels: ids of the reranker's answers, yes and no.
    """

    def __init__(self, folder: Path) -> None:
        self.text = (folder / "tokenizer.json").read_text("utf-8")
        self.tokenizer = Tokenizer.from_str(self.text)
        self.end = self.id_of(END_OF_TEXT)
        self.labels = [self.id_of(label) for label in RERANK_LABELS]

    def id_of(self, token: str) -> int:
        """Returns the id of a token that must be there."""
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise SystemExit(f"Error: {token!r} is no token of this vocabulary.")
        return found

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of texts without an end token."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def documents(self, texts: Sequence[str], *, most: int) -> list[list[int]]:
        """Returns the ids of documents: at most ``most``, the last one the end token."""
        return [[*ids[: most - 1], self.end] for ids in self.ids(texts)]

    @cached_property
    def query_start(self) -> list[int]:
        """What every query begins with. The colon is not in it: it is one pre-token with the query's first word."""
        return self.ids([RELEASED_PROMPTS.texts["query"].removesuffix(":")])[0]

    def queries(self, texts: Sequence[str], *, most: int) -> list[list[int]]:
        """Returns the ids of queries after `query_start`, as `documents` does."""
        found = self.ids([RELEASED_PROMPTS.texts["query"] + text for text in texts])
        return [[*ids[: most - 1], self.end] for ids in _without(self.query_start, found)]

    @cached_property
    def rerank_start(self) -> list[int]:
        """What every rerank prompt begins with: the head, the instruction and ``<Query>:``."""
        prompt = RERANK_TEMPLATES["card"].prompt("", "")
        return self.ids([prompt.head])[0] + self.ids([prompt.body.partition("<Query>:")[0] + "<Query>:"])[0]

    @cached_property
    def rerank_tail(self) -> list[int]:
        """What every rerank prompt ends with."""
        return self.ids([RERANK_TEMPLATES["card"].prompt("", "").tail])[0]

    def asked(self, queries: Sequence[str]) -> list[np.ndarray]:
        """Returns the ids of queries in a rerank prompt: what stands between `rerank_start` and the document."""
        head = len(self.ids([RERANK_TEMPLATES["card"].prompt("", "").head])[0])
        bodies = [RERANK_TEMPLATES["card"].prompt(query, "").body.rstrip(" ") for query in queries]
        return _compact(_without(self.rerank_start[head:], self.ids(bodies)))

    def told(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Returns the ids of documents in a rerank prompt; `rerank_tail` follows."""
        return _compact(self.ids([f" {document}" for document in documents]))

    def prompt(self, asked: np.ndarray, told: np.ndarray, most: int) -> np.ndarray:
        """Returns a rerank prompt after `rerank_start`; at most ``most`` tokens before the tail."""
        return np.concatenate((np.concatenate((asked, told))[:most], self.rerank_tail))


def _compact(texts: list[list[int]]) -> list[np.ndarray]:
    return [np.array(text, np.uint16) for text in texts]


def _without(start: list[int], found: list[list[int]]) -> list[list[int]]:
    for ids in found:
        if ids[: len(start)] != start:
            raise AssertionError(f"{ids[: len(start)]} is not the common beginning {start}")
    return [ids[len(start) :] for ids in found]


def padded(sequences: Sequence[Tokens], device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the ids (n, longest), padded with 0, and the places of the last tokens (n,)."""
    lengths = [len(sequence) for sequence in sequences]
    ids = np.zeros((len(sequences), max(lengths)), np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(ids).to(device), torch.tensor(lengths, device=device) - 1


def batches(sequences: Sequence[Tokens], tokens: int) -> Iterator[list[int]]:
    """Yields indices of sequences, shortest first, in runs of at most ``tokens`` tokens with padding."""
    batch: list[int] = []
    for i in sorted(range(len(sequences)), key=lambda i: len(sequences[i])):
        if batch and (len(batch) + 1) * len(sequences[i]) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def states(model: Qwen3, start: Sequence[int], sequences: Sequence[Tokens]) -> np.ndarray:
    """Returns the final states of the sequences' last tokens: float32 (n, width), in the given order."""
    out = np.empty((len(sequences), model.shape.hidden_size), np.float32)
    device = model.embed_tokens.weight.device
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        before = model.cache(start) if start else None
        for rows in batches(sequences, 8192 if device.type == "cpu" else 1 << 18):
            out[rows] = model(*padded([sequences[i] for i in rows], device), before).cpu().numpy()
    return out


def embed(
    model: Qwen3, encoder: Encoder, texts: Sequence[str], *, as_query: bool = False, most: int = 96
) -> np.ndarray:
    """Returns unit vectors of full width, (n, width) float32."""
    start = encoder.query_start if as_query else []
    sequences = (encoder.queries if as_query else encoder.documents)(texts, most=most)
    return normalize(torch.from_numpy(states(model, start, sequences)), dim=1).numpy()


def logits(model: Qwen3, encoder: Encoder, prompts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns l_yes - l_no of each of `Encoder.prompt`'s, (n,) float32."""
    found = states(model, encoder.rerank_start, prompts)
    yes, no = model.embed_tokens.weight.detach()[encoder.labels].cpu().numpy()
    scores: np.ndarray = found @ (yes - no)
    return scores
