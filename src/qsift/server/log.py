"""What a server writes on stderr: a line for each request and for whatever fails, for people or as JSON.

No line has a text of a user: exceptions come with their type and their place, and without their message.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from datetime import datetime, timezone
from typing import Any, Literal

LogFormat = Literal["text", "json"]

requests = logging.getLogger("qsift.server.requests")
"""Takes a record for each request, with its facts as ``extra={"request": …}``."""


def log_to_stderr(log_format: LogFormat, *, each_request: bool) -> None:
    """Sends a server's log to stderr.

    Args:
        log_format: in "json", everything that speaks there is a JSON object a line: uvicorn and warnings, too.
        each_request: whether requests are told; errors are in any case.
    """
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(_JsonLines())
        ours = logging.getLogger("qsift")
        ours.handlers.clear()
        ours.propagate = True
        logging.getLogger().addHandler(handler)
        warnings.showwarning = lambda message, *_args, **_kwargs: ours.warning(str(message))
    else:
        handler.setFormatter(_TextLines("%(asctime)s %(message)s"))
        for name in ("qsift.server", "uvicorn"):
            logging.getLogger(name).addHandler(handler)
            logging.getLogger(name).propagate = False
    logging.getLogger("qsift.server").setLevel(logging.INFO)
    requests.setLevel(logging.INFO if each_request else logging.WARNING)


class _TextLines(logging.Formatter):
    """A line a record."""

    def formatException(self, ei: Any) -> str:
        """Returns where an exception came from, and its type; its message may hold what a user sent."""
        kind, _, trace = ei
        places = "".join(traceback.format_tb(trace))
        return f"Traceback (most recent call last):\n{places}{kind.__module__}.{kind.__qualname__}"


class _JsonLines(_TextLines):
    """A JSON object a record: the facts of a request, or a message."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns a line."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        facts: dict[str, Any] = {"time": time.replace("+00:00", "Z"), "level": record.levelname.lower()}
        facts |= getattr(record, "request", None) or {"message": record.getMessage().strip()}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts)
