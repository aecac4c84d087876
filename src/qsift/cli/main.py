"""The command line: a mirror of the API, one short function a command.

Results go to stdout, everything else to stderr. How inputs are read stands in `texts`, how
results are written in `output`, what happens on errors and on Ctrl-C in `console`.
"""

from __future__ import annotations

import sys

import click

from .bench import bench
from .console import Group, run
from .convert import convert
from .doctor import doctor
from .embed import embed
from .models import info, models, pull, rm
from .rerank import rerank
from .search import index, search
from .serve import serve
from qsift import __version__


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="qsift")
def cli() -> None:
    """Qwen3-Embedding and Qwen3-Reranker on llama.cpp."""


for command in (pull, models, rm, convert, embed, rerank, search, index, serve, info, doctor, bench):
    cli.add_command(command)


def main() -> None:
    """Runs the command line and ends the process."""
    sys.exit(run(cli))
