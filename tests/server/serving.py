"""`qsift serve` as a child process, on a port of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path


class Serving:
    """A running server; leaving the block ends it as SIGTERM does and demands that it ends well.

    Attributes:
        url: where it is; of a Unix socket, what its clients may call it.
        port: the port in it; 0 for a Unix socket.
        told: lines that it printed on stderr.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.told: list[str] = []
        port = () if "--unix-socket" in arguments else ("--port", "0")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "qsift", "serve", *port, "--threads", "1", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        self._ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        self._ready.wait(300)
        found = re.search(r"http://\S+:(\d+)|unix:", self.told[0]) if self.told else None
        if not found:
            self._process.kill()
        assert found, self.told
        self.url, self.port = (found[0], int(found[1])) if found[1] else ("http://localhost", 0)

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        return self._memory("VmRSS")

    @property
    def own_memory(self) -> int:
        """Resident memory in bytes that is no page of a file."""
        return self._memory("RssAnon")

    def _memory(self, kind: str) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(rf"{kind}:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]

    def terminate(self) -> None:
        """Asks it to end, and does not wait."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as a crash does, and waits."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """Returns its exit code."""
        return self._process.wait(120)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()
        try:
            assert self.wait() == 0, self.told
        finally:
            self._process.kill()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.told.append(line.rstrip("\n"))
            self._ready.set()
        self._ready.set()
