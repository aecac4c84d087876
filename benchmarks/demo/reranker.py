"""Step 5: the reranker, from a matcher built by hand or from a checkpoint, under the exact rerank template.

For each query it sees the right document, wrong ones out of the first stage's best, and a few by chance. It learns
which is right (softmax over the list), whether each is right (P(yes) against 0.5), the order that the embedder and
the shared words give them, and, from the matcher on, in its middle the embedder's vectors of query and document.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, cross_entropy, kl_div, log_softmax

from .candidates import DEPTH, first_stage
from .encoding import Encoder, logits, padded
from .matcher import DOCUMENT, QUERY, Marks, start_model
from .measures import descriptions, ndcg
from .model import Qwen3, load_checkpoint, save_checkpoint, save_parts
from .pairs import Pairs, distinct
from .training import train

MOST = 160
"""Tokens of query and document together."""
LONGEST_QUERY = 120
"""Characters."""
EASY = 10
"""Wrong documents by chance, beside the `DEPTH` that the first stage finds."""
POOL = 5000
"""Documents that are searched together, at most about as many as the evaluation searches."""
DEVELOPMENT = 40
"""Queries of a kind that are not trained on; they show how training goes."""
SAME = 0.99
"""A wrong document this near to the right one says the same: it is left out."""
PIECES = 3
"""Of a batch, by length."""
SHARPNESS, SHARED = 15.0, 0.3
"""The taught order is SHARPNESS * (similarity + SHARED * share of the query's words)."""
DECAY = 0.998
"""Of the weights' running average, a step."""


@dataclass(frozen=True)
class Lists:
    """Queries of one kind with their candidates.

    Attributes:
        queries, documents: token ids; the first of the documents answers the first query, and so on.
        near: (n, DEPTH + EASY), places of wrong documents: the first stage's best, and some by chance.
        taught: (n, 1 + DEPTH + EASY), how good the first stage holds the right document and the wrong ones.
        query_vectors, document_vectors: the embedder's.
        share: of all batches.
    """

    queries: list[np.ndarray]
    documents: list[np.ndarray]
    near: np.ndarray
    taught: np.ndarray
    query_vectors: np.ndarray
    document_vectors: np.ndarray
    share: float


def mine(model: Qwen3, encoder: Encoder, pairs: Pairs, rows: np.ndarray, share: float, *, swap: bool = False) -> Lists:
    """Returns the rows as queries; each finds its candidates among the documents of its own pool."""
    columns = (pairs.document, pairs.query) if swap else (pairs.query, pairs.document)
    rows = np.array([row for row in rows if len(columns[0][row]) <= LONGEST_QUERY])
    # What comes of one source package lies in one pool, as it does in the evaluation.
    pools = np.array([int(hashlib.sha256(f"pool {pairs.key[row]}".encode()).hexdigest(), 16) for row in rows], object)
    pools = (pools % max(1, round(len(rows) / POOL))).astype(int)
    rows, parts, start = rows[np.argsort(pools, kind="stable")], [], 0
    for count in np.bincount(pools):
        queries, documents = ([column[row] for row in rows[start : start + count]] for column in columns)
        near, *known = _candidates(model, encoder, queries, documents)
        parts.append((near + start, *known))
        start += count
    queries, documents = ([column[row] for row in rows] for column in columns)
    near, taught, *vectors = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Lists(encoder.asked(queries), encoder.told(documents), near, taught, vectors[0], vectors[1], share)


def _candidates(model: Qwen3, encoder: Encoder, queries: list[str], documents: list[str]) -> tuple[np.ndarray, ...]:
    """Returns near, taught and both sides' vectors of `Lists` for one pool."""
    found = first_stage(model, encoder, queries, documents)
    same = found.document_vectors @ found.document_vectors.T > SAME
    same.fill_diagonal_(True)
    near = found.fused.masked_fill(same, -1).topk(DEPTH).indices
    chance = np.random.default_rng(0).integers(1, len(documents), (len(queries), EASY))
    own = torch.arange(len(queries), device=near.device)[:, None]
    near = torch.cat((near, (own + torch.from_numpy(chance).to(near.device)) % len(documents)), 1)
    taught = (found.similarity + SHARED * found.words).gather(1, torch.cat((own, near), 1))
    vectors = found.query_vectors, found.document_vectors
    return near.cpu().numpy(), *(value.cpu().numpy().astype(np.float16) for value in (taught, *vectors))


def all_lists(
    model: Qwen3, encoder: Encoder, pairs: Pairs, generator: np.random.Generator, scale: float = 1.0
) -> list[Lists]:
    """Returns the lists of every kind that the reranker learns from."""
    found = []
    for kind, languages, most, share, swap in MIX:
        rows = pairs.rows(kind, (languages[:2], languages[3:]))
        rows = distinct(pairs, generator.permutation(rows))[: int(most * scale)]
        if len(rows) > DEPTH + EASY:
            found.append(mine(model, encoder, pairs, rows, share, swap=swap))
    return found


MIX: list[tuple[str, str, int, float, bool]] = [
    ("package", "en en", 60_000, 0.5, False),
    *(("package", f"{name} {name}", 2500, 0.02, False) for name in ("it", "fr", "de", "ja", "es", "pt", "ru", "ko")),
    *(("package", f"{name} en", 2500, 0.01, False) for name in ("it", "fr", "de", "ja", "es", "pt", "ru", "ko")),
    *(("section", f"{name} {name}", 2500, 0.02, False) for name in ("de", "fr", "es", "ja")),
    *(("section", f"{name} {name}", 5000, 0.06, False) for name in ("zh", "en")),
    *(("translation", f"en {name}", 2500, 0.02, True) for name in ("de", "fr", "ja", "es", "ru", "ko", "pt")),
    ("translation", "en zh", 2500, 0.06, True),
    *(("translation", f"en {name}", 2500, 0.01, False) for name in ("zh", "de", "fr", "ja", "es", "ru")),
    ("gloss", "zh en", 2500, 0.02, False),
    ("gloss", "en en", 2500, 0.02, False),
    ("review", "zh zh", 2500, 0.02, False),
]
"""Kind, languages of query and document, how many at most, share of all batches, and whether the sides change."""


@dataclass(frozen=True)
class Batch:
    """Lists one after the other, the right document first in each; ``vectors`` are of queries and documents."""

    prompts: list[np.ndarray]
    taught: np.ndarray
    vectors: tuple[np.ndarray, np.ndarray]


def draw(encoder: Encoder, lists: Lists, size: int, wrong: int, generator: np.random.Generator) -> Iterator[Batch]:
    """Yields batches of ``size`` queries without end; those of the development set are never drawn."""
    while True:
        order = DEVELOPMENT + generator.permutation(len(lists.queries) - DEVELOPMENT)
        for start in range(0, max(1, len(order) - size + 1), size):
            chosen = order[start : start + size]
            picked = generator.random((len(chosen), DEPTH + EASY)).argsort(1)[:, :wrong]
            places = np.hstack((chosen[:, None], np.take_along_axis(lists.near[chosen], picked, 1))).ravel()
            asked = np.repeat(chosen, 1 + wrong)
            yield Batch(
                [
                    encoder.prompt(lists.queries[i], lists.documents[j], MOST)
                    for i, j in zip(asked, places, strict=True)
                ],
                np.take_along_axis(lists.taught[chosen], np.pad(1 + picked, ((0, 0), (1, 0))), 1),
                (lists.query_vectors[asked], lists.document_vectors[places]),
            )


def rarities(encoder: Encoder, documents: Sequence[np.ndarray]) -> np.ndarray:
    """Returns how rare each token is among documents: 0, in all, to 1, in none."""
    counts = np.zeros(encoder.tokenizer.get_vocab_size())
    for ids in documents:
        counts[np.unique(ids)] += 1
    found = np.log((len(documents) - counts + 0.5) / (counts + 0.5) + 1)
    shares: np.ndarray = found / found.max()
    return shares


def batch_losses(model: Qwen3, encoder: Encoder, batch: Batch, *, inner: bool) -> tuple[Tensor, ...]:
    """Returns the losses of lists: which is right, whether each is right, the taught order, the vectors."""
    device = model.embed_tokens.weight.device
    found, sums = _states(model, encoder, batch.prompts)
    yes, no = model.embed_tokens.weight[encoder.labels]
    scores = (found * (yes - no)).sum(1).view(batch.taught.shape)
    pick = cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=device))
    labels, weights = torch.zeros_like(scores), torch.full_like(scores, 0.5 / (scores.shape[1] - 1))
    labels[:, 0], weights[:, 0] = 1, 0.5
    judge = binary_cross_entropy_with_logits(scores, labels, weights, reduction="sum") / len(scores)
    due = SHARPNESS * torch.from_numpy(batch.taught).to(device).float()
    order = kl_div(log_softmax(scores, 1), due.softmax(1), reduction="batchmean")
    if not inner:
        return pick, judge, 0.3 * order
    middle = _angle(sums[2][:, QUERY], batch.vectors[0]) + _angle(sums[3][:, DOCUMENT], batch.vectors[1])
    return pick, judge, 0.3 * order, 0.3 * middle


def _states(model: Qwen3, encoder: Encoder, prompts: list[np.ndarray]) -> tuple[Tensor, list[Tensor]]:
    """Returns what `Qwen3.forward_with_sums` does, computed in pieces of about one length each."""
    before, device = model.cache(encoder.rerank_start), model.embed_tokens.weight.device
    order = np.argsort([len(prompt) for prompt in prompts])
    pieces = [
        model.forward_with_sums(*padded([prompts[i] for i in rows], device), before)
        for rows in np.array_split(order, PIECES)
    ]
    back = torch.from_numpy(order.argsort()).to(device)
    found, sums = zip(*pieces, strict=True)
    return torch.cat(found)[back], [torch.cat(parts)[back] for parts in zip(*sums, strict=True)]


def _angle(states: Tensor, vectors: np.ndarray) -> Tensor:
    """Returns 1 - the mean cosine between states and the vectors' leading columns."""
    due = torch.from_numpy(vectors[:, : states.shape[1]]).to(states.device).float()
    return 1 - cosine_similarity(states, due, dim=1).mean()


@dataclass(frozen=True)
class Trial:
    """Queries with the candidates that P(yes) alone is to sort, and which of these is right, if any."""

    prompts: list[np.ndarray]
    right: np.ndarray
    fused: float

    @classmethod
    def held_out(cls, embedder: Qwen3, encoder: Encoder, pairs: Pairs, start: int, count: int) -> Trial:
        """Returns the first stage's best fifty for some of the held-out descriptions."""
        texts = descriptions(pairs)
        queries = texts.queries[start : start + count]
        best = first_stage(embedder, encoder, queries, texts.documents).fused.topk(DEPTH).indices.cpu().numpy()
        asked, told = encoder.asked(queries), encoder.told(texts.documents)
        prompts = [encoder.prompt(asked[i], told[j], 10 * MOST) for i, row in enumerate(best) for j in row]
        right = best == start + np.arange(len(queries))[:, None]
        return cls(prompts, right, ndcg(np.where(right.any(1), right.argmax(1), DEPTH)))

    @classmethod
    def development(cls, encoder: Encoder, kinds: Sequence[Lists], count: int) -> Trial:
        """Returns right and wrong documents of the queries that are not trained on; the right one comes last."""
        prompts, gains = [], []
        for lists in kinds:
            for i in range(min(DEVELOPMENT, max(1, count // len(kinds)))):
                places = [*lists.near[i][:DEPTH], i]
                prompts += [encoder.prompt(lists.queries[i], lists.documents[j], MOST) for j in places]
                gains.append((lists.taught[i][1 : 1 + DEPTH] >= lists.taught[i][0]).sum())
        right = np.zeros((len(gains), 1 + DEPTH), bool)
        right[:, -1] = True
        return cls(prompts, right, ndcg(np.array(gains)))

    def score(self, model: Qwen3, encoder: Encoder) -> tuple[float, str]:
        """Returns nDCG@10 of the model's order, and that in words with the first stage's and the cut at 0.5."""
        scores = logits(model, encoder, self.prompts).reshape(self.right.shape)
        own = np.where(self.right, scores, -np.inf).max(1, keepdims=True)
        found = ndcg(np.where(self.right.any(1), (scores >= own).sum(1) - 1, DEPTH))
        yes = [(scores[side] > 0).mean() for side in (self.right, ~self.right)]
        return found, f"{self.fused:.4f} -> {found:.4f} (yes to {yes[0]:.3f} of the right, {yes[1]:.3f} of the wrong)"


def main() -> None:
    """Trains and writes demo-reranker/, a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1100, help="at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all but the last measurement")
    parser.add_argument("--queries", type=int, default=16, help="of a batch")
    parser.add_argument("--wrong", type=int, default=6, help="documents for a query, besides the right one")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=200, help="steps between two lines")
    parser.add_argument("--watched", type=int, default=100, help="queries of either kind measured for a line")
    parser.add_argument("--measured", type=int, default=1000, help="held-out queries of the last measurement")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--start", help="folder of a checkpoint to go on from; default: the matcher")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the texts that is mined, for a trial")
    parser.add_argument(
        "--embedder", default="demo-embedding", help="folder of the checkpoint that finds near documents"
    )
    parser.add_argument("--name", default="demo-reranker", help="of the checkpoint's folder")
    parser.add_argument("--parts", type=Path, help="folder for the weights in float16, in two files that are smaller")
    arguments = parser.parse_args()
    started = time.perf_counter()
    folder, device = arguments.folder, torch.device(arguments.device)
    pairs, encoder = Pairs.read(folder), Encoder(folder)
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    embedder = load_checkpoint(folder / arguments.embedder).to(device)
    everything = all_lists(embedder, encoder, pairs, generator, arguments.scale)
    # Of the 5,000, the first thousand are those of the evaluation: nothing is chosen by them.
    watched = Trial.held_out(embedder, encoder, pairs, 3000, arguments.watched)
    others = Trial.development(encoder, everything[1:], arguments.watched)
    print(
        f"{sum(len(lists.queries) for lists in everything)} queries, {time.perf_counter() - started:.0f} s", flush=True
    )
    if arguments.start:
        model = load_checkpoint(folder / arguments.start)
    else:
        rarity = torch.from_numpy(rarities(encoder, everything[0].documents)).float()
        marks = Marks(*map(encoder.id_of, ("Query", "Document", "yes", "no")))
        model = start_model(load_checkpoint(folder / arguments.embedder), rarity, marks, arguments.layers)
    model = model.to(device)
    average = copy.deepcopy(model)
    shares = np.array([lists.share for lists in everything])
    drawn = [
        draw(encoder, lists, arguments.queries, arguments.wrong, np.random.default_rng(i))
        for i, lists in enumerate(everything)
    ]
    best = 0.0

    def losses() -> tuple[Tensor, ...]:
        chosen = generator.choice(len(everything), p=shares / shares.sum())
        return batch_losses(model, encoder, next(drawn[chosen]), inner=not arguments.start)

    @torch.no_grad()
    def follow() -> None:
        for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
            mean.lerp_(weight, 1 - DECAY)

    def score() -> str:
        """Measures the model and the average of its weights, and keeps the better one if no earlier one was."""
        nonlocal best
        told = []
        for name, one in (("", model), ("average ", average)):
            (found, words), (also, more) = watched.score(one, encoder), others.score(one, encoder)
            told.append(f"{name}{words}, other kinds {more}")
            if found + also > best:
                best = found + also
                save_checkpoint(one, folder / arguments.name, "rerank", encoder.text)
                if arguments.parts:
                    save_parts(one, arguments.parts)
        return "; ".join(told)

    train(
        model,
        losses,
        score,
        steps=arguments.steps,
        highest=arguments.rate,
        every=arguments.every,
        seconds=arguments.seconds - (time.perf_counter() - started),
        after=follow,
    )
    last = Trial.held_out(embedder, encoder, pairs, 0, arguments.measured)
    kept = load_checkpoint(folder / arguments.name).to(device)
    for name, one in (("kept", kept), ("last", model), ("average", average)):
        print(f"{name}: {last.score(one, encoder)[1]}", flush=True)


if __name__ == "__main__":
    main()
