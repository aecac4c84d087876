"""The options that several questions take, each of them said once."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from models.random_weights import SHAPES

from .rows import append
from qsift.engine import Accel, cache_folder, physical_cores

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MODELS = cache_folder() / "benchmarks"
"""Where the random models are kept, where nothing else is said."""


def command(doc: str | None, *, repeat: int | None = None) -> argparse.ArgumentParser:
    """Returns a parser with --trial and, where there are rounds, --repeat; ``doc`` is the script's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trial", action="store_true", help="record nothing, as on a machine that is busy")
    if repeat is not None:
        parser.add_argument("--repeat", type=int, default=repeat, help="rounds, of which the median counts")
    return parser


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds where the random models are kept, their shape, and the threads that run them."""
    parser.add_argument("--folder", type=Path, default=MODELS, help="where the models are kept")
    parser.add_argument("--shape", choices=SHAPES, default="0.6b", help="tiny: to try the script; never recorded")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="default: physical cores")


def add_quant(parser: argparse.ArgumentParser) -> None:
    """Adds the type of the weights."""
    parser.add_argument("--quant", default="q8_0", help="of the weights")


def add_accel(parser: argparse.ArgumentParser) -> None:
    """Adds the accelerator's mode."""
    parser.add_argument("--accel", choices=get_args(Accel), default="off")


def list_of(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """Returns a parser of "a,b" that knows what is allowed."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in allowed]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; allowed are {', '.join(allowed)}")
        return names

    return parse


def is_trial(options: argparse.Namespace) -> bool:
    """Returns whether nothing may be recorded: in a trial, and where the models are not of the released shape."""
    return bool(options.trial) or getattr(options, "shape", "0.6b") != "0.6b"


def record(rows: Sequence[DataclassInstance], name: str, options: argparse.Namespace) -> None:
    """Appends rows to results/NAME.jsonl and says so, except in a trial."""
    if not is_trial(options):
        print(f"rows in {append(rows, name)}", flush=True)
