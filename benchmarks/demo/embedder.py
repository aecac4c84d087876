"""Step 4: the embedder, trained towards the teacher's vectors and on pairs, at four widths at once.

It starts as a bag of words: the embedding matrix holds the teacher's vectors of the tokens, and the first layers
average them into the end token. So languages are aligned before the first step, and training refines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from models.checkpoints import Shape
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from .encoding import Encoder, embed, padded
from .measures import cut
from .model import SHAPE, Qwen3, load_checkpoint, save_checkpoint
from .pairs import Pairs, distinct
from .targets import Targets
from .training import train

WIDTHS = (32, 64, 128, 256)
TEMPERATURE = 0.05
MOST_QUERY, MOST_DOCUMENT = 40, 64
FEWEST = 8
"""Known targets that a batch must have to be taught from."""
TEACHING = 2.0
"""Weight of the distillation against the contrast."""
POOL = 12
"""Batches that are drawn together and sorted by length, so that little is padding."""


@dataclass(frozen=True)
class Mix:
    """A kind of batch.

    Attributes:
        rows: pairs that it is drawn from.
        size: pairs of a batch.
        share: of all batches.
        swap: how often query and document change places.
        instructed: how often the query side gets the instruction; else it is a bare text.
    """

    rows: np.ndarray
    size: int
    share: float
    swap: float = 0.0
    instructed: float = 1.0


def mixes(pairs: Pairs, kept: np.ndarray) -> list[Mix]:
    """Returns the kinds of batches; ``kept`` flags the rows that may be used."""

    def rows(kind: str, *languages: str) -> np.ndarray:
        sides = [pair.split() for pair in languages]
        found: np.ndarray = np.concatenate([pairs.rows(kind, (query, document)) for query, document in sides])
        return np.array(found[kept[found]])

    core = ("zh", "de", "fr", "ja", "es")
    others = ("zh_TW", "it", "pt", "ru", "ko", "nl", "pl")
    described = (*core, *others)
    return [
        Mix(rows("package", "en en"), 192, 0.26),
        Mix(rows("package", *(f"{name} {name}" for name in described)), 192, 0.05),
        Mix(rows("package", *(f"{name} en" for name in described)), 192, 0.05),
        Mix(rows("translation", *(f"en {name}" for name in core)), 512, 0.16, swap=0.7, instructed=0.6),
        Mix(rows("translation", *(f"en {name}" for name in others)), 512, 0.04, swap=0.7, instructed=0.6),
        Mix(rows("translation", "en zh"), 512, 0.07, swap=0.7, instructed=0.3),
        Mix(rows("gloss", "zh en"), 512, 0.10, swap=0.3, instructed=0.3),
        Mix(rows("gloss", "de en", "fr en", "es en", "ja en", "en de", "en fr", "en es"), 512, 0.03, 0.3, 0.5),
        Mix(rows("gloss", "en en"), 384, 0.03, swap=0.3, instructed=0.5),
        Mix(rows("review", "zh zh"), 384, 0.06, swap=0.5, instructed=0.3),
        Mix(rows("exchange", "zh zh"), 512, 0.10, swap=0.5, instructed=0.3),
        Mix(rows("section", "zh zh", "zh zh", "ja ja"), 192, 0.06),
        Mix(rows("section", "en en", "de de", "fr fr", "es es"), 192, 0.05),
    ]


def draw(mix: Mix, generator: np.random.Generator, pairs: Pairs) -> Iterator[np.ndarray]:
    """Yields batches of rows, without end; the pairs of one are of about one length."""
    if len(mix.rows) < mix.size:
        raise SystemExit(f"Error: a batch needs {mix.size} pairs, and there are {len(mix.rows)} of its kind.")
    while True:
        order = generator.permutation(mix.rows)
        span = mix.size * POOL
        for start in range(0, max(len(order) - mix.size, 1), span):
            pool = sorted(order[start : start + span], key=lambda row: len(pairs.document[row].encode()))
            places = range(0, len(pool) - mix.size + 1, mix.size)
            yield from (np.array(pool[place : place + mix.size]) for place in generator.permutation(places))


def start_model(shape: Shape, targets: Targets, generator: torch.Generator) -> Qwen3:
    """Returns the model before training: the end token's state is about the mean of the tokens' vectors."""
    model = Qwen3(shape, len(targets.tokens))
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            scale = 0.2 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            torch.nn.init.normal_(weight, 0, scale / shape.hidden_size**0.5, generator=generator)
    with torch.no_grad():
        tokens = torch.from_numpy(targets.tokens) * (0.5 * shape.hidden_size**0.5)
        model.embed_tokens.weight.mul_(0.1).add_(tokens)
        columns = shape.num_key_value_heads * shape.head_dim
        group = shape.num_attention_heads // shape.num_key_value_heads
        for i in range(shape.hidden_size // columns):
            # The values are a slice of the columns, and the heads that share them add up to it.
            attention = model.layer(i).self_attn
            identity = torch.eye(shape.hidden_size)[i * columns : (i + 1) * columns]
            attention.v_proj.weight.copy_(identity)
            heads = identity.view(shape.num_key_value_heads, 1, shape.head_dim, -1).expand(-1, group, -1, -1)
            attention.o_proj.weight.copy_(heads.reshape(-1, shape.hidden_size).T / group)
            attention.q_norm.weight.mul_(0.7)
    return model


def go_on_from(folder: Path, model: Qwen3, encoder: Encoder) -> None:
    """Gives a model before training the weights of a checkpoint; tokens that it lacks keep their start."""
    found, its = load_checkpoint(folder).state_dict(), Encoder(folder).tokenizer.get_vocab()
    tokens = encoder.tokenizer.get_vocab()
    shared = [token for token in tokens if token in its]
    rows = model.embed_tokens.weight.detach().clone()
    rows[[tokens[token] for token in shared]] = found["embed_tokens.weight"][[its[token] for token in shared]]
    model.load_state_dict(found | {"embed_tokens.weight": rows})


def side(model: Qwen3, encoder: Encoder, texts: list[str], *, instructed: bool, most: int) -> Tensor:
    """Returns the final states of one side of a batch."""
    if instructed:
        found: Tensor = model(*padded(encoder.queries(texts, most=most)), model.cache(encoder.query_start))
    else:
        found = model(*padded(encoder.documents(texts, most=most)))
    return found


def contrast(queries: Tensor, documents: Tensor, same: Tensor) -> Tensor:
    """Returns InfoNCE in both directions; pairs that are ``same`` do not count as wrong answers."""
    similarity = (queries @ documents.T / TEMPERATURE).masked_fill(same, -torch.inf)
    due = torch.arange(len(queries))
    return (cross_entropy(similarity, due) + cross_entropy(similarity.T, due)) / 2


def distil(states: Tensor, target: Tensor) -> Tensor:
    """Returns how far states are from the teacher's: by angle, and by the angles among themselves."""
    target = normalize(target, dim=1)
    angle = 1 - (states * target).sum(1).mean()
    matrix = (states @ states.T - target @ target.T).square().mean()
    return angle + 5 * matrix


def batch_losses(
    model: Qwen3,
    encoder: Encoder,
    targets: Targets,
    texts: tuple[list[str], list[str]],
    *,
    instructed: bool,
    translated: bool,
) -> tuple[Tensor, Tensor]:
    """Returns contrast and distillation of a batch of (queries, documents), each a mean over `WIDTHS`."""
    states = [
        side(model, encoder, texts[0], instructed=instructed, most=MOST_QUERY),
        side(model, encoder, texts[1], instructed=False, most=MOST_DOCUMENT),
    ]
    due = targets.find(texts[0]), targets.find(texts[1])
    if translated:
        due = shared_targets(*due)
    names = [np.unique(side, return_inverse=True)[1] for side in texts]
    same = torch.from_numpy(np.logical_or.reduce([name[:, None] == name for name in names]))
    same.fill_diagonal_(False)
    pull, teach = [], []
    for width in WIDTHS:
        queries, documents = (normalize(state[:, :width], dim=1) for state in states)
        pull.append(contrast(queries, documents, same))
        for vectors, (target, known) in zip((queries, documents), due, strict=True):
            if known.sum() >= FEWEST:
                taught = torch.from_numpy(target[known, :width])
                teach.append(distil(vectors[torch.from_numpy(known)], taught))
    return torch.stack(pull).mean(), TEACHING * torch.stack(teach).mean() if teach else torch.zeros(())


Target = tuple[np.ndarray, np.ndarray]


def shared_targets(a: Target, b: Target) -> tuple[Target, Target]:
    """Returns the targets of two sides that mean the same: one without a vector takes the other's."""
    (vectors_a, known_a), (vectors_b, known_b) = a, b
    either = known_a | known_b
    return (
        (np.where(known_a[:, None], vectors_a, vectors_b), either),
        (np.where(known_b[:, None], vectors_b, vectors_a), either),
    )


def development_score(model: Qwen3, encoder: Encoder, pairs: Pairs, rows: np.ndarray) -> str:
    """Returns the share of queries whose document comes first, at full width and at 64."""
    queries = embed(model, encoder, [pairs.query[row] for row in rows], as_query=True)
    documents = embed(model, encoder, [pairs.document[row] for row in rows])
    scores = []
    for width in (256, 64):
        q, d = cut(queries, width), cut(documents, width)
        scores.append(f"{np.mean((q @ d.T).argmax(1) == np.arange(len(rows))):.3f}")
    return "/".join(scores)


def main() -> None:
    """Trains and writes demo-embedding/, a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--name", default="demo-embedding", help="of the checkpoint's folder")
    parser.add_argument("--start", help="folder of a checkpoint to go on from")
    parser.add_argument("--seed", type=int, default=0, help="of the batches' order")
    arguments = parser.parse_args()
    folder = arguments.folder
    pairs, encoder = Pairs.read(folder), Encoder(folder)
    generator = np.random.default_rng(0)
    development = {
        "en": distinct(pairs, generator.permutation(pairs.rows("package", ("en", "en"))))[:1000],
        "zh": distinct(pairs, generator.permutation(pairs.rows("translation", ("en", "zh"))))[:1000],
    }
    kept = ~pairs.held_out
    kept[np.concatenate(list(development.values()))] = False
    shape = replace(SHAPE, num_hidden_layers=arguments.layers)
    targets = Targets.read(folder, shape.hidden_size)
    model = start_model(shape, targets, torch.Generator().manual_seed(0))
    if arguments.start:
        go_on_from(folder / arguments.start, model, encoder)
    kinds = mixes(pairs, kept)
    order = np.random.default_rng(arguments.seed)
    drawn = [draw(mix, rng, pairs) for mix, rng in zip(kinds, order.spawn(len(kinds)), strict=True)]
    shares = np.array([mix.share for mix in kinds])

    def losses() -> tuple[Tensor, Tensor]:
        chosen = order.choice(len(kinds), p=shares / shares.sum())
        mix, rows = kinds[chosen], next(drawn[chosen])
        texts = [pairs.query[row] for row in rows], [pairs.document[row] for row in rows]
        return batch_losses(
            model,
            encoder,
            targets,
            texts[::-1] if order.random() < mix.swap else texts,
            instructed=order.random() < mix.instructed,
            translated=pairs.kind[rows[0]] == "translation",
        )

    def score() -> str:
        found = {name: development_score(model, encoder, pairs, rows) for name, rows in development.items()}
        return ", ".join(f"{name} {value}" for name, value in found.items())

    train(model, losses, score, steps=arguments.steps, highest=arguments.rate)
    save_checkpoint(model, folder / arguments.name, "embed", encoder.text)


if __name__ == "__main__":
    main()
