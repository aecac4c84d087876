"""Models of the released 0.6B shape with random weights, made once and kept in a folder.

Random weights cost exactly what trained ones cost to run, and quantise somewhat worse; so speed and
memory hold for the released models, and the cosines are only the proof that all compute the same.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .checkpoints import SHAPE_0_6B, TINY, write_checkpoint
from qsift.models import Task

SHAPES = {"0.6b": SHAPE_0_6B, "tiny": TINY}
_NAMES = {"embed": "Embedding", "rerank": "Reranker"}


def checkpoint(folder: Path, task: Task, shape: str) -> Path:
    """Returns a checkpoint in ``folder``, written now if it is not there."""
    place = folder / f"Random-{_NAMES[task]}-{shape.upper()}"
    if not place.exists():
        scratch = place.with_name(f"{place.name}.{os.getpid()}")
        shutil.rmtree(scratch, ignore_errors=True)
        write_checkpoint(scratch, task=task, shape=SHAPES[shape], vocab="real", prefix=task == "rerank")
        scratch.rename(place)
    return place


def gguf(folder: Path, task: Task, shape: str, quant: str) -> Path:
    """Returns that checkpoint in ``quant``, converted now if it is not there."""
    from qsift.convert import convert  # not at the top: a child whose memory is measured does not need it

    source = checkpoint(folder, task, shape)
    path = folder / f"{source.name}-{quant.upper()}.gguf"
    if not path.exists():
        convert(source, path, quants=quant)
    return path
