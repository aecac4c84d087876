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
Mix = Mapping[str, tuple[tuple[str, Where], ...]]


def _sensitive(layer: int, model: Shape) -> bool:
    """The first and the last eighth, and every third layer between: llama.cpp's use_more_bits."""
    eighth = model.num_hidden_layers // 8
    return layer < eighth or layer >= 7 * model.num_hidden_layers // 8 or (layer - eighth) % 3 == 2


def _first_eighth(layer: int, model: Shape) -> bool:
    return layer < model.num_hidden_layers // 8


def _first_sixteenth(layer: int, model: Shape) -> bool:
    return layer < model.num_hidden_layers // 16


def _first_two(layer: int, _model: Shape) -> bool:
    return layer < 2


def _everywhere(_layer: int, _model: Shape) -> bool:
    return True


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
        better: by kind of matrix, the type it gets in some layers, and in which; the first that holds counts.
        weighted: what takes the place of ``better`` in a file that is made with an importance matrix; None if nothing.
    """

    file_type: int
    matrices: str
    embedding: str
    better: Mix = field(default_factory=dict)
    weighted: Mix | None = None

    def type_of(self, name: str, shape: tuple[int, ...], model: Shape, *, weighted: bool = False) -> str:
        """Returns the type of the weight that a GGUF of ``model`` calls ``name``, such as "Q6_K".

        Args:
            name: of the weight.
            shape: as torch has it.
            model: the model's sizes.
            weighted: whether an importance matrix is used.
        """
        if len(shape) < 2 or name == HEAD_WEIGHT:
            return "F32"
        if name == "token_embd.weight":
            # As llama.cpp: an embedding that does not fit the blocks of the matrices goes to 8 bits.
            fits = shape[-1] % BLOCKS[self.matrices][0] == 0
            return _fitting(self.embedding if fits else "Q8_0", name, shape[-1])
        mix = self.weighted if weighted and self.weighted is not None else self.better
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
        rules = mix.get(match[2], ()) if match else ()
        chosen = next((kind for kind, where in rules if match and where(int(match[1]), model)), self.matrices)
        return _fitting(chosen, name, shape[-1])

    @property
    def types(self) -> set[str]:
        """All types that it may give to a matrix whose rows fit their blocks."""
        mixes = (self.better, self.weighted or {})
        return {self.matrices, self.embedding, *(kind for mix in mixes for rules in mix.values() for kind, _ in rules)}


_SENSITIVE: Mix = {kind: (("Q6_K", _sensitive),) for kind in ("attn_v", "ffn_down")}
_SHARED_VALUES: Mix = {"attn_v": (("Q5_K", _shared_values),)}
_IQ4: Mix = {**_SHARED_VALUES, "ffn_down": (("Q5_K", _first_eighth),)}
_Q3: Mix = {
    "attn_v": (("Q5_K", _first_two), ("Q4_K", _everywhere)),
    "attn_output": (("Q4_K", _everywhere),),
    "ffn_down": (("Q5_K", _first_sixteenth), ("Q4_K", _everywhere)),
}
_IQ3: Mix = {
    "attn_v": (("Q4_K", _everywhere),),
    "attn_output": (("Q4_K", _everywhere),),
    "ffn_down": (("Q4_K", _first_eighth),),
}

SCHEMES: dict[str, Scheme] = {
    "f32": Scheme(0, "F32", "F32"),
    "f16": Scheme(1, "F16", "F16"),
    "bf16": Scheme(32, "BF16", "BF16"),
    "q8_0": Scheme(7, "Q8_0", "Q8_0"),
    "q6_k": Scheme(18, "Q6_K", "Q6_K"),
    "q5_k_m": Scheme(17, "Q5_K", "Q6_K", _SENSITIVE),
    "q4_k_m": Scheme(15, "Q4_K", "Q6_K", _SENSITIVE),
    "iq4_nl": Scheme(25, "IQ4_NL", "Q6_K", _IQ4, weighted=_SHARED_VALUES),
    "q4_0": Scheme(2, "Q4_0", "Q6_K", weighted={"ffn_down": (("Q4_1", _first_eighth),)}),
    "iq4_xs": Scheme(30, "IQ4_XS", "Q6_K", _IQ4, weighted=_SHARED_VALUES),
    "q3_k_m": Scheme(12, "Q3_K", "Q6_K", _Q3),
    "iq3_m": Scheme(27, "IQ3_S", "Q6_K", _IQ3),
}
"""The quants by name. Source of the mixes: llama.cpp's src/llama-quant.cpp, for models like these."""

_FALLBACKS = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0", "IQ4_XS": "IQ4_NL", "Q3_K": "Q4_0", "IQ3_S": "IQ4_NL"}


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
    return max(8 * nbytes / width for width, nbytes in map(BLOCKS.__getitem__, SCHEMES[quant].types)) / 16


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
