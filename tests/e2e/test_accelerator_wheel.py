"""The plug-in's wheel, built from this checkout and used in an environment that holds nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qsift.engine.machine import cpu_info

ROOT = Path(__file__).parents[2]
GAINS = {"avx_vnni", "avx512_vnni", "avx512_bf16"} & set(cpu_info().get("flags", "").split())


@pytest.mark.skipif(not GAINS, reason="this CPU gains nothing from qsift-accel, so it is not built")
def test_the_wheel_works_in_a_clean_environment(tmp_path: Path) -> None:
    wheels, place = tmp_path / "wheels", tmp_path / "venv"
    pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"]

    def run(*command: str | Path, code: int = 0) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "QSIFT"))}
        env |= {"QSIFT_CACHE": str(tmp_path / "cache")}
        result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert result.returncode == code, result.stderr
        return result.stderr if code else result.stdout

    run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT / "src/qsift_accel", ROOT)
    built = sorted(wheels.glob("*.whl"))
    assert [path.name.partition("-")[0] for path in built] == ["qsift", "qsift_accel"]
    assert built[1].name.endswith("-py3-none-linux_x86_64.whl"), "one wheel for every Python"
    run(sys.executable, "-m", "venv", place)
    # llama-cpp-python comes from the wheel that pip kept when it compiled this environment's.
    run(place / "bin/python", *pip, "install", *built)
    embed = (place / "bin/qsift", "embed", "demo-embedding", "a text", "--accel")
    plain, exact = run(*embed, "off"), run(*embed, "exact")
    assert exact != plain and exact[:20] == plain[:20], "without oneDNN"
    assert "pip install 'qsift-accel[onednn]'" in run(*embed, "int8", code=1)
    run(place / "bin/python", *pip, "install", f"{built[1]}[onednn]")
    assert '"onednn": "3.2.0"' in run(place / "bin/qsift", "doctor", "--json")
    vector = run(*embed, "int8")
    assert vector not in (plain, exact) and vector[:20] == plain[:20]
