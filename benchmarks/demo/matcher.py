"""What the reranker is before training: a matcher, its attention heads set by hand.

A transformer of this size finds by itself neither where the query ends nor that two places hold the same word, not
within an hour of two cores. So it starts knowing both, and training has to weigh them and to add the rest:

- layer 0 tells every token whether it stands behind ``<Query>`` and behind ``<Document>``;
- layer 1 lets every token look for its like in the query, and fetches the mean of the query's tokens;
- layer 2 lets the last token fetch the mean of the document's tokens and how much of them was found in the query,
  and multiplies the two means; the sum of both is what yes and no read;
- the layers after it begin as good as empty.

The leading columns of a state hold the embedder's vector of the token, the last ones single numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .model import Attention, Layer, Qwen3

TOKEN = slice(0, 128)
"""Columns of what a token means, `NORM` long."""
QUERY, DOCUMENT = slice(128, 188), slice(188, 244)
"""Columns of the means of the query's and of the document's tokens."""
FOUND, WEIGHED, COVERED, RESULT, BEHIND_QUERY, BEHIND_DOCUMENT, RARITY, OF_QUERY, OF_DOCUMENT, ONE = range(246, 256)
"""Columns of single numbers: whether a token is in the query, the same times its rarity, the document's mean of it,
the score, the two flags of layer 0, how rare a token is, two marks on template tokens, and a constant."""
NORM = 8.0

FLAGS = (31, 30, 29)
"""Places in a head for single numbers; rotary embedding hardly turns them at these distances."""
MEANING = torch.tensor([*range(14, 28), *range(46, 60)])
"""Places in a head for what a token means, in the same slow half."""
LAST = 63
"""Place in a head's values for a single number."""


@dataclass(frozen=True)
class Marks:
    """Ids of the template's tokens ``Query`` and ``Document``, and of the answers ``yes`` and ``no``."""

    query: int
    document: int
    yes: int
    no: int


class Head:
    """One attention head: its rows of the layer's matrices, to be set in place.

    Heads of a group share ``key`` and ``value``. A head is cleared before it is set.
    """

    def __init__(self, attention: Attention, number: int) -> None:
        width = attention.head_dim
        own, shared = number * width, number // attention.group * width
        self.query = attention.q_proj.weight[own : own + width]
        self.key = attention.k_proj.weight[shared : shared + width]
        self.value = attention.v_proj.weight[shared : shared + width]
        self.out = attention.o_proj.weight[:, own : own + width]


def start_model(embedder: Qwen3, rarity: Tensor, marks: Marks, layers: int) -> Qwen3:
    """Returns the matcher.

    Args:
        embedder: gives the tokens' vectors; 256 wide, with 4 query and 2 key heads of 64.
        rarity: for each token of the vocabulary, 0 (in every text) to 1.
        marks: ids of the template's tokens.
        layers: of the model, 3 or more.
    """
    model = Qwen3(replace(embedder.shape, num_hidden_layers=layers), embedder.vocab_size)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                scale = 0.02 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                weight.normal_(0, scale / model.shape.hidden_size**0.5)
        _set_embedding(model.embed_tokens.weight, embedder.embed_tokens.weight, rarity, marks)
        _find_segments(model.layer(0).self_attn)
        _find_likes(model.layer(1))
        _compare(model.layer(2))
    return model


def _set_embedding(rows: Tensor, meanings: Tensor, rarity: Tensor, marks: Marks) -> None:
    rows.zero_()
    rows[:, TOKEN] = normalize(meanings[:, TOKEN], dim=1) * NORM
    rows[:, RARITY] = rarity * 4
    rows[:, ONE] = 4
    rows[marks.query, OF_QUERY] = 8
    rows[marks.document, OF_DOCUMENT] = 8
    for answer, sign in ((marks.yes, 1), (marks.no, -1)):
        rows[answer, TOKEN] = 0
        rows[answer, RESULT] = sign * 0.5


def _find_segments(attention: Attention) -> None:
    """Two heads look for the marks: one that is there takes all attention, else it goes where the values are 0."""
    attention.q_norm.weight.fill_(1.5)
    for number, behind in enumerate((BEHIND_QUERY, BEHIND_DOCUMENT)):
        head = Head(attention, number)
        head.query.zero_()
        head.query[FLAGS[number], ONE] = 1
        head.out[behind, number] = 0.4
    head.key.zero_()
    head.value.zero_()
    head.key[FLAGS[2], ONE] = 1
    for place, mark in enumerate((OF_QUERY, OF_DOCUMENT)):
        head.key[FLAGS[place], mark] = 4
        head.value[place, mark] = 1


def _find_likes(layer: Layer) -> None:
    """Two heads look for a token's like, each by other columns; one in the query is preferred to the token itself."""
    attention, columns = layer.self_attn, len(MEANING)
    attention.q_norm.weight.fill_(1.7)
    attention.k_norm.weight.fill_(1.7)
    for group in range(2):
        head = Head(attention, 2 * group)
        for side in (head.query, head.key):
            side.zero_()
            side[MEANING, torch.arange(columns) + group * columns] = 1
        head.query[FLAGS[0], ONE] = 0.6
        head.value.zero_()
        for sign, behind in ((1, BEHIND_QUERY), (-1, BEHIND_DOCUMENT)):
            head.key[FLAGS[0], behind] = sign * 0.6
            head.value[LAST, behind] = sign
        head.out[FOUND, LAST] = 0.4
    mean = Head(attention, 3)
    mean.query.zero_()
    mean.query[FLAGS[0], ONE] = 1
    mean.out.zero_()
    kept = torch.arange(QUERY.stop - QUERY.start)
    mean.value[kept, kept] = 1
    mean.out[QUERY.start + kept, kept] = 1
    _multiply(layer, 0, (FOUND, RARITY), WEIGHED, 0.5)


def _compare(layer: Layer) -> None:
    """One head fetches the document's means; the MLP multiplies them with the query's, column by column."""
    attention = layer.self_attn
    attention.q_norm.weight.fill_(1.5)
    head = Head(attention, 0)
    for part in (head.query, head.key, head.value, head.out):
        part.zero_()
    head.query[FLAGS[0], ONE] = 1
    head.key[FLAGS[0], BEHIND_DOCUMENT] = 1
    head.key[FLAGS[1], ONE] = 0.3
    kept = torch.arange(DOCUMENT.stop - DOCUMENT.start)
    head.value[kept, kept] = 1
    head.out[DOCUMENT.start + kept, kept] = 1
    head.value[LAST, WEIGHED] = 1
    head.out[[COVERED, RESULT], LAST] = 1
    for column in kept.tolist():
        for sign in (1, -1):
            sources = QUERY.start + column, DOCUMENT.start + column
            _multiply(layer, 2 * column + (sign < 0), sources, RESULT, 0.15, sign)


def _multiply(layer: Layer, unit: int, sources: tuple[int, int], result: int, size: float, sign: int = 1) -> None:
    """Sets one unit of the MLP to b * silu(a) of two columns; with its like for the signs reversed that is ab."""
    for linear, source in zip((layer.mlp.gate_proj, layer.mlp.up_proj), sources, strict=True):
        linear.weight[unit] = 0
        linear.weight[unit, source] = sign
    layer.mlp.down_proj.weight[:, unit] = 0
    layer.mlp.down_proj.weight[result, unit] = size
