"""SCHEMES: which type each weight gets under each quant.

The mixes are those that users know by these names from llama.cpp, so a file weighs and behaves as
its name promises. Pure decisions: nothing here reads or encodes a weight.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from .gguf_header import GGML_TYPES
from .specs import Shape
from .weights import HEAD_WEIGHT

logger = logging.getLogger("qsift.quants")

BLOCKS: dict[str, tuple[int, int]] = {name: (width, nbytes) for name, width, nbytes in GGML_TYPES.values()}
"""(elements, bytes) of a block by type."""

Where = Callable[[int, Shape], bool]


def _sensitive(layer: int, model: Shape) -> bool:
    """The first and the last eighth, and every third layer between: llama.cpp's use_more_bits."""
    eighth = model.num_hidden_layers // 8
    return layer < eighth or layer >= 7 * model.num_hidden_layers // 8 or (layer - eighth) % 3 == 2


def _first_eighth(layer: int, model: Shape) -> bool:
    return layer < model.num_hidden_layers // 8


def _shared_values(_layer: int, model: Shape) -> bool:
    """Four or more query heads share each value head, so its errors count more and its bits cost less."""
    return model.num_attention_heads // model.num_key_value_heads >= 4


@dataclass(frozen=True)
class Scheme:
    """Which types a quant is made of.

    Attributes:
        file_type: llama.cpp's enum llama_ftype, for ``general.file_type``.
        matrices: type of the weight matrices.
        embedding: type of the embedding matrix.
        better: by kind of matrix, the type it gets in some layers, and in which.
    """

    file_type: int
    matrices: str
    embedding: str
    better: Mapping[str, tuple[str, Where]] = field(default_factory=dict)

    def type_of(self, name: str, shape: tuple[int, ...], model: Shape) -> str:
        """Returns the type of the weight that a GGUF of ``model`` calls ``name``, such as "Q6_K"."""
        if len(shape) < 2 or name == HEAD_WEIGHT:
            return "F32"
        if name == "token_embd.weight":
            # As llama.cpp: an embedding that does not fit the blocks of the matrices goes to 8 bits.
            fits = shape[-1] % BLOCKS[self.matrices][0] == 0
            return _fitting(self.embedding if fits else "Q8_0", name, shape[-1])
        chosen = self.matrices
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
        if match and match[2] in self.better:
            better, where = self.better[match[2]]
            chosen = better if where(int(match[1]), model) else chosen
        return _fitting(chosen, name, shape[-1])


SCHEMES: dict[str, Scheme] = {
    "f32": Scheme(0, "F32", "F32"),
    "f16": Scheme(1, "F16", "F16"),
    "bf16": Scheme(32, "BF16", "BF16"),
    "q8_0": Scheme(7, "Q8_0", "Q8_0"),
    "q6_k": Scheme(18, "Q6_K", "Q6_K"),
    "q5_k_m": Scheme(17, "Q5_K", "Q6_K", {"attn_v": ("Q6_K", _sensitive), "ffn_down": ("Q6_K", _sensitive)}),
    "q4_k_m": Scheme(15, "Q4_K", "Q6_K", {"attn_v": ("Q6_K", _sensitive), "ffn_down": ("Q6_K", _sensitive)}),
    "q4_0": Scheme(2, "Q4_0", "Q6_K"),
    "iq4_xs": Scheme(30, "IQ4_XS", "Q6_K", {"attn_v": ("Q5_K", _shared_values), "ffn_down": ("Q5_K", _first_eighth)}),
}
"""The quants by name. Source of the mixes: llama.cpp's src/llama-quant.cpp, for models like these."""

_FALLBACKS = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0", "IQ4_XS": "IQ4_NL"}


def _fitting(chosen: str, name: str, columns: int) -> str:
    """Returns ``chosen``, or the type that llama.cpp takes where the rows are no multiple of its blocks."""
    for candidate in (chosen, _FALLBACKS.get(chosen, "F16"), "F16"):
        if columns % BLOCKS[candidate][0] == 0:
            if candidate != chosen:
                logger.info("%s: rows of %d do not fit %s; %s.", name, columns, chosen, candidate)
            return candidate
    raise AssertionError("F16 has blocks of one element")


def encoded_bytes(shape: tuple[int, ...], type_name: str) -> int:
    """Returns the size of a weight of ``shape`` in a type, without padding."""
    width, nbytes = BLOCKS[type_name]
    return prod(shape) // width * nbytes


def largest_share(quant: str) -> float:
    """Returns how large a file in a quant is at most, as a share of the same weights in 16 bits."""
    scheme = SCHEMES[quant]
    kinds = (scheme.matrices, scheme.embedding, *(kind for kind, _ in scheme.better.values()))
    return max(8 * nbytes / width for width, nbytes in map(BLOCKS.__getitem__, kinds)) / 16


def checked_quants(quants: str | Iterable[str]) -> tuple[str, ...]:
    """Returns the names of quants in lower case, each once.

    Raises:
        ValueError: there is none, or one is unknown; the message lists the known ones.
    """
    names = tuple(dict.fromkeys(str(q).strip().lower() for q in ((quants,) if isinstance(quants, str) else quants)))
    unknown = [name for name in names if name not in SCHEMES]
    if unknown or not names:
        found = f"unknown: {', '.join(map(repr, unknown))}" if unknown else "none given"
        raise ValueError(f"quants: {found}. Allowed are {', '.join(SCHEMES)}.")
    return names
