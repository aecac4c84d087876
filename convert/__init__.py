"""Checkpoint → GGUF. `convert` reads as its own summary; each step is a file beside this one:

- source.py reads the checkpoint through config.py, checkpoint.py, vocab.py, evidence.py, tensors.py, merges a LoRA
  adapter into it through adapter_config.py and adapter.py, and finds how a reranker sees a pair through
  rerank_template.py, which renders with chat_template.py;
- quantize.py, magnitudes.py and outputs.py decide what will be written and whether it may and can be;
- calibration.py measures which weights count, into a matrix of imatrix.py, where that is asked for;
- metadata.py, gguf_file.py and ggml.py write it; verify.py compares it with the checkpoint.

`differences` (against.py) compares a file that somebody else made with the small files of its model.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .adapter_config import refuse_adapter
from .against import Difference, differences
from .calibration import QUANT, Measurement, Texts, read_texts
from .config import Config
from .evidence import check_task, find_task
from .gguf_file import replacing, write_gguf
from .imatrix import Imatrix, fit_problems, read_imatrix
from .magnitudes import value_problems
from .metadata import general_keys, model_keys, quant_keys, read_card, template_keys
from .outputs import output_paths, output_problems
from .quantize import make_plan, with_importance
from .rerank_template import find_rerank_template
from .source import Source
from .verify import verify
from .vocab import Vocabulary
from qsift.errors import ConversionError
from qsift.models import SCHEMES, Task, checked_quants

QUANTS: tuple[str, ...] = tuple(SCHEMES)
"""The quants that `convert` can make, from the largest to the smallest."""

__all__ = ["QUANTS", "Difference", "check_checkpoint", "convert", "differences", "read_card"]


def convert(
    checkpoint: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    base: str | PathLike[str] | None = None,
    quants: str | Iterable[str] = ("q8_0",),
    task: Task | None = None,
    force: bool = False,
    imatrix: str | PathLike[str] | Iterable[str | PathLike[str]] | None = None,
    imatrix_file: str | PathLike[str] | None = None,
    show_progress_bar: bool = False,
) -> list[Path]:
    """Returns the GGUF files made from a Qwen3-Embedding or Qwen3-Reranker checkpoint, or from a LoRA adapter of one.

    Each file is compared with the checkpoint, weight by weight, before it gets its name: whatever
    interrupts the conversion, there is never half a file under it. A checkpoint of 8 GB is converted
    in well under 2 GB of memory.

    Args:
        checkpoint: the folder with config.json, tokenizer.json and the safetensors files; with ``base``, the folder
            of a LoRA adapter that PEFT saved, with adapter_config.json and adapter_model.safetensors.
        out: a folder, made if it is not there, for files such as Qwen3-Embedding-0.6B-Q8_0.gguf; or,
            for one quant, the path of a .gguf file. None is the current folder.
        base: the checkpoint that the adapter was trained on, into which it is merged in float32. The adapter's own
            tokenizer.json, modules.json, config_sentence_transformers.json and README.md win over the checkpoint's.
        quants: names from `QUANTS`; one file is made for each.
        task: "embed" or "rerank" for a checkpoint that does not say what it is for; None goes by
            the checkpoint.
        force: replace files that exist.
        imatrix: text files over which to measure how much each column of a weight counts, or "auto" for
            the package's own texts in many languages. K and IQ quants of few bits mostly lose less with it. The
            matrix is kept beside the outputs, as MODEL.imatrix.gguf.
        imatrix_file: such a file, or one that llama.cpp's own tool made, to use instead.
        show_progress_bar: on stderr, in bytes read and written.

    Returns:
        The paths, in the order of ``quants``.

    Raises:
        ConversionError: the checkpoint, the adapter or the place is unfit; carries every problem found.
        ValueError: an unknown quant or task, one .gguf path for several quants, or texts and a matrix.
        EngineError: llama.cpp's library, which encodes the weights, does not load.
    """
    quants = checked_quants(quants)
    check_task(task)
    texts, matrix = _weighing(imatrix, imatrix_file)
    source = Source.read(Path(checkpoint), task, Path(base) if base is not None else None)
    weighted = texts is not None or matrix is not None
    plans = {quant: make_plan(source.tensors, source.config, quant, weighted=weighted) for quant in quants}
    paths = output_paths(out, source.name, quants)
    measured = _measurement(next(iter(paths.values())).parent, source, texts) if texts else None
    problems = output_problems(paths, plans, force=force, matrix=(measured.path, measured.plan) if measured else None)
    _raise_if(problems + (fit_problems(matrix, source.tensors) if matrix else []))
    everything = [*plans.values(), *([measured.plan] if measured else [])]
    n_bytes = sum(t.rows.nbytes for t in source.tensors) + 2 * sum(i.nbytes for plan in everything for i in plan)
    with tqdm(total=n_bytes, unit="B", unit_scale=True, disable=not show_progress_bar) as bar:
        bar.set_description("checking")
        _raise_if(value_problems(plans, bar.update))
        next(iter(paths.values())).parent.mkdir(parents=True, exist_ok=True)
        if measured:
            bar.set_description(measured.path.name)
            matrix = measured.run(bar.update)
        for quant, path in paths.items():
            bar.set_description(path.name)
            plan = with_importance(plans[quant], matrix.importance) if matrix else plans[quant]
            keys = _keys(source, quant) | (matrix.keys() if matrix else {})
            with replacing(path) as scratch:
                digests = write_gguf(scratch, keys, plan, bar.update)
                verify(scratch, plan, source.task, digests, bar.update)
    return list(paths.values())


def _keys(source: Source, quant: str) -> dict[str, Any]:
    manifest = source.manifest(quant)
    return {
        **general_keys(source.card, source.name, source.tensors, source.task),
        **model_keys(source.config, source.task),
        **quant_keys(manifest),
        **source.vocabulary.keys(source.task),
        **template_keys(manifest),
    }


def _measurement(folder: Path, source: Source, texts: Texts) -> Measurement:
    plan = make_plan(source.tensors, source.config, QUANT)
    return Measurement(folder / f"{source.name}.imatrix.gguf", source, _keys(source, QUANT), plan, texts)


def _weighing(
    imatrix: str | PathLike[str] | Iterable[str | PathLike[str]] | None, imatrix_file: str | PathLike[str] | None
) -> tuple[Texts | None, Imatrix | None]:
    """Returns the texts to measure over, or the matrix that is there, or neither."""
    if imatrix is not None and imatrix_file is not None:
        raise ValueError("imatrix and imatrix_file are given. Texts are measured, or a matrix is read: pass one.")
    if imatrix_file is not None:
        return None, read_imatrix(Path(imatrix_file))
    if imatrix is None:
        return None, None
    paths = (imatrix,) if isinstance(imatrix, str | PathLike) else tuple(imatrix)
    return (read_texts([str(path) for path in paths]) if paths else None), None


def check_checkpoint(checkpoint: str | PathLike[str], task: Task | None = None) -> Task:
    """Returns what a checkpoint is for, going by its small files alone; the weights need not be there yet.

    Args:
        checkpoint: the folder with config.json.
        task: as for `convert`.

    Raises:
        ConversionError: it cannot be converted whatever its weights are, says nothing of its task, or is an adapter.
        ValueError: an unknown task.
    """
    check_task(task)
    folder = Path(checkpoint)
    refuse_adapter(folder)
    config = Config.read(folder)
    found = find_task(folder, config, task)
    if found == "rerank":
        find_rerank_template(folder, config, Vocabulary.read(folder))
    return found


def _raise_if(problems: list[str]) -> None:
    if problems:
        raise ConversionError(problems)
