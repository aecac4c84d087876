"""Opening a file where a person reads it: with the system's program for it, or with an editor at its line.

A system that opens a file may run it instead: a .bat on Windows, a .command on macOS, a .desktop on Linux. So what is
text goes to what shows text, and only what has a program of its own, such as a PDF, to that.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from qsift.documents import Kind
from qsift.errors import DocumentError

_WITH_PROGRAMS: set[Kind] = {"html", "pdf", "docx", "odt", "pptx", "xlsx", "epub", "mail"}
_EXPLORER = "explorer.exe"
_PLACES = re.compile(r"\{(?:path|line)\}")
_PATIENCE = 2.0
"""Seconds in which a program says that it cannot open a file."""


@dataclass(frozen=True)
class Opener:
    """What opens files.

    Attributes:
        editor: a command with ``{path}`` and, if it is to go there, ``{line}``, such as ``code --goto {path}:{line}``;
            None takes the system's programs.
    """

    editor: str | None = None

    def __post_init__(self) -> None:
        if self.editor is not None and "{path}" not in self.editor:
            raise ValueError(f"The editor is {self.editor!r}, without a place for the file. Write it as: code {{path}}")
        try:
            self._words()
        except ValueError as error:
            raise ValueError(f"The editor is {self.editor!r}, which is no command: {error}.") from error

    def _words(self) -> list[str]:
        """Returns the editor's command, divided as this system does."""
        return shlex.split(self.editor or "", posix=os.name == "posix")

    def open(self, path: str, kind: Kind, line: int) -> None:
        """Opens a file, which must exist; returns as soon as the program runs, or says that it cannot.

        Raises:
            DocumentError: the file is gone, or nothing opens it; its reason says what to do.
        """
        if not os.path.isfile(path):
            raise DocumentError(path, "The file is not there any more. Update the index.")
        command = self._command(os.path.abspath(path), kind, line)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=os.name == "posix",  # Ctrl-C of the desk is not the editor's
            )
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return
        except OSError as error:
            raise DocumentError(path, f"{command[0]!r} cannot be run: {error.strerror}. {_ADVICE}") from error
        if code and command[0] != _EXPLORER:  # which always says 1
            raise DocumentError(path, f"{command[0]!r} cannot open it and ended with {code}. {_ADVICE}")

    def _command(self, path: str, kind: Kind, line: int) -> Sequence[str]:
        if self.editor is not None and kind not in _WITH_PROGRAMS - {"html"}:
            # The command is divided before the path is put in, and both at once: a file's name stays one word as it is.
            put_in = {"{path}": path, "{line}": str(line)}
            return [_PLACES.sub(lambda place: put_in[place[0]], word) for word in self._words()]
        if sys.platform == "darwin":
            return ["open", path] if kind in _WITH_PROGRAMS else ["open", "-t", path]
        if sys.platform == "win32":
            return [_EXPLORER, path] if kind in _WITH_PROGRAMS else ["notepad.exe", path]
        if path.lower().endswith(".desktop"):
            raise DocumentError(path, f"Your system might run it instead of showing it. {_ADVICE}")
        return ["xdg-open", path]


_ADVICE = "Start the desk with --editor, such as: --editor 'code --goto {path}:{line}'"
