"""Step 5: the reranker, from a matcher built by hand, under the exact rerank template.

For each query it sees the right document, wrong ones that the embedder finds near, and one by chance. It learns
which is right (softmax over the list), whether each is right (P(yes) against 0.5), the order that the embedder and
the shared words give them, and in its middle the embedder's vectors of query and document.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, cross_entropy, kl_div, log_softmax

from .encoding import Encoder, embed, logits, padded
from .matcher import DOCUMENT, QUERY, Marks, start_model
from .measures import ndcg
from .model import Qwen3, load_checkpoint, save_checkpoint
from .pairs import Pairs, distinct
from .training import train

MOST = 96
"""Tokens of query and document together."""
LONGEST_QUERY = 120
"""Characters."""
HARD, EASY = 5, 1
"""Wrong documents of a query: among the embedder's nearest, and by chance."""
NEAREST = 60
DEVELOPMENT = 100
"""Queries of a kind that are not trained on; those of the first kind show how training goes."""
SAME = 0.97
"""A wrong document this near to the right one says the same: it is left out."""
SHARPNESS, SHARED = 15.0, 0.3
"""The taught order is SHARPNESS * (similarity + SHARED * share of the query's words)."""


@dataclass(frozen=True)
class Lists:
    """Queries with their candidates.

    Attributes:
        queries: texts; the first of the documents answers the first, and so on.
        documents: texts.
        near: (n, NEAREST), places of the wrong documents that the embedder finds nearest.
        query_vectors, document_vectors: the embedder's.
        share: of all batches.
    """

    queries: list[str]
    documents: list[str]
    near: np.ndarray
    query_vectors: np.ndarray
    document_vectors: np.ndarray
    share: float


def mine(
    model: Qwen3, encoder: Encoder, pairs: Pairs, rows: np.ndarray, count: int, share: float, *, swap: bool = False
) -> Lists:
    """Returns the first ``count`` of the rows as queries, with the documents of all rows as candidates."""
    queries, documents = pairs.query, pairs.document
    if swap:
        queries, documents = documents, queries
    rows = np.array([row for row in rows if len(queries[row]) <= LONGEST_QUERY])
    texts, asked = [documents[row] for row in rows], [queries[row] for row in rows[:count]]
    vectors = embed(model, encoder, texts, most=96)
    found = embed(model, encoder, asked, as_query=True, most=40)
    near = []
    for start in range(0, len(asked), 1000):
        part = slice(start, min(start + 1000, len(asked)))
        scores = found[part] @ vectors.T
        scores[vectors[part] @ vectors.T > SAME] = -1
        near.append(np.argpartition(-scores, NEAREST)[:, :NEAREST])
    return Lists(asked, texts, np.concatenate(near), found, vectors, share)


def all_lists(
    model: Qwen3, encoder: Encoder, pairs: Pairs, generator: np.random.Generator, scale: float = 1.0
) -> list[Lists]:
    """Returns the lists of every kind that the reranker learns from."""

    def rows(kind: str, languages: str, most: int) -> np.ndarray:
        query, document = languages.split()
        found = pairs.rows(kind, (query, document))
        return distinct(pairs, generator.permutation(found))[: int(most * scale)]

    lists = [mine(model, encoder, pairs, rows("package", "en en", 24_000), 24_000, 0.6)]
    for language, share in (("zh", 0.08), ("en", 0.04), ("ja", 0.02), ("de", 0.02), ("fr", 0.02), ("es", 0.02)):
        lists.append(mine(model, encoder, pairs, rows("section", f"{language} {language}", 3000), 3000, share))
    for language, share in (("de", 0.02), ("fr", 0.02), ("ja", 0.02)):
        lists.append(mine(model, encoder, pairs, rows("package", f"{language} {language}", 3000), 3000, share))
    for language, share in (("zh", 0.06), ("de", 0.02), ("fr", 0.02), ("ja", 0.02), ("es", 0.02)):
        found = rows("translation", f"en {language}", 4000)
        lists.append(mine(model, encoder, pairs, found, 4000, share, swap=True))
    return lists


@dataclass(frozen=True)
class Batch:
    """Lists one after the other, the right document first in each; ``vectors`` are of queries and documents."""

    queries: list[str]
    documents: list[str]
    vectors: tuple[np.ndarray, np.ndarray]


def draw(lists: Lists, size: int, generator: np.random.Generator) -> Iterator[Batch]:
    """Yields batches of ``size`` queries without end; those of the development set are never drawn."""
    if len(lists.queries) < size + DEVELOPMENT:
        raise SystemExit(f"Error: a batch needs {size} queries, and there are {len(lists.queries)} of its kind.")
    while True:
        order = DEVELOPMENT + generator.permutation(len(lists.queries) - DEVELOPMENT)
        for start in range(0, len(order) - size + 1, size):
            chosen, places = order[start : start + size], []
            for i in chosen:
                hard = generator.choice(NEAREST, HARD, replace=False)
                places += [i, *lists.near[i][hard], *generator.integers(len(lists.documents), size=EASY)]
            asked = np.repeat(chosen, 1 + HARD + EASY)
            yield Batch(
                [lists.queries[i] for i in asked],
                [lists.documents[place] for place in places],
                (lists.query_vectors[asked], lists.document_vectors[places]),
            )


def rarities(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Returns how rare each token is among texts: 0, in all, to 1, in none."""
    counts = np.zeros(encoder.tokenizer.get_vocab_size())
    for ids in encoder.ids([f" {text}" for text in texts]):
        counts[np.unique(ids)] += 1
    found = np.log((len(texts) - counts + 0.5) / (counts + 0.5) + 1)
    shares: np.ndarray = found / found.max()
    return shares


def shared_words(encoder: Encoder, rarity: np.ndarray, batch: Batch) -> np.ndarray:
    """Returns the share of each query's tokens, weighed by rarity, that its document holds."""
    asked, told = (encoder.ids([f" {text}" for text in side]) for side in (batch.queries, batch.documents))
    shares = []
    for query, document in zip(map(np.unique, asked), told, strict=True):
        weights = rarity[query]
        shares.append((weights * np.isin(query, document[:MOST])).sum() / max(weights.sum(), 1e-9))
    return np.array(shares)


def batch_losses(model: Qwen3, encoder: Encoder, rarity: np.ndarray, batch: Batch) -> tuple[Tensor, ...]:
    """Returns the losses of lists: which is right, whether each is right, the taught order, the vectors."""
    ids, last = padded(encoder.pairs(batch.queries, batch.documents, most=MOST))
    found, sums = model.forward_with_sums(ids, last, model.cache(encoder.rerank_start))
    yes, no = model.embed_tokens.weight[encoder.labels]
    scores = (found @ (yes - no)).view(-1, 1 + HARD + EASY)
    pick = cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1
    weights = torch.full_like(scores, 0.5 / (HARD + EASY))
    weights[:, 0] = 0.5
    judge = binary_cross_entropy_with_logits(scores, labels, weights, reduction="sum") / len(scores)
    similarity = (batch.vectors[0] * batch.vectors[1]).sum(1) + SHARED * shared_words(encoder, rarity, batch)
    due = torch.from_numpy(SHARPNESS * similarity.astype(np.float32)).view_as(scores)
    order = kl_div(log_softmax(scores, 1), due.softmax(1), reduction="batchmean")
    inner = _angle(sums[2][:, QUERY], batch.vectors[0]) + _angle(sums[3][:, DOCUMENT], batch.vectors[1])
    return pick, judge, 0.3 * order, 0.3 * inner


def _angle(states: Tensor, vectors: np.ndarray) -> Tensor:
    """Returns 1 - the mean cosine between states and the vectors' leading columns."""
    due = torch.from_numpy(vectors[:, : states.shape[1]])
    return 1 - cosine_similarity(states, due, dim=1).mean()


def development_score(model: Qwen3, encoder: Encoder, lists: Lists) -> str:
    """Returns nDCG@10 of the embedder's order and of ours among right and near documents, and the cut at 0.5."""
    queries, documents, similarity = [], [], []
    for i, query in enumerate(lists.queries[:DEVELOPMENT]):
        places = [i, *lists.near[i]]
        queries += [query] * len(places)
        documents += [lists.documents[place] for place in places]
        similarity.append(lists.document_vectors[places] @ lists.query_vectors[i])
    scores = logits(model, encoder, queries, documents, most=MOST).reshape(len(similarity), -1)
    gains = []
    for table in (np.array(similarity), scores):
        ranks = (table[:, 1:] >= table[:, :1]).sum(1)
        gains.append(ndcg(ranks))
    above = f"above 0.5: {(scores[:, 0] > 0).mean():.2f} of the right, {(scores[:, 1:] > 0).mean():.2f} of the wrong"
    return f"nDCG {gains[0]:.3f} -> {gains[1]:.3f}, {above}"


def main() -> None:
    """Trains and writes demo-reranker/, a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1100)
    parser.add_argument("--queries", type=int, default=16, help="of a batch")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the texts that is mined, for a trial")
    parser.add_argument(
        "--embedder", default="demo-embedding", help="folder of the checkpoint that finds near documents"
    )
    parser.add_argument("--name", default="demo-reranker", help="of the checkpoint's folder")
    arguments = parser.parse_args()
    folder = arguments.folder
    pairs, encoder = Pairs.read(folder), Encoder(folder)
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    started = time.perf_counter()
    embedder = load_checkpoint(folder / arguments.embedder)
    everything = all_lists(embedder, encoder, pairs, generator, arguments.scale)
    print(f"mined in {time.perf_counter() - started:.0f} s", flush=True)
    drawn = [draw(lists, arguments.queries, np.random.default_rng(i)) for i, lists in enumerate(everything)]
    shares = np.array([lists.share for lists in everything])
    rarity = rarities(encoder, everything[0].documents)
    marks = Marks(*map(encoder.id_of, ("Query", "Document", "yes", "no")))
    model = start_model(embedder, torch.from_numpy(rarity).float(), marks, arguments.layers)

    def losses() -> tuple[Tensor, ...]:
        chosen = generator.choice(len(everything), p=shares / shares.sum())
        return batch_losses(model, encoder, rarity, next(drawn[chosen]))

    def score() -> str:
        return development_score(model, encoder, everything[0])

    train(model, losses, score, steps=arguments.steps, highest=arguments.rate, every=200)
    save_checkpoint(model, folder / arguments.name, "rerank", encoder.text)


if __name__ == "__main__":
    main()
