"""The accelerator's attention alone, against the same in float64."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qsift.engine.llama.accelerator import Declined, load

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]

CALLS: dict[str, dict[str, int]] = {
    "one query": {"queries": 1, "cells": 77},
    "one cell": {"queries": 3, "cells": 1},
    "a tile and one more": {"queries": 33, "cells": 65},
    "less than a block": {"queries": 7, "cells": 96, "heads": 8, "kv_heads": 2},
    "many blocks": {"queries": 300, "cells": 512, "heads": 4, "kv_heads": 2},
    "a group of three": {"queries": 50, "cells": 130, "heads": 6, "kv_heads": 2},
    "every head its own": {"queries": 70, "cells": 200, "heads": 3, "kv_heads": 3},
    "narrow heads": {"queries": 40, "cells": 100, "width": 32},
    "wide heads": {"queries": 70, "cells": 300, "width": 256},
}


@pytest.fixture(params=[pytest.param(False, id="float32"), pytest.param(True, id="bfloat16")])
def bf16(request: pytest.FixtureRequest) -> bool:
    try:
        load()
    except Declined as reason:
        pytest.skip(str(reason))
    return bool(request.param)


def attended(bf16: bool, q: Floats, k: Halves, v: Halves, mask: Halves | None, *, scale: float) -> Floats:
    """Returns (queries, heads, width) by the accelerator."""
    out = np.full(q.shape, np.nan, np.float32)
    function = load().handle.qsift_accel_attend
    function.restype = ctypes.c_bool
    function.argtypes = [
        ctypes.c_bool,
        *[ctypes.c_void_p] * 5,
        *[ctypes.c_int64] * 5,
        ctypes.c_float,
        ctypes.c_int,
    ]
    pointers = [None if part is None else part.ctypes.data for part in (q, k, v, mask, out)]
    if not function(bf16, *pointers, len(q), len(k), q.shape[1], k.shape[1], q.shape[2], scale, 2):
        pytest.skip("this CPU has no kernel for bfloat16")
    return out


def expected(q: Floats, k: Halves, v: Halves, mask: Halves | None, *, scale: float) -> NDArray[np.float64]:
    """Returns the same in float64; zeros where a query sees nothing."""
    group = q.shape[1] // k.shape[1]
    keys, values = (np.repeat(part.astype(np.float64), group, axis=1) for part in (k, v))
    scores = np.einsum("qhd,chd->hqc", q.astype(np.float64), keys) * scale
    if mask is not None:
        scores += mask.astype(np.float64)
    largest = scores.max(axis=2, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(largest), largest, 0))
    weights /= np.maximum(weights.sum(axis=2, keepdims=True), 1e-300)
    return np.asarray(np.einsum("hqc,chd->qhd", weights, values))


def inputs(
    *, queries: int, cells: int, heads: int = 4, kv_heads: int = 2, width: int = 128
) -> tuple[Floats, Halves, Halves]:
    generator = np.random.default_rng(queries * cells + width)

    def drawn(*shape: int) -> Any:
        return generator.standard_normal(shape).astype(np.float32)

    k, v = (drawn(cells, kv_heads, width).astype(np.float16) for _ in range(2))
    return drawn(queries, heads, width) * 3, k, v


def bound(bf16: bool) -> float:
    """Returns what sums in float32, or products in bfloat16, may be off by, of values of about one."""
    return 0.03 if bf16 else 3e-5


@pytest.mark.parametrize("call", CALLS)
def test_attention_is_what_it_is_in_float64(call: str, bf16: bool) -> None:
    q, k, v = inputs(**CALLS[call])
    scale = q.shape[2] ** -0.5
    off = attended(bf16, q, k, v, None, scale=scale) - expected(q, k, v, None, scale=scale)
    assert np.abs(off).max() < bound(bf16), np.abs(off).max()


@pytest.mark.parametrize("call", CALLS)
def test_hidden_cells_count_for_nothing(call: str, bf16: bool) -> None:
    q, k, v = inputs(**CALLS[call])
    generator = np.random.default_rng(1)
    owners, askers = (
        np.sort(generator.integers(0, 4, count)) for count in (len(k), len(q))
    )  # texts that share a cache
    hidden = (owners != askers[:, None]) | (generator.random((len(q), len(k))) < 0.2)
    mask = np.where(hidden, -np.inf, 0).astype(np.float16)
    poisoned = v.copy()
    poisoned[hidden.all(axis=0)] = 60000  # and NaN would hide behind no weight of zero, as in every kernel
    scale = q.shape[2] ** -0.5
    off = attended(bf16, q, k, poisoned, mask, scale=scale) - expected(q, k, v, mask, scale=scale)
    assert np.abs(off).max() < bound(bf16), np.abs(off).max()


def test_large_scores_stay_finite(bf16: bool) -> None:
    q, k, v = inputs(queries=40, cells=100)
    out = attended(bf16, q * 1000, k * np.float16(100), v, None, scale=1.0)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= np.abs(v.astype(np.float32)).max() * 1.01
