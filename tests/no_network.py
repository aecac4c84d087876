"""Forbids the network, in this process or in a child: what opens an internet socket fails.

Works by an audit hook, so it also sees what goes past the socket module's Python half. Native code is not seen.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

EVENTS = {
    "socket.__new__",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyaddr",
    "socket.gethostbyname",
    "socket.sendmsg",
    "socket.sendto",
}
EXIT_STATUS = 97
"""With it a child ends that touched the network."""

_SOCKETS_ALLOWED = "QSIFT_TESTS_SOCKETS_ALLOWED"
_violations: list[list[str]] = []
_hooked = False


class NetworkTouchedError(AssertionError):
    """Something touched the network that must not."""


@contextlib.contextmanager
def no_network() -> Iterator[None]:
    """Makes every touch of the network in this process an error, also one that is swallowed where it happens.

    Raises:
        NetworkTouchedError: Where the touch happens, and again at the end.
    """
    touches: list[str] = []
    _violations.append(touches)
    _hook()
    try:
        yield
    finally:
        _violations.remove(touches)
    if touches:
        raise NetworkTouchedError("\n".join(touches))


def environment(*, sockets_allowed: bool = False) -> dict[str, str]:
    """Returns the variables that forbid a child Python the network; it ends with EXIT_STATUS where it tries.

    Args:
        sockets_allowed: whether it may make a socket, as urllib3 does when it is imported, to see whether there is
            IPv6. Connecting, sending and asking for addresses stays forbidden.
    """
    here = Path(__file__).parent
    allowed = {_SOCKETS_ALLOWED: "1"} if sockets_allowed else {}
    return {"PYTHONPATH": os.pathsep.join((str(here / "offline_child"), str(here))), **allowed}


def forbid() -> None:
    """Ends this process, with a traceback, as soon as it touches the network. For offline_child/sitecustomize.py."""

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if is_touch(event, arguments) and not (event == "socket.__new__" and _SOCKETS_ALLOWED in os.environ):
            traceback.print_stack()
            print(told(event, arguments), file=sys.stderr, flush=True)
            os._exit(EXIT_STATUS)

    sys.addaudithook(audit)


def is_touch(event: str, arguments: tuple[object, ...]) -> bool:
    """Says whether an audit event touches the network; sockets within the machine's file system do not."""
    if event not in EVENTS:
        return False
    family = arguments[1] if event == "socket.__new__" else getattr(arguments[0], "family", None)
    return family != socket.AF_UNIX and not (event == "socket.__new__" and family == -1)


def told(event: str, arguments: tuple[object, ...]) -> str:
    """Returns what happened, without the socket itself."""
    told = ", ".join(repr(argument) for argument in arguments if not isinstance(argument, socket.socket))
    return f"The network was touched: {event}({told})"


def _hook() -> None:
    global _hooked
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _violations and is_touch(event, arguments):
        where = "".join(traceback.format_stack(limit=20))
        for touches in _violations:
            touches.append(f"{told(event, arguments)}\n{where}")
        raise NetworkTouchedError(told(event, arguments))
