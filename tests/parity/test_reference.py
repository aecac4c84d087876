"""transformers agrees with our reference; everything else is held against the reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from qsift.bench.reference import Reference

GENERATOR = np.random.default_rng(0)
SEQUENCES = [GENERATOR.integers(0, 280, n).tolist() for n in (1, 2, 7, 40, 130)]


@pytest.mark.parametrize(
    "name", ["embed", "embed-prefix-sharded", "embed-f16", "rerank", "rerank-untied", "embed-wide"]
)
def test_transformers_computes_what_the_reference_computes(checkpoint: Callable[[str], Path], name: str) -> None:
    folder = checkpoint(name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    reference = Reference(folder)
    with torch.no_grad():
        states = [model.model(torch.tensor([ids])).last_hidden_state[0, -1] for ids in SEQUENCES]
        logits = [model(torch.tensor([ids])).logits[0, -1] for ids in SEQUENCES]
    theirs = torch.nn.functional.normalize(torch.stack(states), dim=1).numpy()
    difference = np.abs(theirs - reference.embed(SEQUENCES)).max()
    assert difference < 2e-6, f"vectors differ by {difference}"
    words = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    scores = np.array([float(row[words["yes"]] - row[words["no"]]) for row in logits])
    if name != "embed-f16":  # its head is no part of the embedding model
        assert np.abs(scores - reference.score(SEQUENCES)).max() < 2e-5
