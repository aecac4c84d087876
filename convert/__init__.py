"""Hugging Face checkpoints of Qwen3-Embedding and Qwen3-Reranker to GGUF.

load → plan → encode → write → verify; every problem with a checkpoint is found before the first
byte is written, and an output has its name only when it is whole and was compared.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qsift.errors import ConversionError
from qsift.specs import TASKS, Task

from .checkpoint import Checkpoint
from .config import ModelConfig
from .evidence import decide_task
from .gguf_file import replacing, write_gguf
from .metadata import file_name, metadata_of
from .quantize import QUANTS, check_quant
from .tensors import PlannedTensor, plan_tensors
from .verify import verify
from .vocab import Vocabulary

__all__ = ["QUANTS", "convert"]


def convert(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    quants: Iterable[str] | str = ("q8_0",),
    task: Task | None = None,
    force: bool = False,
    show_progress_bar: bool = False,
) -> list[Path]:
    """Converts a checkpoint and returns the files written, in the order of ``quants``.

    Args:
        checkpoint: folder with config.json, tokenizer.json and safetensors.
        out: a folder, or for a single quant a path that ends in .gguf; None means the current folder.
        quants: names from `QUANTS`, as a list or a text with commas.
        task: "embed" or "rerank"; None reads it from the checkpoint's modules.json and asks where
            that does not say.
        force: whether an output that exists is replaced.
        show_progress_bar: whether to draw one on stderr.

    Raises:
        ConversionError: the checkpoint or the output will not do; carries every problem.
        ValueError: a quant or a task that does not exist.
    """
    names = [name.strip().lower() for name in (quants.split(",") if isinstance(quants, str) else quants)]
    for name in names:
        check_quant(name)
    if not names:
        raise ValueError(f"No quant is named; allowed are {', '.join(QUANTS)}.")
    if task not in (None, *TASKS):
        raise ValueError(f"task is {task!r}; allowed are {', '.join(TASKS)}.")
    problems: list[str] = []
    source = Checkpoint.open(checkpoint, problems)
    config = ModelConfig.read(source.config, problems)
    decided = decide_task(source.folder, task, problems)
    vocabulary = Vocabulary.read(source.folder, config, problems)
    targets = _targets(out, source, names, force, problems)
    if config is None or decided is None or vocabulary is None:
        raise ConversionError(problems)
    plans = {name: plan_tensors(source, config, vocabulary, decided, name, problems) for name in targets}
    if not problems:
        _check_space(targets, plans, vocabulary, problems)
    if problems:
        raise ConversionError(dict.fromkeys(problems))
    with _progress_bar(sum(t.n_elements for plan in plans.values() for t in plan), show_progress_bar) as bar:
        for name, target in targets.items():
            with replacing(target) as scratch:
                write_gguf(scratch, metadata_of(source, config, decided, name), vocabulary, plans[name], bar.update)
                verify(scratch, plans[name], name)
    return list(targets.values())


def _targets(
    out: str | os.PathLike[str] | None, source: Checkpoint, quants: list[str], force: bool, problems: list[str]
) -> dict[str, Path]:
    place = Path(out) if out is not None else Path.cwd()
    if place.suffix == ".gguf":
        if len(set(quants)) > 1:
            problems.append(f"{place} is one file, but {len(quants)} quants are to be written. Name a folder.")
        targets = {quants[0]: place}
    else:
        targets = {quant: place / file_name(source, quant) for quant in quants}
    for target in targets.values():
        if target.exists() and not force:
            problems.append(f"{target} exists. Choose another place, or pass force=True (--force) to replace it.")
        if target.is_dir():
            problems.append(f"{target} is a folder. Choose another place.")
    return targets


def _check_space(
    targets: dict[str, Path],
    plans: dict[str, list[PlannedTensor]],
    vocabulary: Vocabulary,
    problems: list[str],
) -> None:
    folder = next(iter(targets.values())).absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        problems.append(f"{folder} cannot be written to: {error.strerror}.")
        return
    needed = sum(sum(tensor.nbytes for tensor in plans[name]) + vocabulary.nbytes for name in targets)
    if needed > free:
        problems.append(f"{folder} has {free / 1e9:.2f} GB free; {needed / 1e9:.2f} GB are needed.")


def _progress_bar(total: int, show: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit=" weights", unit_scale=True, disable=not show, dynamic_ncols=True)
