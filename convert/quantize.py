"""A plan: the tensors of a GGUF and the type that each is written in, by the schemes of `qsift.models`.

Pure decisions: nothing here reads or encodes a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from .config import Config
from .tensors import Tensor
from qsift.models import SCHEMES, encoded_bytes


@dataclass(frozen=True)
class Encoded:
    """A tensor and the type that it is written in.

    Attributes:
        tensor: the tensor.
        type_name: such as "Q6_K".
        importance: float32 (columns,), how much an error in each column counts; None where nothing is known.
    """

    tensor: Tensor
    type_name: str
    importance: NDArray[np.float32] | None = None

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


def make_plan(tensors: Iterable[Tensor], config: Config, quant: str, *, weighted: bool = False) -> Plan:
    """Returns the tensors with the types that ``quant`` gives them, in the same order.

    Args:
        tensors: what the file will hold.
        config: the checkpoint's.
        quant: a name from SCHEMES.
        weighted: whether an importance matrix will be used, which some mixes go by.
    """
    scheme = SCHEMES[quant]
    kinds = ((tensor, scheme.type_of(tensor.name, tensor.shape, config, weighted=weighted)) for tensor in tensors)
    return tuple(Encoded(tensor, kind) for tensor, kind in kinds)


def with_importance(plan: Plan, importance_of: Callable[[str], NDArray[np.float32] | None]) -> Plan:
    """Returns the plan with what ``importance_of`` gives for each tensor's name."""
    return tuple(replace(item, importance=importance_of(item.name)) for item in plan)
