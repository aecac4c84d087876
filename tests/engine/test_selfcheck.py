"""The self-check: passes here, and a child that dies decides against the repacked weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qsift.engine.machine import cache_folder
from qsift.engine.protocol import EngineOptions
from qsift.engine.selfcheck import MODEL, extra_buffers, self_check


def test_the_check_runs_in_a_child_and_its_answer_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path))
    assert MODEL.is_file()
    check = self_check()
    assert check.reason
    assert len(list(cache_folder().iterdir())) == 1
    assert self_check(command=["false"]) == check, "a kept answer is not asked for again"


@pytest.mark.posix
def test_a_child_that_crashes_keeps_the_kernels_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path))
    check = self_check(command=[sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"])
    assert not check.safe and "crashed" in check.reason
    monkeypatch.setattr("qsift.engine.selfcheck.amx_is_possible", lambda: True)
    assert extra_buffers(EngineOptions()) is False
    assert extra_buffers(EngineOptions(extra_buffers=True)) is True


def test_kernels_that_stay_off_are_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path))
    monkeypatch.setattr("qsift.engine.selfcheck.amx_is_possible", lambda: True)
    monkeypatch.setattr("qsift.engine.selfcheck._ask_child", lambda command: (False, "It crashed."))
    assert [extra_buffers(EngineOptions()) for _ in range(3)] == [False] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "AMX kernels stay off: It crashed. Run 'qsift doctor' for the remedy."
    ]


def test_a_child_that_could_not_start_decides_nothing_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path))
    for command in (["/nonexistent"], [sys.executable, "-c", "raise SystemExit('no')"], [sys.executable, "-c", ""]):
        assert not self_check(command=command).safe
    assert not list(tmp_path.iterdir())


def test_other_vectors_decide_against_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSIFT_CACHE", str(tmp_path))
    assert not self_check(command=[sys.executable, "-c", "print('cosine=0.5')"]).safe
