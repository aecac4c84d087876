"""The sdist, the wheel that is made of it, and an editable install carry every room and every file of data."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where a file lies in the repository, and in the wheel.
CARRIED = {
    path.relative_to(ROOT).as_posix(): f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
    for folder, package in {"src/qsift": "qsift", "convert": "qsift/convert"}.items()
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix != ".pyc"
}
EACH_ROOM = (
    "import qsift, qsift.convert, qsift.hub, qsift.documents, qsift.search, qsift.bench, qsift.cli, qsift.server\n"
    "import qsift.integrations, sys; from qsift.engine.selfcheck import MODEL\n"
    "assert MODEL.is_file() and qsift.hub.open_model('demo-reranker').task == 'rerank'; print(qsift.__file__)"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist, and with the wheel that was made of it and of nothing else."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    return folder


def test_the_sdist_carries_everything(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not set(CARRIED) - names


def test_the_wheel_carries_everything_and_nothing_else(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == {*CARRIED.values()}
        archive.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", EACH_ROOM]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().startswith(str(tmp_path))


def test_this_install_carries_everything() -> None:
    subprocess.run([sys.executable, "-c", EACH_ROOM], check=True)
