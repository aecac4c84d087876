"""What both trainings share: AdamW under a rate that rises and falls, and a line of progress. No losses here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 40
"""Steps over which the rate rises."""


def rate(step: int, progress: float) -> float:
    """Returns the share of the learning rate: a short rise, then half a cosine over ``progress`` from 0 to 1."""
    return min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)


def train(
    model: nn.Module,
    losses: Callable[[], tuple[Tensor, ...]],
    score: Callable[[], str],
    *,
    steps: int,
    highest: float,
    every: int = 100,
    seconds: float = math.inf,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Trains a model in place, in bfloat16 with float32 weights.

    Args:
        model: what is trained.
        losses: draws a batch and returns its losses, which are added up.
        score: returns how good the model is, for the line that is printed.
        steps: batches, at most.
        highest: learning rate.
        every: steps between two lines.
        seconds: of training with its lines, at most.
        after: called after each step.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    device = next(model.parameters()).device.type
    started, step, seen = time.perf_counter(), 0, list[Tensor]()
    while (progress := max(step / steps, (time.perf_counter() - started) / seconds)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = highest * rate(step, progress)
        if step % every == 0:
            _report(step, started, seen, score())
            seen = []
        with torch.autocast(device, torch.bfloat16):
            parts = losses()
        optimizer.zero_grad()
        found: Any = torch.stack(parts)  # torch leaves `backward` untyped
        found.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append(found.detach())
        after()
        step += 1
    _report(step, started, seen, score())


def _report(step: int, started: float, seen: list[Tensor], score: str) -> None:
    means = ", ".join(f"{mean:.3f}" for mean in torch.stack(seen).mean(0).tolist()) if seen else "-"
    print(f"step {step}, {time.perf_counter() - started:.0f} s, losses {means}, {score}", flush=True)
