"""A child process that is asked and answers. It knows neither the questions nor what is measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from .rows import FOLDER


def environment() -> dict[str, str]:
    """Returns the environment in which `python -m` finds the modules of benchmarks/, wherever it is started."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])}


class PeerFailed(Exception):
    """A child process that died or gave a wrong result; the message says how."""


class Child:
    """A module of the benchmarks in a process of its own, which answers every line of JSON with one.

    Several live side by side and take turns, so that what slows the machine down slows all of them.
    """

    def __init__(self, module: str) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the answer to a question.

        Raises:
            PeerFailed: the child died, or refused with a sentence on stderr.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerFailed(self._last_words()) from None
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        if code < 0:
            return f"died of {signal.Signals(-code).name}"
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["no reason given"])[-1]
