"""Options that several commands share, and what they become."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, get_args

import click

from .completion import model_names
from .console import silence
from qsift.engine import Accel, CacheType, Device, EngineOptions

Decorator = Callable[[Any], Any]


def all_of(*options: Decorator) -> Decorator:
    """Returns a decorator that adds options to a command in the order of its help text."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def model_option(flag: Literal["--embedding", "--reranker"], what: str = "A .gguf file or a name.") -> Decorator:
    """Returns the option for a model of a search; without it the demo pair's is taken."""
    names = model_names("embed" if flag == "--embedding" else "rerank")
    default = f"demo-{flag.removeprefix('--')}"
    return click.option(flag, default=default, show_default=True, metavar="MODEL", shell_complete=names, help=what)


def _quieten(_context: click.Context, _option: click.Parameter, quiet: bool) -> bool:
    if quiet:
        silence()
    return quiet


quiet_option = click.option(
    "--quiet", "-q", is_flag=True, callback=_quieten, help="No progress, no warnings: errors only."
)
stderr_options = all_of(
    click.option("--progress/--no-progress", default=None, help="[default: where stderr is a terminal]"),
    quiet_option,
)
_ENGINE = {
    "device": click.option("--device", type=click.Choice(get_args(Device)), default="auto", show_default=True),
    "gpu_layers": click.option("--gpu-layers", type=click.IntRange(0), help="Blocks on the GPU.  [default: all]"),
    "main_gpu": click.option(
        "--main-gpu", type=click.IntRange(0), help="Number of the one GPU to use.  [default: all]"
    ),
    "threads": click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: physical cores]"),
    "flash_attention": click.option(
        "--flash-attention/--no-flash-attention", default=None, help="[default: llama.cpp decides]"
    ),
    "cache_type": click.option(
        "--cache-type", type=click.Choice(get_args(CacheType)), default="f16", show_default=True
    ),
    "batch_tokens": click.option("--batch-tokens", type=click.IntRange(1), help="Tokens of one decode call."),
    "share_prefixes": click.option("--share-prefixes/--no-share-prefixes", default=True, show_default=True),
    "extra_buffers": click.option(
        "--extra-buffers/--no-extra-buffers", default=None, help="[default: as qsift doctor says]"
    ),
    "accel": click.option("--accel", type=click.Choice(get_args(Accel)), default="auto", show_default=True),
}
engine_options = all_of(*_ENGINE.values())


def engine_options_but(*names: str) -> Decorator:
    """Returns the engine's options without some, which a command has in another form."""
    return all_of(*(option for name, option in _ENGINE.items() if name not in names))


class Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of bytes, such as 12GB, 1.5GiB or 800000000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:([KMGT])(i?)B?|B)?", value.strip(), re.IGNORECASE)
        if not found:
            self.fail(f"{value!r} is no size. Write it as 12GB, 1.5GiB or a number of bytes.", param, ctx)
        number, prefix, binary = found.groups()
        unit = (1024 if binary else 1000) ** ("KMGT".index(prefix.upper()) + 1) if prefix else 1
        return round(float(number) * unit)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def engine(options: dict[str, Any]) -> EngineOptions:
    """Returns the options of the engine among a command's."""
    return EngineOptions(**{field.name: options[field.name] for field in fields(EngineOptions)})


def shows_progress(options: dict[str, Any], *, otherwise: bool = True) -> bool:
    """Returns whether to draw a bar: as asked, else where stderr is a terminal and ``otherwise`` holds."""
    if options["quiet"] or options["progress"] is not None:
        return bool(options["progress"]) and not options["quiet"]
    return sys.stderr.isatty() and otherwise
