"""What is computed of a model's memory is what llama.cpp says that it allocates."""

from __future__ import annotations

import json
import logging
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import K_QUANT, Shape, write_checkpoint

from qsift import Embedder, EngineOptions, Reranker
from qsift.convert import QUANTS, convert
from qsift.engine.llama.accelerator import Mode
from qsift.engine.machine import available_memory, cpu_has_amx
from qsift.engine.memory import cache_bytes, compute_bytes, file_bytes, repacked_bytes, run_bytes
from qsift.models import ModelFile
from qsift.models.specs import ModelSpec, Task

OPTIONS = EngineOptions(device="cpu", threads=1, extra_buffers=False, accel="off")


def sized(shape: Shape, task: Task, vocab_size: int) -> ModelSpec:
    sizes = {name: value for name, value in vars(shape).items() if name != "max_position_embeddings"}
    return ModelSpec("random", None, task, **sizes, vocab_size=vocab_size, tie_word_embeddings=True, context=32_768)


def allocated(caplog: pytest.LogCaptureFixture, path: Path, task: Task, text: str = "x y " * 150) -> dict[str, float]:
    """Returns the last size in bytes of each kind of buffer that llama.cpp reports while it runs a text.

    A text that FIRST_CELLS can hold would be computed in a smaller cache than others.
    """
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "qsift.llama"):
        if task == "embed":
            with Embedder.load(path, options=OPTIONS) as embedder:
                embedder.encode(text)
        else:
            with Reranker.load(path, options=OPTIONS) as reranker:
                reranker.rank("a query", [text])
    found = re.findall(r"CPU +(KV|compute) buffer size += +([\d.]+) MiB", caplog.text)
    return {kind: float(size) * 2**20 for kind, size in found}


@pytest.mark.parametrize("task", ["embed", "rerank"])
@pytest.mark.parametrize("shape", [Shape(5, 512, 2048, 8, 2, 64), Shape(4, 1024, 1024, 8, 8, 128)], ids=str)
def test_the_buffers_are_as_large_as_computed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shape: Shape, task: Task
) -> None:
    (path,) = convert(write_checkpoint(tmp_path / "m", shape=shape, task=task), tmp_path, quants="q8_0")
    found, spec = allocated(caplog, path, task), sized(shape, task, 294)
    assert found["KV"] == cache_bytes(spec)
    assert 0.8 * compute_bytes(spec) < found["compute"] <= 1.01 * compute_bytes(spec)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other CPUs repack other types")
@pytest.mark.parametrize("quant", [quant for quant in QUANTS if quant not in ("f32", "f16", "bf16")])
def test_the_weights_that_are_kept_twice_are_counted(
    gguf: Callable[..., Path], caplog: pytest.LogCaptureFixture, quant: str
) -> None:
    if cpu_has_amx():
        pytest.skip("AMX repacks other types")
    options = EngineOptions(device="cpu", threads=1, extra_buffers=True, accel="off")
    with caplog.at_level(logging.DEBUG, "qsift.llama"), Embedder.load(gguf("embed-wide", quant), options=options):
        found = re.search(r"CPU_REPACK model buffer size += +([\d.]+) MiB", caplog.text)
    size = float(found[1]) * 2**20 if found else 0
    assert size == pytest.approx(repacked_bytes(sized(K_QUANT, "embed", 294), quant, "embed"), abs=0.01 * 2**20)


def test_the_buffers_of_a_long_text_are_as_large_as_computed(
    gguf: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    spec = sized(Shape(), "embed", 294)
    found = allocated(caplog, gguf("embed"), "embed", "x" * 3000)
    assert found["KV"] == pytest.approx(cache_bytes(spec, 3001), abs=0.01 * 2**20)  # the log has two decimals
    assert cache_bytes(spec, 3001) == 3 * cache_bytes(spec)
    assert found["compute"] <= 1.01 * compute_bytes(spec, 3001)


def test_the_head_of_the_real_vocabulary_counts(gguf: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    spec = sized(Shape(), "embed", 151_669)
    found = allocated(caplog, gguf("embed-real-vocab"), "embed")
    assert 0.9 * compute_bytes(spec) < found["compute"] <= 1.01 * compute_bytes(spec)
    assert run_bytes(spec, "f16", "embed") > run_bytes(sized(Shape(), "embed", 294), "f16", "embed") + found["compute"]


# What a second model adds, beside its mapped file: the first has made what all share.
_CHILD = """
import json, re, sys
from pathlib import Path
import numpy as np
from qsift import Embedder, EngineOptions

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

options, kept = EngineOptions(device="cpu", threads=1, extra_buffers=False, accel="off"), []
for path in sys.argv[1:]:
    before = anonymous()
    kept.append(Embedder.load(path, options=options))
    kept[-1].engine.decode([np.full(250, number, np.int32) for number in range(4)])
    stepper = kept[-1].engine.stepper(np.full(3000, 7, np.int32))
    while stepper.advance(512) is None:
        pass
print(json.dumps(anonymous() - before))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_served_file_adds_what_was_computed_beforehand(gguf: Callable[..., Path]) -> None:
    path = gguf("embed-real-vocab")
    command = [sys.executable, "-c", _CHILD, str(gguf("embed")), str(path)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    file = ModelFile.open(path)
    computed = file_bytes(file, OPTIONS, n_tokens=3000, repacked=False, accel=None) - file.nbytes
    assert 0.7 * computed < found < computed


def test_each_option_that_takes_memory_counts(gguf: Callable[..., Path]) -> None:
    file = ModelFile.open(gguf("embed-wide", "q4_0"))
    spec = sized(K_QUANT, "embed", 294)

    def size(repacked: bool = False, accel: Mode | None = None, **options: Any) -> int:
        return file_bytes(file, EngineOptions(**options), n_tokens=3000, repacked=repacked, accel=accel)

    twice = repacked_bytes(spec, "q4_0", "embed")
    assert size(repacked=True) - size() >= twice > 0
    assert size(cache_type="f32") - size() == cache_bytes(spec) + cache_bytes(spec, 3000)
    assert size(batch_tokens=1024) > size()
    assert size() < size(accel="int8") < size(accel="exact") < size(accel="bf16")


def test_the_memory_that_is_available_is_some_of_the_machines() -> None:
    if not Path("/proc/meminfo").exists():
        assert available_memory() is None
        return
    total = int(Path("/proc/meminfo").read_text().partition("MemTotal:")[2].split()[0]) * 1024
    found = available_memory()
    assert found is not None and 0 < found < total
