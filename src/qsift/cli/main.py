"""The command line: a mirror of the API, one short function a command.

Results go to stdout, everything else to stderr. How inputs are read stands in `texts`, how
results are written in `output`, what happens on errors and on Ctrl-C in `console`.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from .console import Group, run
from qsift import __version__

COMMANDS = {
    **{
        name: name
        for name in (
            *("bench", "completion", "convert", "desk", "doctor", "embed"),
            *("mcp", "rerank", "search", "serve", "verify"),
        )
    },
    **dict.fromkeys(("cluster", "dedup", "similarity"), "similarity"),
    **{"index": "search", "info": "models", "models": "models", "pull": "models", "rm": "models"},
}
"""The file of each command, which is loaded when the command is asked for: no command waits for another's."""


class _Commands(Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{COMMANDS[name]}", __package__), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="qsift")
def cli() -> None:
    """Qwen3-Embedding and Qwen3-Reranker on llama.cpp."""


def main() -> None:
    """Runs the command line and ends the process."""
    sys.exit(run(cli))
