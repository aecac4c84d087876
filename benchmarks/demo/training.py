"""What both trainings share: AdamW under a rate that rises and falls, and a line of progress. No losses here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WARM_UP = 40
"""Steps over which the rate rises."""


def rate(step: int, steps: int) -> float:
    """Returns the share of the learning rate: a short rise, then half a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)


def train(
    model: nn.Module,
    losses: Callable[[], tuple[Tensor, ...]],
    score: Callable[[], str],
    *,
    steps: int,
    highest: float,
    every: int = 100,
) -> None:
    """Trains a model in place, in bfloat16 with float32 weights.

    Args:
        model: what is trained.
        losses: draws a batch and returns its losses, which are added up.
        score: returns how good the model is, for the line that is printed.
        steps: batches.
        highest: learning rate.
        every: steps between two lines.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    started = time.perf_counter()
    seen: list[list[float]] = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = highest * rate(step, steps)
        if step % every == 0:
            _report(step, started, seen, score())
            seen = []
        with torch.autocast("cpu", torch.bfloat16):
            parts = losses()
        optimizer.zero_grad()
        loss: Any = torch.stack(parts).sum()  # torch leaves `backward` untyped
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append([part.item() for part in parts])
    _report(steps, started, seen, score())


def _report(step: int, started: float, seen: list[list[float]], score: str) -> None:
    means = ", ".join(f"{mean:.3f}" for mean in np.mean(seen, axis=0)) if seen else "-"
    print(f"step {step}, {time.perf_counter() - started:.0f} s, losses {means}, {score}", flush=True)
