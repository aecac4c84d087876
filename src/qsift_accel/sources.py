"""Finds what the plug-in is compiled against, VERSION FOLDER, and prints it as a CMake list.

ggml's folder in llama-cpp-python's source distribution of that version, which pip fetches into FOLDER;
oneDNN's headers.
"""

import subprocess
import sys
import tarfile
from importlib.metadata import files
from pathlib import Path


def ggml(version: str, folder: Path) -> Path:
    """Returns ggml's folder, its headers unpacked."""
    name = f"llama_cpp_python-{version}"
    archive = folder / f"{name}.tar.gz"
    if not archive.exists():
        # pip asks the package's own build for its name, for which scikit-build-core is already here.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--no-binary", ":all:", "--dest", str(folder), f"llama-cpp-python=={version}"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    with tarfile.open(archive) as tar:
        for member in tar:
            if "/ggml/" in member.name and member.name.endswith((".h", "ggml/CMakeLists.txt")):
                tar.extract(member, folder)
    return folder / name / "vendor/llama.cpp/ggml"


def installed(package: str, name: str) -> Path:
    """Returns where pip put a file of a package, which differs when pip builds in isolation."""
    return next(Path(str(file.locate())).resolve() for file in files(package) or [] if str(file).endswith(name))


if __name__ == "__main__":
    headers = installed("onednn-devel-cpu-gomp", "include/oneapi/dnnl/dnnl.hpp").parents[2]
    print(ggml(sys.argv[1], Path(sys.argv[2])), headers, sep=";", end="")
