"""The largest weight of every tensor: finds NaN and Inf, and what does not fit into F16."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .checkpoint import listed
from .parallel import in_order
from .quantize import Encoded, Plan

_LARGEST_F16 = 65504.0
_WIDE = ("F32", "BF16")
"""The types without an F16 in them; all others hold weights, or the scales of weights, in F16."""


def value_problems(plans: Mapping[str, Plan], advance: Callable[[int], object]) -> list[str]:
    """Returns a sentence for weights that are not finite, and for each quant that cannot hold them.

    Args:
        plans: the plans by quant, all over the same tensors.
        advance: called with the number of bytes whenever some were read.
    """
    largest: dict[str, float] = {}
    pieces = [(item, chunk) for item in next(iter(plans.values())) for chunk in item.chunks()]
    for (item, _), (value, nbytes) in zip(pieces, in_order(_largest, pieces), strict=True):
        largest[item.name] = max(value, largest.get(item.name, 0.0))
        advance(nbytes)
    broken = [name for name, value in largest.items() if value == float("inf")]
    if broken:
        return [f"{listed(broken)}: there are NaN or Inf among the weights. The training broke or the file is damaged."]
    problems = []
    for quant, plan in plans.items():
        beyond = [item.name for item in plan if item.type_name not in _WIDE and largest[item.name] > _LARGEST_F16]
        if beyond:
            top = max(largest[name] for name in beyond)
            problems.append(
                f"{listed(beyond)}: weights up to {top:g} do not fit {quant}, "
                f"whose F16 numbers end at {_LARGEST_F16:g}. Use bf16."
            )
    return problems


def _largest(piece: tuple[Encoded, tuple[int, int]]) -> tuple[float, int]:
    item, (start, stop) = piece
    rows = item.tensor.rows
    return rows.largest(start, stop), rows.nbytes * (stop - start) // item.n_rows
