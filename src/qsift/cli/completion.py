"""What a shell completes: commands and options by click, names of models and indices by this file.

A shell asks at each press of the tab key, so nothing is loaded here but what the command line has loaded anyway.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem, get_completion_class

from qsift.hub import shelves
from qsift.models import SPECS, Task

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_QSIFT_COMPLETE"
_MARK = "passages.lance"
"""What lies in the folder of an index."""

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what completes commands, options, models and indices in SHELL.

    \b
    bash:  echo 'eval "$(qsift completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(qsift completion zsh)"' >> ~/.zshrc, behind compinit
    fish:  qsift completion fish > ~/.config/fish/completions/qsift.fish
    """
    maker = get_completion_class(shell)
    assert maker is not None  # click knows all of SHELLS
    click.echo(maker(click.get_current_context().find_root().command, {}, "qsift", _VARIABLE).source())


def model_names(task: Task | None = None) -> Completer:
    """Returns what completes a model: its name, or the path of a .gguf file; None as the task takes both."""

    def complete(_context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
        released = [spec.name for spec in SPECS.values() if task in (None, spec.task)]
        repos = {spec.repo for spec in SPECS.values()}
        kept = [model for shelf in shelves() for model in shelf.records() if model.model not in repos]
        own = [model.model for model in kept if task in (None, model.task) and _is_bare(model.model)]
        files = _beside(start, lambda entry: entry.name.lower().endswith(".gguf") and entry.is_file())
        return _items([*dict.fromkeys([*released, *own]), *files], start, otherwise="file")

    return complete


def index_paths(_context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Completes the path of an index: those beside what was typed, or folders on the way to one."""
    return _items(_beside(start, lambda entry: os.path.isdir(os.path.join(entry.path, _MARK))), start, otherwise="dir")


def _beside(start: str, is_meant: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    """Returns the paths in the folder of a path that was begun, spelt as that is."""
    folder = os.path.dirname(start)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            names = sorted(entry.name for entry in entries if _is_bare(entry.name) and is_meant(entry))
    except OSError:
        return []  # there is no such folder, or none that may be read
    return [os.path.join(folder, name) for name in names]


def _is_bare(name: str) -> bool:
    """Returns whether a shell takes a name as it stands: it inserts what it is given here without quoting it."""
    return shlex.quote(name) == name


def _items(names: list[str], start: str, *, otherwise: str) -> list[CompletionItem]:
    """Returns the names that begin as typed; where none does, what tells the shell to complete paths itself."""
    found = [CompletionItem(name) for name in names if name.startswith(start)]
    return found or [CompletionItem(start, type=otherwise)]
