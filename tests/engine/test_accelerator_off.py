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
    def auto(kernels: str, *, onednn: bool = True) -> list[str | None]:
        found = Accelerator(kernels, None, ())
        modes = found.modes if onednn else found.modes[:1]
        monkeypatch.setattr(Accelerator, "usable_modes", lambda _: modes)
        monkeypatch.setattr(accelerator, "load", lambda: found)
        files = ({"q8_0"}, {"q4_k", "q6_k"}, {"q4_0", "q4_1"}, {"bf16"}, {"f16"}, {"f32"})
        return [choose("auto", types) for types in files]

    assert auto("AMX") == ["bf16", "bf16", "bf16", "bf16", None, None]
    assert auto("AVX512_BF16") == ["exact", "exact", "bf16", "bf16", None, None]
    for kernels in ("AVX512_VNNI", "AVX2_VNNI"):
        assert auto(kernels) == ["exact", "exact", None, None, None, None]
    for kernels in ("AMX", "AVX512_BF16"):
        assert auto(kernels, onednn=False) == ["exact", "exact", None, None, None, None]
    for kernels in ("AVX512", "AVX2"):
        assert auto(kernels) == [None] * 6, "int8 costs more than Q8_0 and has to be asked for"
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
    env = os.environ | {"QSIFT_ACCEL_ISA": "AVX2"}
    result = subprocess.run([sys.executable, "-c", child], env=env, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "This CPU gains nothing from bf16 (it has AVX2)."


# Which library is in the process, and what each mode says of it.
MODES = """
from qsift import Embedder, EngineError, EngineOptions
from qsift.engine import doctor
for accel in ("exact", "auto", "bf16", "int8"):
    try:
        with Embedder.load("demo-embedding", options=EngineOptions(accel=accel)) as embedder:
            embedder.encode_document("a text")
            print(embedder.engine.accel, "libdnnl" in open("/proc/self/maps").read())
    except EngineError as error:
        print(error)
facts = doctor.examine().accelerator
print(facts)
print(facts.onednn_problem)
"""


def modes(folder: Path, kernels: str, **environment: str) -> list[str]:
    """Returns what a child prints that finds in the folder what is there of oneDNN, before what is installed."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    env = os.environ | {"QSIFT_CACHE": str(folder / "cache"), "QSIFT_ACCEL_ISA": kernels, "PYTHONPATH": path}
    env |= environment
    result = subprocess.run([sys.executable, "-c", MODES], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def package(folder: Path, *files: str) -> None:
    """Writes what pip would tell of an installed oneDNN that has these files."""
    facts = folder / "onednn_cpu_gomp-2023.2.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: onednn-cpu-gomp\nVersion: 2023.2.0\n")
    (facts / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@pytest.fixture
def best() -> str:
    """The best instruction set of this CPU; where that has no bf16, the test is skipped."""
    found = accelerator.load()
    if "bf16" not in found.modes:
        pytest.skip("this CPU has no bf16")
    return found.kernels


@needs_plug_in
@pytest.mark.parametrize("torchs", ["", "AVX2"])
def test_onednn_is_opened_for_the_modes_that_need_it_whatever_torch_is_held_to(
    torchs: str, tmp_path: Path, best: str
) -> None:
    exact, auto, *others, shown, problem = modes(tmp_path, best, ONEDNN_MAX_CPU_ISA=torchs)
    assert exact == "exact False"
    assert auto == ("bf16 True" if best == "AMX" else "exact False")
    assert others == ["bf16 True", "int8 True"]
    assert f"by default, {best}, oneDNN 3.2.0; packed" in shown and problem == "None"


@needs_plug_in
def test_an_accelerator_that_is_held_has_the_modes_that_gain_there(tmp_path: Path, best: str) -> None:
    *computed, shown, _ = modes(tmp_path, "AVX512_VNNI")
    assert computed == ["exact False", "exact False", "None False", "int8 True"]
    assert shown == "exact by default, AVX512_VNNI, oneDNN 3.2.0; packed, a 0.6B model takes: exact 495 MB, int8 443 MB"
    *computed, shown, _ = modes(tmp_path, "AVX2")
    assert computed == ["None False"] * 4, "and the self-check's answer for the other is not taken"
    assert shown == "off by default, AVX2, oneDNN 3.2.0; this CPU gains nothing"


@needs_plug_in
def test_without_onednn_exact_computes_and_the_other_modes_say_how_to_get_it(tmp_path: Path, best: str) -> None:
    package(tmp_path)
    exact, auto, *others, shown, problem = modes(tmp_path, best)
    assert (exact, auto) == ("exact False", "exact False")
    assert set(others) == {
        "The accelerator's modes bf16 and int8 need oneDNN, which is not installed. "
        "Install it with: pip install 'qsift-accel[onednn]'."
    }
    assert f"exact by default, {best}, without oneDNN; packed, a 0.6B model takes: exact 495 MB" in shown
    assert problem == others[0]


@needs_plug_in
@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "file too short"), (b"no library" * 99, "invalid ELF header")],
)
def test_a_damaged_onednn_is_said_to_be_so(content: bytes | None, reason: str, tmp_path: Path, best: str) -> None:
    package(tmp_path, "libdnnl.so.3")
    if content is not None:
        (tmp_path / "libdnnl.so.3").write_bytes(content)
    exact, auto, *others, shown, _ = modes(tmp_path, best)
    assert (exact, auto) == ("exact False", "exact False") and "without oneDNN" in shown
    for told in others:
        assert told.startswith(
            "The accelerator's modes bf16 and int8 need oneDNN, which does not load (opening oneDNN: "
        )
        assert reason in told and told.endswith("Install it anew with: pip install --force-reinstall onednn-cpu-gomp.")


@needs_plug_in
def test_a_library_that_lacks_a_function_is_not_taken_for_onednn(tmp_path: Path, best: str) -> None:
    package(tmp_path, "libdnnl.so.3")
    (tmp_path / "libdnnl.so.3").symlink_to(accelerator.files_of_package()[0])
    assert "undefined symbol: dnnl_engine_create" in modes(tmp_path, best)[2]
