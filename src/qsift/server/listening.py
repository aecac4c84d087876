"""Where a server listens, and how others learn of it: ports, Unix sockets, the port's file, systemd.

It knows no HTTP and no models.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_OWNER_ONLY = 0o600


def bound_socket(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound and does not listen yet; port 0 takes any that is free.

    Raises:
        OSError: the address is in use, or none of this machine.
    """
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


@contextmanager
def unix_socket(path: str) -> Iterator[socket.socket]:
    """Gives a Unix socket that this user alone may open; its file is gone at the end.

    It listens at once, so that another server sees that it is alive: clients that come early wait.

    Args:
        path: the socket's file; one that a dead server left is replaced.

    Raises:
        OSError: a server listens there, something else has the name, or there can be no socket.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        try:
            _make_way(path)
            bound.bind(path)
            os.chmod(path, _OWNER_ONLY)
            bound.listen()
        except OSError as error:  # which often does not name the file
            raise OSError(error.errno, error.strerror or str(error), path) from error
        try:
            yield bound
        finally:
            remove_file(bound)


def remove_file(bound: socket.socket) -> None:
    """Removes the file of a Unix socket that is still open: while it is, no other server has put its own there."""
    if bound.fileno() != -1 and isinstance(path := bound.getsockname(), str):
        with suppress(FileNotFoundError):
            os.unlink(path)


def _make_way(path: str) -> None:
    with suppress(FileNotFoundError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.settimeout(1)  # a server with many visitors may be slow to take one more
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "This is no socket, and is left as it is. Give the socket another path")
        try:
            visitor.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise OSError(errno.EADDRINUSE, "A server listens there. End it, or give this one another path")


@contextmanager
def port_file(path: str) -> Iterator[Callable[[int], None]]:
    """Gives what writes a port into a file, whole or not at all; before that and at the end there is no file.

    Raises:
        OSError: the file cannot be written there.
    """
    scratch = f"{path}.{os.getpid()}"

    def write(port: int) -> None:
        with open(scratch, "w", encoding="ascii", newline="\n") as file:
            file.write(f"{port}\n")
        os.replace(scratch, path)

    def remove() -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)

    remove()  # a server that was killed left it: whoever waits for the file must not read that port
    if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
        raise OSError(errno.EACCES, "Its folder is missing or cannot be written to. Give a file in another", path)
    try:
        yield write
    finally:
        remove()


def notify(state: str) -> None:
    """Tells systemd, if it asked to be told: sd_notify(3). ``READY=1`` is what a unit of Type=notify waits for."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        # Whoever asked may be gone: a program may have handed on the variable of a service that started it.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
            teller.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            teller.sendall(state.encode())
