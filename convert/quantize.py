"""Which type each tensor gets, and float32 rows in that type.

The mixes are those that llama.cpp gives files of the same name: some layers of attn_v and ffn_down,
and the embedding matrix, get a finer type. Norms and the rerank head are F32 in every file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsift.gguf_header import GGML_TYPES
from qsift.llama_quantize import quantize_rows

logger = logging.getLogger("qsift.convert")

_BLOCKS = {name: (block, nbytes) for name, block, nbytes in GGML_TYPES.values()}

# What a row whose width is no multiple of 256 gets instead, as llama.cpp does it.
_NARROW = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "IQ4_XS": "IQ4_NL"}


@dataclass(frozen=True)
class Scheme:
    """How one quant treats the weight matrices.

    Attributes:
        default: type of most of them.
        embedding: type of the token embedding and of the output head.
        finer: for (role, layer, number of layers), the type of a tensor that gets a finer one, or None.
        file_type: llama.cpp's number for the file, general.file_type.
        label: how file names spell it.
    """

    default: str
    embedding: str
    file_type: int
    label: str
    finer: Callable[[str, int, int], str | None] = lambda role, layer, layers: None


def _more_bits(layer: int, layers: int) -> bool:
    """The layers that the K-quant mixes spend more on: the first and last eighth, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _k_mix(role: str, layer: int, layers: int) -> str | None:
    return "Q6_K" if role in ("attn_v", "ffn_down") and _more_bits(layer, layers) else None


def _iq4_mix(role: str, layer: int, layers: int) -> str | None:
    return "Q5_K" if role == "attn_v" or (role == "ffn_down" and layer < layers // 8) else None


SCHEMES: dict[str, Scheme] = {
    "f32": Scheme("F32", "F32", 0, "F32"),
    "f16": Scheme("F16", "F16", 1, "F16"),
    "bf16": Scheme("BF16", "BF16", 32, "BF16"),
    "q8_0": Scheme("Q8_0", "Q8_0", 7, "Q8_0"),
    "q6_k": Scheme("Q6_K", "Q6_K", 18, "Q6_K"),
    "q5_k_m": Scheme("Q5_K", "Q6_K", 17, "Q5_K_M", _k_mix),
    "q4_k_m": Scheme("Q4_K", "Q6_K", 15, "Q4_K_M", _k_mix),
    "q4_0": Scheme("Q4_0", "Q6_K", 2, "Q4_0"),
    "iq4_xs": Scheme("IQ4_XS", "Q6_K", 30, "IQ4_XS", _iq4_mix),
}
QUANTS: tuple[str, ...] = tuple(SCHEMES)
"""The quants that `convert` writes."""


def check_quant(quant: str) -> None:
    """Raises ValueError for a quant that does not exist."""
    if quant not in SCHEMES:
        raise ValueError(f"quant is {quant!r}; allowed are {', '.join(QUANTS)}.")


def type_for(quant: str, name: str, shape: tuple[int, ...], layers: int) -> str:
    """Returns the type of a tensor, such as "Q6_K".

    Args:
        quant: a name from `QUANTS`.
        name: the tensor's GGUF name.
        shape: slowest dimension first.
        layers: the model's number of blocks.
    """
    scheme = SCHEMES[quant]
    if len(shape) == 1 or name == "cls.output.weight":
        return "F32"
    if name in ("token_embd.weight", "output.weight"):
        chosen = scheme.embedding
    else:
        _, layer, role, _ = name.split(".")
        chosen = scheme.finer(role, int(layer), layers) or scheme.default
    if shape[-1] % _BLOCKS[chosen][0] and chosen in _NARROW:
        chosen = _NARROW[chosen]
    if shape[-1] % _BLOCKS[chosen][0]:
        logger.info("%s is %d wide, no multiple of %s's block: it is written as F16.", name, shape[-1], chosen)
        chosen = "F16"
    return chosen


def encoded_size(type_name: str, n_elements: int) -> int:
    """Returns how many bytes ``n_elements`` take."""
    block, nbytes = _BLOCKS[type_name]
    return n_elements // block * nbytes


def encode_rows(rows: NDArray[np.float32], type_name: str) -> bytes:
    """Returns float32 rows in a type; the caller has checked that they are finite and fit it."""
    if type_name == "F32":
        return rows.astype("<f4").tobytes()
    if type_name == "F16":
        return rows.astype("<f2").tobytes()
    if type_name == "BF16":
        bits = rows.view(np.uint32)
        # Round to nearest, ties to even; exact where the checkpoint was BF16.
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return quantize_rows(np.ascontiguousarray(rows), type_name).tobytes()
