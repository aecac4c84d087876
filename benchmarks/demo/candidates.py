"""What the first stage puts before the reranker: embedder and BM25 over our tokens, fused as qsift's search does it.

This file knows no training: the same function finds wrong documents to learn from and candidates to measure with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .encoding import Encoder, embed
from .model import Qwen3

DEPTH = 50
"""Candidates of a query, and depth of both rankings that are fused."""
RRF_K = 5
"""As in `qsift.search`."""
K1, B = 1.2, 0.75
"""BM25's usual constants."""


@dataclass(frozen=True)
class FirstStage:
    """What is known of each query and document before any reranker; tensors of (queries, documents).

    Attributes:
        similarity: cosine of the embedder.
        words: BM25, as a share of what the query's words could reach: 0..1.
        fused: reciprocal rank fusion of both.
        query_vectors, document_vectors: the embedder's.
    """

    similarity: Tensor
    words: Tensor
    fused: Tensor
    query_vectors: Tensor
    document_vectors: Tensor


def first_stage(model: Qwen3, encoder: Encoder, queries: Sequence[str], documents: Sequence[str]) -> FirstStage:
    """Returns how the first stage sees all queries and all documents, on the model's device."""
    device = model.embed_tokens.weight.device
    vectors = torch.from_numpy(embed(model, encoder, documents, most=96)).to(device)
    asked = torch.from_numpy(embed(model, encoder, queries, as_query=True, most=40)).to(device)
    similarity, words = asked @ vectors.T, bm25(encoder, queries, documents, device)
    return FirstStage(similarity, words, fuse(similarity, words), asked, vectors)


def fuse(*tables: Tensor) -> Tensor:
    """Returns the sum of 1 / (k + rank) over each row's best in every table; 0 for what is in none."""
    scores = torch.zeros_like(tables[0])
    for table in tables:
        best = table.topk(min(DEPTH, table.shape[1])).indices
        gains = 1 / (RRF_K + torch.arange(1, best.shape[1] + 1, device=table.device))
        scores.scatter_add_(1, best, gains.to(scores.dtype).expand_as(best))
    return scores


def bm25(encoder: Encoder, queries: Sequence[str], documents: Sequence[str], device: torch.device) -> Tensor:
    """Returns BM25 of queries and documents over the tokens of their lower-case texts."""
    asked, told = (encoder.ids([f" {text.lower()}" for text in side]) for side in (queries, documents))
    size = encoder.tokenizer.get_vocab_size()
    tokens, owners = _flat(told)
    weights = torch.zeros(size, len(told), device=device)
    places = torch.from_numpy(tokens).to(device), torch.from_numpy(owners).to(device)
    weights.index_put_(places, torch.ones(len(tokens), device=device), accumulate=True)
    holders, lengths = (weights > 0).sum(1), weights.sum(0)
    rarity = torch.log1p((len(told) - holders + 0.5) / (holders + 0.5))
    weights.div_(weights + K1 * (1 - B + B * lengths / lengths.mean())).mul_(rarity[:, None])
    tokens, owners = _flat(asked)
    starts = torch.from_numpy(np.searchsorted(owners, np.arange(len(asked)))).to(device)
    given = torch.from_numpy(tokens).to(device)
    reached = embedding_bag(given, weights, starts, mode="sum")
    return reached / embedding_bag(given, rarity[:, None], starts, mode="sum").clamp_min(1e-9)


def _flat(texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tokens of all texts one after the other, and whose each is."""
    tokens = np.array([token for text in texts for token in text], np.int64)
    return tokens, np.repeat(np.arange(len(texts)), [len(text) for text in texts])
