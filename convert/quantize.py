"""A plan: the tensors of a GGUF and the type that each is written in, by the schemes of `qsift.models`.

Pure decisions: nothing here reads or encodes a weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from .config import Config
from .tensors import Tensor
from qsift.models import SCHEMES, encoded_bytes


@dataclass(frozen=True)
class Encoded:
    """A tensor and the type that it is written in.

    Attributes:
        tensor: the tensor.
        type_name: such as "Q6_K".
    """

    tensor: Tensor
    type_name: str

    @property
    def name(self) -> str:
        """The tensor's name in the GGUF."""
        return self.tensor.name

    @property
    def row_bytes(self) -> int:
        """Size of an encoded row."""
        return encoded_bytes(self.tensor.shape[-1:], self.type_name)

    @property
    def n_rows(self) -> int:
        """Number of rows; a vector is one."""
        return prod(self.tensor.shape[:-1])

    @property
    def nbytes(self) -> int:
        """Size in the file, without padding."""
        return encoded_bytes(self.tensor.shape, self.type_name)

    def chunks(self) -> list[tuple[int, int]]:
        """Returns (start, stop) of the pieces that are encoded at once: whole rows, about 262,144 weights."""
        step = max(1, (1 << 18) // self.tensor.shape[-1])
        return [(start, min(start + step, self.n_rows)) for start in range(0, self.n_rows, step)]


Plan = tuple[Encoded, ...]


def make_plan(tensors: Iterable[Tensor], config: Config, quant: str) -> Plan:
    """Returns the tensors with the types that ``quant`` gives them, in the same order."""
    scheme = SCHEMES[quant]
    return tuple(Encoded(tensor, scheme.type_of(tensor.name, tensor.shape, config)) for tensor in tensors)
