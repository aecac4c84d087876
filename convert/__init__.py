"""Checkpoint → GGUF. `convert` reads as its own summary; each step is a file beside this one:

- source.py reads the checkpoint through config.py, checkpoint.py, vocab.py, evidence.py, tensors.py, and how a
  reranker sees a pair through rerank_template.py, which renders with chat_template.py;
- quantize.py, magnitudes.py and outputs.py decide what will be written and whether it may and can be;
- metadata.py, gguf_file.py and ggml.py write it; verify.py compares it with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from tqdm import tqdm

from .config import Config
from .evidence import check_task, find_task
from .gguf_file import replacing, write_gguf
from .magnitudes import value_problems
from .metadata import general_keys, manifest_of, model_keys, quant_keys, template_keys
from .outputs import output_paths, output_problems
from .quantize import make_plan
from .rerank_template import find_rerank_template
from .source import Source
from .verify import verify
from .vocab import Vocabulary
from qsift.errors import ConversionError
from qsift.models import SCHEMES, Task, checked_quants

QUANTS: tuple[str, ...] = tuple(SCHEMES)
"""The quants that `convert` can make, from the largest to the smallest."""

__all__ = ["QUANTS", "check_checkpoint", "convert"]


def convert(
    checkpoint: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    quants: str | Iterable[str] = ("q8_0",),
    task: Task | None = None,
    force: bool = False,
    show_progress_bar: bool = False,
) -> list[Path]:
    """Returns the GGUF files made from a Qwen3-Embedding or Qwen3-Reranker checkpoint.

    Each file is compared with the checkpoint, weight by weight, before it gets its name: whatever
    interrupts the conversion, there is never half a file under it. A checkpoint of 8 GB is converted
    in well under 2 GB of memory.

    Args:
        checkpoint: the folder with config.json, tokenizer.json and the safetensors files.
        out: a folder, made if it is not there, for files such as Qwen3-Embedding-0.6B-Q8_0.gguf; or,
            for one quant, the path of a .gguf file. None is the current folder.
        quants: names from `QUANTS`; one file is made for each.
        task: "embed" or "rerank" for a checkpoint that does not say what it is for; None goes by
            the checkpoint.
        force: replace files that exist.
        show_progress_bar: on stderr, in bytes read and written.

    Returns:
        The paths, in the order of ``quants``.

    Raises:
        ConversionError: the checkpoint or the place is unfit; carries every problem found.
        ValueError: an unknown quant or task, or one .gguf path for several quants.
        EngineError: llama.cpp's library, which encodes the weights, does not load.
    """
    quants = checked_quants(quants)
    check_task(task)
    source = Source.read(Path(checkpoint), task)
    plans = {quant: make_plan(source.tensors, source.config, quant) for quant in quants}
    paths = output_paths(out, source.name, quants)
    _raise_if(output_problems(paths, plans, force=force))
    n_bytes = sum(t.rows.nbytes for t in source.tensors) + 2 * sum(i.nbytes for plan in plans.values() for i in plan)
    with tqdm(total=n_bytes, unit="B", unit_scale=True, disable=not show_progress_bar) as bar:
        bar.set_description("checking")
        _raise_if(value_problems(plans, bar.update))
        for quant, path in paths.items():
            bar.set_description(path.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            manifest = manifest_of(quant, source.task, source.instruction, source.template, source.labels)
            keys = {
                **general_keys(source.folder, source.name, source.tensors, source.task),
                **model_keys(source.config, source.task),
                **quant_keys(manifest),
                **source.vocabulary.keys(source.task),
                **template_keys(manifest),
            }
            with replacing(path) as scratch:
                write_gguf(scratch, keys, plans[quant], bar.update)
                verify(scratch, plans[quant], source.task, bar.update)
    return list(paths.values())


def check_checkpoint(checkpoint: str | PathLike[str], task: Task | None = None) -> Task:
    """Returns what a checkpoint is for, going by its small files alone; the weights need not be there yet.

    Args:
        checkpoint: the folder with config.json.
        task: as for `convert`.

    Raises:
        ConversionError: it cannot be converted whatever its weights are, or says nothing of its task.
        ValueError: an unknown task.
    """
    check_task(task)
    folder = Path(checkpoint)
    config = Config.read(folder)
    found = find_task(folder, config, task)
    if found == "rerank":
        find_rerank_template(folder, config, Vocabulary.read(folder))
    return found


def _raise_if(problems: list[str]) -> None:
    if problems:
        raise ConversionError(problems)
