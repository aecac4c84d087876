"""What a server allows, and whom. Facts; this file opens nothing."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerOptions:
    """Limits and security of a server; the defaults are for one machine and its own programs.

    Attributes:
        api_keys: keys of which a request must show one; empty lets everybody in. Each is a client of its own in
            the queue.
        aliases: further names: "NAME" for the first model of each task, "NAME=MODEL" for a certain one.
        any_model_name: whether every name means the model of its task.
        accept_token_ids: whether texts may come as this model's token ids.
        origins: web pages that may ask, such as "http://localhost:3000"; "*" means all.
        local_names_only: whether the Host header must name this machine, against web pages that have their own
            name point here.
        max_body: bytes of a request's body.
        max_texts: texts of a request.
        max_tokens: tokens of a text; None means 8192, or the model's context where that is smaller.
        max_waiting: tokens that may wait for a model; above, requests are answered with 429.
        timeout: seconds until a request is given up.
        body_timeout: seconds until a body that does not arrive is given up; headers have as many.
        memory: bytes that the models that the server loads may take together; None means three quarters of what is
            available when it starts.
    """

    api_keys: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    any_model_name: bool = False
    accept_token_ids: bool = False
    origins: tuple[str, ...] = ()
    local_names_only: bool = False
    max_body: int = 8 * 2**20
    max_texts: int = 2048
    max_tokens: int | None = None
    max_waiting: int = 2**19
    timeout: float = 600.0
    body_timeout: float = 30.0
    memory: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_body", "max_texts", "max_waiting", "timeout", "body_timeout", "memory"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a number above 0 is needed.")
        if any(not key.isascii() or not key.isprintable() or not key.strip() for key in self.api_keys):
            raise ValueError(
                "An API key is empty or holds characters that no HTTP header carries; use printable ASCII."
            )


DEFAULT_MAX_TOKENS = 8192
"""Tokens of a text that a server takes by default: the length that the models' authors measured with."""

MEMORY_SHARE = 0.75
"""What models may take by default of the memory that is available."""


def is_loopback(host: str) -> bool:
    """Returns whether ``host``, a name or an address, is this machine for its own programs alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
