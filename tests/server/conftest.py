"""A server in a process of its own that several tests talk to, and the library beside it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from serving import Serving

from qsift import Embedder, Reranker


@pytest.fixture(scope="session")
def server() -> Iterator[Serving]:
    """Serves the demo pair to everybody on this machine."""
    with Serving("--embedding", "demo-embedding", "--reranker", "demo-reranker") as server:
        yield server


@pytest.fixture(scope="session")
def http(server: Serving) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=server.url, timeout=120) as http:
        yield http


@pytest.fixture(scope="session")
def embedder() -> Iterator[Embedder]:
    """The library's embedding model."""
    with Embedder.load("demo-embedding") as embedder:
        yield embedder


@pytest.fixture(scope="session")
def reranker() -> Iterator[Reranker]:
    """The library's reranker."""
    with Reranker.load("demo-reranker") as reranker:
        yield reranker
