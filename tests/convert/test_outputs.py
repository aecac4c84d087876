"""Where files go, what they are called, and that nobody ever sees half of one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from independent import change_json

from qsift.convert import convert, gguf_file
from qsift.errors import ConversionError
from qsift.models.model_file import ModelFile

SLOW_CONVERSION = """
import sys, time
from qsift.convert import convert, gguf_file
encode = gguf_file.encode
gguf_file.encode = lambda *args: (time.sleep(0.2), encode(*args))[1]
convert(sys.argv[1], sys.argv[2], quants="q8_0", force=True)
"""


def start_slow_conversion(checkpoint: Path, out: Path) -> tuple[subprocess.Popen, Path]:
    """Returns a child in the middle of writing, and its scratch file."""
    child = subprocess.Popen([sys.executable, "-c", SLOW_CONVERSION, checkpoint, out], stderr=subprocess.PIPE)
    scratch = out / f"m-Q8_0.gguf.part-{child.pid}"
    deadline = time.monotonic() + 60
    while not (scratch.exists() and scratch.stat().st_size > 20_000):
        assert child.poll() is None and time.monotonic() < deadline, child.stderr and child.stderr.read()
        time.sleep(0.01)
    return child, scratch


@pytest.mark.posix
def test_a_killed_run_leaves_no_half_file_and_a_later_run_works(tmp_path: Path) -> None:
    checkpoint, out = write_checkpoint(tmp_path / "m"), tmp_path / "out"
    child, scratch = start_slow_conversion(checkpoint, out)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert os.listdir(out) == [scratch.name]
    (path,) = convert(checkpoint, out)
    assert os.listdir(out) == [path.name] == ["m-Q8_0.gguf"]
    ModelFile.open(path).require("embed")


@pytest.mark.posix
def test_ctrl_c_removes_what_was_written(tmp_path: Path) -> None:
    checkpoint, out = write_checkpoint(tmp_path / "m"), tmp_path / "out"
    child, _ = start_slow_conversion(checkpoint, out)
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert time.monotonic() - started < 10
    assert os.listdir(out) == []


@pytest.mark.posix
def test_an_interrupted_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    checkpoint, out = write_checkpoint(tmp_path / "m"), tmp_path / "out"
    (path,) = convert(checkpoint, out)
    before = path.read_bytes()
    child, _ = start_slow_conversion(checkpoint, out)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert path.read_bytes() == before


def test_a_run_that_is_alive_keeps_its_scratch_file(tmp_path: Path) -> None:
    checkpoint, out = write_checkpoint(tmp_path / "m"), tmp_path / "out"
    child, scratch = start_slow_conversion(checkpoint, out)
    convert(checkpoint, out)
    assert scratch.exists()
    child.kill()
    child.communicate()


def test_an_error_while_writing_removes_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    checkpoint = write_checkpoint(tmp_path / "m")
    monkeypatch.setattr(gguf_file, "encode", full)
    with pytest.raises(ConversionError, match="cannot be written: No space left on device"):
        convert(checkpoint, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_file_that_does_not_verify_never_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    encode = gguf_file.encode
    monkeypatch.setattr(gguf_file, "encode", lambda values, *rest: encode(values[::-1].copy(), *rest))
    with pytest.raises(ConversionError, match="differ from the checkpoint"):
        convert(checkpoint, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_an_output_that_exists_needs_force(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    (path,) = convert(checkpoint, tmp_path)
    path.write_bytes(b"mine")
    with pytest.raises(ConversionError, match=r"'.*m-Q8_0\.gguf' exists\. Pass --force"):
        convert(checkpoint, tmp_path, quants=["f16", "q8_0"])
    assert path.read_bytes() == b"mine"
    assert not (tmp_path / "m-F16.gguf").exists()
    convert(checkpoint, tmp_path, force=True)
    ModelFile.open(path).require("embed")


def test_the_disk_is_asked_for_all_quants_together_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 30 << 20))
    assert convert(checkpoint, tmp_path / "one", quants="f32")
    with pytest.raises(ConversionError, match=r"0\.03 GB are needed in .* and 0\.03 GB are free"):
        convert(checkpoint, tmp_path / "two", quants=["f32", "f16"])
    assert not (tmp_path / "two").exists()


def test_one_gguf_path_is_taken_as_it_is(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    assert convert(checkpoint, tmp_path / "a" / "mine.gguf") == [tmp_path / "a" / "mine.gguf"]
    with pytest.raises(ValueError, match="2 quants"):
        convert(checkpoint, tmp_path / "b.gguf", quants=["q8_0", "f16"])


def test_without_a_place_files_go_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    convert(checkpoint)
    assert os.listdir() == ["m-Q8_0.gguf"]


def test_places_that_cannot_take_files_are_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    (tmp_path / "file").write_text("")
    (tmp_path / "out" / "m-Q8_0.gguf").mkdir(parents=True)
    with pytest.raises(ConversionError, match="is a file, so no folder"):
        convert(checkpoint, tmp_path / "file" / "below")
    with pytest.raises(ConversionError, match="is a folder"):
        convert(checkpoint, tmp_path / "out", force=True)


@pytest.mark.parametrize(
    ("place", "told", "name"),
    [
        ("Qwen3-Embedding-0.6B", None, "Qwen3-Embedding-0.6B"),
        ("models--Qwen--Qwen3-Embedding-4B/snapshots/" + "0a" * 20, None, "Qwen3-Embedding-4B"),
        ("my model (v2)", "Qwen/Qwen3-Embedding-0.6B", "my-model-v2"),
        ("checkpoint-500", "someone/Fine-Tuned-8B", "Fine-Tuned-8B"),
        ("model", "/home/x/output", "model"),
        ("多语言", None, "多语言"),
    ],
)
def test_files_are_called_what_people_call_the_model(tmp_path: Path, place: str, told: str | None, name: str) -> None:
    checkpoint = write_checkpoint(tmp_path / place)
    if told:
        change_json(checkpoint / "config.json", lambda config: config.update(_name_or_path=told))
    assert [path.name for path in convert(checkpoint, tmp_path)] == [f"{name}-Q8_0.gguf"]


def test_progress_goes_to_stderr_and_only_on_request(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_checkpoint(tmp_path / "m")
    convert(checkpoint, tmp_path / "a")
    assert capfd.readouterr() == ("", "")
    convert(checkpoint, tmp_path / "b", show_progress_bar=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "m-Q8_0.gguf: 100%" in err
