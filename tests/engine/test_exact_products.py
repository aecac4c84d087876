"""The accelerator's mode "exact", product by product, against ggml's own kernels and under sanitizers."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from qsift.engine.llama import accelerator
from qsift.engine.llama.accelerator import Mode, load
from qsift.engine.llama.library import library
from qsift.engine.machine import cpu_info

FLAGS = set(cpu_info().get("flags", "").split())
needs_vnni = pytest.mark.skipif(not {"avx_vnni", "avx512_vnni"} & FLAGS, reason="this CPU has no VNNI")
TYPES = ("Q8_0", "Q4_0", "IQ4_NL", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K")
SOURCES = Path(__file__).parents[2] / "src/qsift_accel/src"
ROUNDING = 5e-7
"""What float32 sums in another order may differ by, of the sum of the activations' sizes, each times the largest weight
of its block: so large are the two parts that Q4_K and Q5_K subtract from each other."""

Floats = NDArray[np.float32]
pytestmark = needs_vnni


class _Traits(ctypes.Structure):  # ggml_type_traits_cpu
    _fields_ = [
        ("from_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("vec_dot", ctypes.CFUNCTYPE(None, ctypes.c_int, *[ctypes.c_void_p, ctypes.c_size_t] * 3, ctypes.c_int)),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    ]


def traits(type_number: int) -> _Traits:
    """Returns ggml's functions for a type on the CPU."""
    function = library()._lib.ggml_get_type_traits_cpu
    function.restype, function.argtypes = ctypes.POINTER(_Traits), [ctypes.c_int]
    return function(type_number).contents  # type: ignore[no-any-return]


def quantised(weight: Floats, type_name: str) -> NDArray[np.uint8]:
    """Returns the rows as ggml's quantiser writes them."""
    kind = GGMLQuantizationType[type_name]
    block, size = GGML_QUANT_SIZES[kind]
    out = np.zeros((len(weight), weight.shape[1] // block * size), np.uint8)
    ones = np.ones(weight.shape[1], np.float32)
    function = library()._lib.ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    function(kind, weight.ctypes.data, out.ctypes.data, 0, *weight.shape, ones.ctypes.data)
    return out


def ours(packed: NDArray[np.uint8], type_name: str, rows: Floats, *, threads: int = 2) -> Floats:
    """Returns rows × the weight, transposed, by the accelerator."""
    out = np.full((len(rows), len(packed)), np.nan, np.float32)
    function = load().handle.qsift_accel_multiply
    function.restype = ctypes.c_bool
    sizes = [ctypes.c_int64, ctypes.c_int64]
    function.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        *sizes,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_int,
    ]
    kind, (n, k) = GGMLQuantizationType[type_name], (len(packed), rows.shape[1])
    assert function(kind, packed.ctypes.data, n, k, rows.ctypes.data, len(rows), out.ctypes.data, threads)
    return out


def ggmls(packed: NDArray[np.uint8], type_name: str, rows: Floats) -> Floats:
    """Returns the same by ggml's dot products."""
    here = traits(GGMLQuantizationType[type_name])
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(here.vec_dot_type)]
    out = np.zeros((len(rows), len(packed)), np.float32)
    taken = np.zeros(rows.shape[1] // block * size, np.uint8)
    for i, row in enumerate(rows):
        traits(here.vec_dot_type).from_float(row.ctypes.data, taken.ctypes.data, len(row))
        for j, weight in enumerate(packed):
            to = out.ctypes.data + 4 * (i * len(packed) + j)
            here.vec_dot(len(row), to, 0, weight.ctypes.data, 0, taken.ctypes.data, 0, 1)
    return out


def numbers(kind: str, n: int, k: int, m: int) -> tuple[Floats, Floats]:
    """Returns a weight and rows of a kind."""
    generator = np.random.default_rng(n * k + m)
    weight, rows = (generator.standard_normal((count, k)).astype(np.float32) for count in (n, m))
    if kind == "outliers":
        weight[:, ::37] *= 60
        rows[:, 5::64] *= 200
        rows[0, :] = 0
    return weight, rows


@pytest.mark.parametrize("kind", ["random", "outliers"])
@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize(("n", "k", "m"), [(48, 512, 7), (17, 256, 13), (1, 768, 1), (33, 256, 50)])
def test_products_are_ggmls(type_name: str, kind: str, n: int, k: int, m: int) -> None:
    weight, rows = numbers(kind, n, k, m)
    packed = quantised(weight, type_name)
    largest = np.abs(weight).reshape(n, -1, 32).max(axis=2).repeat(32, axis=1)
    sizes = np.abs(rows) @ largest.T
    off = np.abs(ours(packed, type_name, rows) - ggmls(packed, type_name, rows)) / np.maximum(sizes, 1e-30)
    assert off.max() <= ROUNDING, off.max()


@pytest.mark.parametrize("type_name", TYPES)
def test_a_row_is_the_same_to_the_last_bit_whatever_is_beside_it(type_name: str) -> None:
    weight, rows = numbers("random", 70, 256, 53)
    packed = quantised(weight, type_name)
    together = ours(packed, type_name, rows)
    for first, last in ((0, 1), (1, 3), (3, 8), (8, 20), (20, 53)):
        assert np.array_equal(ours(packed, type_name, rows[first:last], threads=1), together[first:last])


@pytest.mark.parametrize("type_name", ["Q8_0", "Q6_K"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(type_name: str, bad: float) -> None:
    weight, rows = numbers("random", 20, 512, 3)
    rows[1, 300] = bad
    found = ours(quantised(weight, type_name), type_name, rows)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()


NAMED = """
import hashlib
from qsift import Embedder, EngineOptions
from qsift.engine.llama import accelerator
with Embedder.load("demo-embedding", options=EngineOptions(accel="exact")) as embedder:
    vectors = embedder.encode_document(["one text", "another one that is longer", "x"])
    print(accelerator.load().kernels, embedder.engine.accel, vectors.round(5).sum())
"""


def test_the_narrow_kernels_compute_the_same(tmp_path: Path) -> None:
    printed = []
    for name in ("AVX512_VNNI", "AVX2_VNNI"):
        env = os.environ | {"QSIFT_ACCEL_ISA": name, "QSIFT_CACHE": str(tmp_path / name)}
        result = subprocess.run([sys.executable, "-c", NAMED], env=env, capture_output=True, text=True, check=True)
        printed.append(result.stdout.split())
    if not {"avx_vnni", "avx512_vnni"} <= FLAGS:
        pytest.skip("this CPU has one of the two")
    assert [line[:2] for line in printed] == [["AVX512_VNNI", "exact"], ["AVX2_VNNI", "exact"]]
    assert abs(float(printed[0][2]) - float(printed[1][2])) < 1e-3


def test_the_kernels_keep_within_their_memory(tmp_path: Path) -> None:
    program = tmp_path / "products"
    compiler = shutil.which("g++")
    assert compiler
    flags = ["-std=c++17", "-O1", "-g", "-fopenmp", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    narrow = ["-mavx2", "-mfma", "-mf16c"]
    levels = {
        "avx2_vnni": [*narrow, "-mavxvnni"],
        "avx512_vnni": [*narrow, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"],
    }
    objects = []
    for level, more in levels.items():
        objects.append(str(tmp_path / f"{level}.o"))
        command = [
            compiler,
            *flags,
            *more,
            f"-DQSIFT_LEVEL={level}",
            "-c",
            str(SOURCES / "panels.cpp"),
            "-o",
            objects[-1],
        ]
        subprocess.run(command, check=True, capture_output=True)
    main = str(Path(__file__).parent / "products.cpp")
    command = [compiler, *flags, f"-I{SOURCES}", main, str(SOURCES / "exact.cpp"), *objects, "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True)
    for flag, level in (("avx_vnni", "avx2_vnni"), ("avx512_vnni", "avx512_vnni")):
        if flag in FLAGS:
            result = subprocess.run([program, level], capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stdout + result.stderr
            assert "products are right" in result.stdout


def test_exact_is_offered_where_the_cpu_has_vnni() -> None:
    modes: tuple[Mode, ...] = accelerator.load().modes
    assert "exact" in modes
