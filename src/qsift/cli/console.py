"""The process around a command: stderr, warnings, Ctrl-C, a closed pipe, and the exit code.

0 done · 1 failed · 2 wrong usage · 130 interrupted. This file knows no command.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import click

from qsift.errors import QsiftError

# The library's messages name arguments of the API; here they have other names.
_WORDS = (
    (r"truncate=True", "--truncate"),
    (r"truncate=False", "--no-truncate"),
    (r"force=True \(--force\)", "--force"),
    (r"device='(\w+)'", r"--device \1"),
    (r"quants(?=:)", "--quant"),
    (r"truncate_dim", "--dim"),
    (r"coarse_dim", "--coarse-dim"),
    (r"min_score", "--min-score"),
    (r"(max|batch)_tokens", r"--\1-tokens"),
    (r"Use Embedder\.load\((.+?)\)", r"Use: qsift embed \1"),
    (r"Use Reranker\.load\((.+?)\)", r"Use: qsift rerank \1"),
    (r"Embedder needs", "qsift embed needs"),
    (r"Reranker needs", "qsift rerank needs"),
)


def run(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code.

    A TypeError or ValueError is the user's mistake where qsift raised it; from anywhere else it is
    a bug and keeps its traceback.
    """
    _prepare()
    try:
        code = command.main(arguments, prog_name="qsift", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would only disturb the end
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except QsiftError as error:
        tell(f"Error: {in_our_words(str(error))}")
        return 1
    except (TypeError, ValueError) as error:
        if not _raised_by_qsift(error):
            raise
        tell(f"Error: {in_our_words(str(error))}")
        return 2
    except OSError as error:
        place = f"{error.filename!r}: " if error.filename else ""
        tell(f"Error: {place}{error.strerror or error}.")
        return 1


class Group(click.Group):
    """A group of commands that flushes what they wrote, and is silent if the reader is gone."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the chosen command; a closed stdout (| head) ends it with the exit code 0."""
        try:
            result = super().invoke(context)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # What the interpreter flushes at its end must not complain either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            context.exit(0)


def tell(line: str) -> None:
    """Prints a line on stderr, above a progress bar if there is one."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
    else:
        click.echo(line, err=True)


def silence() -> None:
    """Leaves nothing on stderr but errors."""
    warnings.simplefilter("ignore")
    for name in ("qsift", "huggingface_hub", "modelscope_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)


def in_our_words(message: str) -> str:
    """Returns a message of the library with its arguments named as on the command line."""
    for word, ours in _WORDS:
        message = re.sub(rf"(?<![\w/.'-]){word}(?![\w/-])", ours, message)
    return message


def _prepare() -> None:
    # Results may be piped into anything: UTF-8 and \n everywhere, and a path's odd bytes as they were.
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=errors, newline="\n")
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", UserWarning)
    warnings.showwarning = lambda message, *_args, **_kwargs: _warn(str(message))
    logger = logging.getLogger("qsift")
    logger.addHandler(_WarningHandler(logging.WARNING))
    logger.propagate = False


class _WarningHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _warn(record.getMessage())


def _warn(message: str) -> None:
    tell(f"Warning: {in_our_words(message)}")


def _raised_by_qsift(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")).partition(".")[0] == "qsift"
