"""Advice from facts, without a machine to examine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qsift.engine import doctor
from qsift.engine.doctor import GPU_WHEELS, MEASURED, REBUILD_CLANG, REBUILD_NATIVE, Acceleration, Installation, advise
from qsift.engine.selfcheck import SelfCheck
from qsift.errors import EngineError

AVX2 = ("AVX", "AVX2", "FMA")
AVX512 = (*AVX2, "AVX_VNNI", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16")
AMX = (*AVX512, "AMX_INT8")
PASSED = SelfCheck(True, "The self-check passed (cosine 0.999).", "0")
DIED = SelfCheck(False, "The self-check died with exit code -11: this build of llama.cpp is faulty.", "0")
LAPTOP = Installation(
    llama_cpp_python="0.3.36",
    python="3.11.7",
    numpy="2.4.6",
    system="Linux x86_64",
    cpu="A laptop",
    cpu_features=("AVX2",),
    build_features=AVX2,
    gpu=False,
    gpu_seen=None,
    threads=4,
    logical_cpus=8,
    amx_reported=False,
    amx_possible=False,
    self_check=None,
    accelerator=None,
    cache_folder="/cache",
)
SERVER = replace(
    LAPTOP,
    cpu_features=tuple(doctor.FEATURES.values()),
    build_features=AMX,
    amx_reported=True,
    amx_possible=True,
    self_check=PASSED,
)


def commands(facts: Installation) -> list[str]:
    return [advice.command for advice in advise(facts) if advice.command]


def reasons(facts: Installation) -> str:
    return "\n".join(advice.reason for advice in advise(facts))


def test_a_build_that_uses_all_of_its_cpu_needs_no_command():
    assert commands(LAPTOP) == commands(SERVER) == []


def test_a_feature_that_the_build_lacks_is_named_with_the_line_that_adds_it():
    facts = replace(LAPTOP, cpu_features=("AVX2", "AVX_VNNI"))
    assert commands(facts) == [REBUILD_NATIVE]
    assert "AVX_VNNI" in reasons(facts)
    assert "-DGGML_NATIVE=ON" in REBUILD_NATIVE


def test_what_is_gained_is_said_in_measured_figures():
    facts = replace(LAPTOP, cpu_features=("AVX2", "AVX512", "AVX512_VNNI"))
    assert "Q8_0 148 and Q6_K 204 with AVX2; Q8_0 193 and Q6_K 366 with AVX512_VNNI" in reasons(facts)


def test_a_feature_that_was_not_measured_promises_nothing():
    facts = replace(LAPTOP, cpu_features=("AVX2", "AVX512_BF16"))
    lacking = next(advice for advice in advise(facts) if advice.command)
    assert "AVX512_BF16" in lacking.reason and "Measured" not in lacking.reason


def test_a_cpu_with_amx_gets_one_command_and_that_is_clang():
    for build in (AVX2, AVX512):
        assert commands(replace(SERVER, build_features=build)) == [REBUILD_CLANG]


def test_the_clang_line_is_the_one_that_was_tried():
    assert REBUILD_CLANG == (
        "CC=clang-19 CXX=clang++-19 pip install --force-reinstall --no-cache-dir "
        "--no-binary llama-cpp-python llama-cpp-python"
    )


def test_a_self_check_that_failed_is_quoted_and_answered_with_clang():
    facts = replace(SERVER, self_check=DIED)
    assert commands(facts) == [REBUILD_CLANG]
    assert DIED.reason in reasons(facts)
    assert not facts.repacked_weights


def test_a_self_check_that_failed_where_it_was_not_needed_promises_nothing():
    facts = replace(LAPTOP, self_check=DIED)
    assert commands(facts) == [REBUILD_CLANG]
    assert "--no-extra-buffers" in reasons(facts) and "AMX_INT8" not in reasons(facts)


@pytest.mark.parametrize(
    ("facts", "quant"),
    [
        (LAPTOP, "Q6_K"),
        (replace(LAPTOP, build_features=AVX512), "Q6_K"),
        (SERVER, "Q8_0"),
        (replace(LAPTOP, cpu_features=None), "Q6_K"),
    ],
)
def test_the_quant_that_is_fast_on_this_cpu_is_recommended(facts: Installation, quant: str):
    assert f"Prefer {quant}" in reasons(facts)


@pytest.mark.parametrize(
    "facts",
    [
        replace(LAPTOP, build_features=("NEON", "DOTPROD"), cpu_features=None),
        replace(LAPTOP, gpu=True),
        replace(SERVER, self_check=DIED),
    ],
)
def test_no_quant_is_recommended_where_none_was_measured(facts: Installation):
    assert "Prefer" not in reasons(facts)


OFF = Acceleration(None, (), None, None, "The package qsift-accel is not installed. Install it with: pip install …")
ON = Acceleration("exact", ("exact", "bf16", "int8"), "AVX512_BF16", "3.2.0", PASSED.reason)
WITHOUT = Acceleration(
    "exact", ("exact",), "AMX", None, PASSED.reason, "They need oneDNN. Install it with: pip install …"
)


def test_an_accelerator_that_the_cpu_would_gain_from_is_recommended():
    gaining = replace(LAPTOP, cpu_features=AVX512, build_features=AVX512)
    assert OFF.reason in reasons(replace(gaining, accelerator=OFF))
    for facts in (
        replace(gaining, accelerator=ON),
        replace(LAPTOP, accelerator=OFF),
        replace(gaining, accelerator=OFF, system="Darwin arm64"),
        replace(gaining, accelerator=OFF, gpu=True),
    ):
        assert "accelerator is off" not in reasons(facts)


def test_onednn_is_recommended_where_the_cpu_would_gain_from_it():
    gaining = replace(LAPTOP, cpu_features=AVX512, build_features=AVX512)
    assert f"{WITHOUT.onednn_problem} With AMX, bf16 is then" in reasons(replace(gaining, accelerator=WITHOUT))
    plain = replace(gaining, accelerator=replace(WITHOUT, kernels="AVX512_BF16"))
    assert f"{WITHOUT.onednn_problem}" in reasons(plain) and "AMX" not in reasons(plain)
    for facts in (replace(gaining, accelerator=ON), replace(gaining, accelerator=WITHOUT, gpu=True)):
        assert "oneDNN" not in reasons(facts)


def test_with_the_accelerator_the_more_exact_file_is_recommended():
    assert "Prefer Q8_0" in reasons(replace(LAPTOP, build_features=AVX512, accelerator=ON))
    assert "Prefer Q6_K" in reasons(replace(LAPTOP, build_features=AVX512, accelerator=OFF))


def test_the_accelerator_is_shown_in_one_line():
    assert str(ON) == (
        "exact by default, AVX512_BF16, oneDNN 3.2.0; "
        "packed, a 0.6B model takes: exact 495 MB, bf16 881 MB, int8 443 MB"
    )
    assert str(WITHOUT) == "exact by default, AMX, without oneDNN; packed, a 0.6B model takes: exact 495 MB"
    assert str(OFF) == f"off: {OFF.reason}"
    assert str(Acceleration(None, (), "AVX2", "3.2.0", PASSED.reason)).endswith("this CPU gains nothing")


def test_a_gpu_that_the_build_does_not_use_leads_to_its_wheel():
    for kind, command in GPU_WHEELS.items():
        assert commands(replace(LAPTOP, gpu_seen=kind)) == [command]
        assert commands(replace(LAPTOP, gpu_seen=kind, gpu=True)) == []


def test_each_measured_level_recommends_its_faster_quant():
    for level, speeds in MEASURED.items():
        assert max(speeds, key=lambda quant: speeds[quant]) == ("Q8_0" if level == "AMX_INT8" else "Q6_K")


def test_flags_and_build_line_are_read_in_the_same_words():
    line = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | AVX512_VNNI = 1 | OPENMP = 1 | SVE_CNT = 16"
    assert doctor.features_of_build(line) == ("SSE3", "AVX2", "AVX512_VNNI", "OPENMP")
    assert doctor.features_of_cpu("fpu avx2 avx512_vnni amx_tile amx_int8") == ("AVX2", "AVX512_VNNI", "AMX_INT8")
    assert doctor.features_of_cpu(None) is None


def test_the_self_check_runs_only_where_it_is_needed_or_asked_for(monkeypatch: pytest.MonkeyPatch):
    calls: list[bool] = []

    def check(subject: str = "repacked", *, again: bool) -> SelfCheck:
        if subject == "repacked":
            calls.append(again)
        return PASSED

    monkeypatch.setattr(doctor, "self_check", check)
    monkeypatch.setattr(doctor, "amx_is_possible", lambda: False)
    assert "not needed" in doctor.examine().self_check_sentence
    assert calls == []
    assert doctor.examine(again=True).self_check_sentence == PASSED.reason
    monkeypatch.setattr(doctor, "amx_is_possible", lambda: True)
    doctor.examine()
    assert calls == [True, False]


def test_a_llama_cpp_that_does_not_load_is_the_diagnosis(monkeypatch: pytest.MonkeyPatch):
    def fail() -> str:
        raise EngineError("llama-cpp-python does not load: no such library.")

    monkeypatch.setattr(doctor, "build_info", fail)
    facts = doctor.examine()
    assert facts.llama_cpp_python is None and "does not load" in facts.self_check_sentence
    assert [advice.reason for advice in advise(facts)] == ["llama-cpp-python does not load: no such library."]
