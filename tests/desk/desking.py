"""`qsift desk` as a child process, with an `xdg-open` of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


class Desking:
    """A running desk; leaving the block ends it as Ctrl-C does and demands that it ends well.

    Attributes:
        url: where it is, without the token.
        token: what its page needs.
        told: lines that it printed on stderr.
        opened: the file in which its `xdg-open` writes what it is asked to open.
    """

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self.told: list[str] = []
        self.opened = folder / "opened.txt"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        opener = programs / "xdg-open"
        opener.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{self.opened}"\n')
        opener.chmod(0o755)
        environment = {"OMP_NUM_THREADS": "1", "QSIFT_CACHE": str(folder / "cache")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "qsift", "desk", "--no-open", "--threads", "1", *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, **environment, "PATH": f"{programs}:{os.environ['PATH']}"},
        )
        self._ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        self._ready.wait(300)
        address = next((word for line in self.told for word in line.split() if "#token=" in word), "")
        if not address:
            self._process.kill()
        assert address, self.told
        self.url, _, self.token = address.partition("/#token=")

    @property
    def page(self) -> str:
        """The address that it printed."""
        return f"{self.url}/#token={self.token}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request shows."""
        return {"Authorization": f"Bearer {self.token}"}

    def interrupt(self) -> int:
        """Ends it as Ctrl-C does and returns its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def __enter__(self) -> Desking:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._process.poll() is None:
                assert self.interrupt() == 0, self.told
        finally:
            self._process.kill()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.told.append(line.rstrip("\n"))
            if "#token=" in line:
                self._ready.set()
        self._ready.set()
