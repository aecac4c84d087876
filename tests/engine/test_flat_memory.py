"""A stream of texts is thrown away as it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsift import Embedder, EngineOptions


def resident() -> int:
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_stream_leaves_memory_as_large_as_it_was() -> None:
    sizes = []
    with Embedder.load("demo-embedding", options=EngineOptions(device="cpu", threads=1)) as embedder:
        for number, _ in enumerate(embedder.encode_document(f"tea {i}" for i in range(10_240)), 1):
            if number in (4096, 10_240):
                sizes.append(resident())
    # 6,144 vectors of 256 numbers, were they kept, would take 6 MB.
    assert sizes[1] - sizes[0] < 3_000_000, sizes
