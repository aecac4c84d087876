"""Every way in which the plug-in can be unwanted, missing or broken: llama.cpp computes, and one line says why."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qsift import Embedder, EngineOptions
from qsift.engine.llama import accelerator
from qsift.engine.llama.accelerator import Accelerator, choose
from qsift.engine.machine import cpu_info
from qsift.engine.selfcheck import self_check

GAINS = {"avx_vnni", "avx512_vnni", "avx512_bf16"} & set(cpu_info().get("flags", "").split())
needs_plug_in = pytest.mark.skipif(not GAINS, reason="this CPU gains nothing from qsift-accel, so it is not built")


@pytest.fixture(autouse=True)
def unasked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """These tests say themselves what they want."""
    monkeypatch.delenv("QSIFT_ACCEL", raising=False)
    yield


def test_auto_keeps_the_precision_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def auto(kernels: str, instruction_set: str) -> list[str | None]:
        found = Accelerator(kernels, "3.2.0", instruction_set, None, ())
        monkeypatch.setattr(accelerator, "load", lambda: found)
        files = ({"q8_0"}, {"q4_k", "q6_k"}, {"q4_0", "q4_1"}, {"bf16"}, {"f16"}, {"f32"})
        return [choose("auto", types) for types in files]

    assert auto("AVX512_VNNI", "AMX") == ["bf16", "bf16", "bf16", "bf16", None, None]
    assert auto("AVX512_VNNI", "AVX512_BF16") == ["exact", "exact", "bf16", "bf16", None, None]
    assert auto("AVX512_VNNI", "AVX512_VNNI") == ["exact", "exact", None, None, None, None]
    assert auto("AVX2_VNNI", "AVX2_VNNI") == ["exact", "exact", None, None, None, None]
    assert auto("AVX2", "AVX2") == [None] * 6, "int8 costs more than Q8_0 and has to be asked for"
    assert choose("off") is None


def test_a_word_that_is_no_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="accel is 'int4'; allowed are auto, off, exact, bf16, int8"):
        EngineOptions(accel="int4")  # type: ignore[arg-type]
    monkeypatch.setenv("QSIFT_ACCEL", "int4")
    with pytest.raises(ValueError, match="QSIFT_ACCEL is 'int4'"):
        Embedder.load("demo-embedding")


# What is missing or broken: a child process each, since a plug-in stays loaded for as long as its process lives.
TRY = """
import logging, sys
logging.basicConfig(level=logging.WARNING, format="%(message)s")
import numpy as np
BEFORE
from qsift import Embedder, EngineOptions
vectors = {}
for accel in ("off", "int8"):
    with Embedder.load("demo-embedding", options=EngineOptions(accel=accel)) as embedder:
        print(accel, embedder.engine.accel)
        vectors[accel] = embedder.encode_document(["one text", "another one", "one text more"])
cosine = float((vectors["off"] * vectors["int8"]).sum(axis=1).min())
print("same" if np.array_equal(vectors["off"], vectors["int8"]) else "close" if cosine > 0.99 else "wrong")
"""


def run(before: str, folder: Path, **environment: str) -> tuple[list[str], list[str]]:
    """Returns what the child printed and what it logged."""
    env = os.environ | {"QSIFT_CACHE": str(folder)} | environment
    env.pop("QSIFT_ACCEL", None)
    command = [sys.executable, "-c", TRY.replace("BEFORE", before)]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines(), [line for line in result.stderr.splitlines() if "accel" in line.lower()]


@needs_plug_in
def test_with_nothing_broken_the_plug_in_computes(tmp_path: Path) -> None:
    assert run("", tmp_path) == (["off None", "int8 int8", "close"], [])


@needs_plug_in
@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("import qsift_accel; qsift_accel.LLAMA_CPP_PYTHON = '0.3.20'", "compiled for llama-cpp-python 0.3.20"),
        ("import qsift_accel; qsift_accel.GGML = '0.25.2'", "ggml 0.25.2"),
        ("sys.modules['qsift_accel'] = None", "not installed. Install it with: pip install 'qsift[accel]'"),
        (
            "import pathlib, qsift_accel; qsift_accel.LIBRARY = pathlib.Path('/nowhere.so'); "
            "qsift_accel.load = lambda: __import__('ctypes').CDLL('/nowhere.so')",
            "does not load",
        ),
    ],
)
def test_a_plug_in_that_cannot_be_used_leaves_a_working_embedder_and_one_line(
    before: str, reason: str, tmp_path: Path
) -> None:
    printed, logged = run(before, tmp_path)
    assert printed == ["off None", "int8 None", "same"]
    assert len(logged) == 1 and reason in logged[0], logged


@needs_plug_in
@pytest.mark.parametrize("what", ["laying out a weight", "packing a weight", "a product"])
def test_what_fails_in_the_plug_in_is_computed_without_it(what: str, tmp_path: Path) -> None:
    run("", tmp_path)  # the self-check's answer is kept
    before = (
        f"from qsift.engine.llama import accelerator; accelerator.load().handle.qsift_accel_fail({what.encode()!r})"
    )
    printed, logged = run(before, tmp_path)
    assert printed == ["off None", "int8 int8" if what == "a product" else "int8 None", "same"]
    assert len(logged) == 1 and f"({what}: it was told to fail)" in logged[0], logged


@needs_plug_in
def test_a_child_that_dies_keeps_the_plug_in_out_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path))
    dies = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    assert not self_check("accelerator", command=dies).safe
    options = EngineOptions(accel="int8")
    with caplog.at_level(logging.WARNING, "qsift"), Embedder.load("demo-embedding", options=options) as embedder:
        assert embedder.engine.accel is None  # type: ignore[attr-defined]
    assert "crashed" in caplog.text


@needs_plug_in
@pytest.mark.parametrize("order", ["first", "last"])
def test_torch_in_the_same_process_changes_nothing(order: str, tmp_path: Path) -> None:
    use = "import torch; assert float(torch.ones(64, 64).matmul(torch.ones(64, 64)).sum()) == 64 ** 3"
    late = "import atexit; atexit.register(lambda: exec('import torch; torch.ones(64, 64).matmul(torch.ones(64, 64))'))"
    printed, logged = run(use if order == "first" else late, tmp_path)
    assert (printed, logged) == (["off None", "int8 int8", "close"], [])


@needs_plug_in
def test_a_mode_that_the_cpu_lacks_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    child = (
        "from qsift.engine.llama import accelerator\n"
        "try: accelerator.choose('bf16')\n"
        "except accelerator.Declined as reason: print(reason)\n"
    )
    env = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    result = subprocess.run([sys.executable, "-c", child], env=env, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "This CPU gains nothing from bf16 (it has AVX2)."
