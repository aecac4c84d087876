"""Builds llama.cpp from .gpu/, without a network and without pip: `python benchmarks/gpu/build.py`.

It fills a folder that is all PYTHONPATH needs: llama-cpp-python with its shared libraries, the wheels that `pack.py`
brought, and qsift. Building needs cmake, ninja, a C++ compiler and, unless --cpu is given, nvcc; where a run with
--pack on another machine left its libraries in .gpu/, they are taken instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".gpu"
PACKED = FOLDER / "libraries.tar.xz"
LIBRARIES = ("llama", "ggml", "ggml-base", "ggml-cpu", "ggml-cuda")
CUDA = ("cudart", "cublas", "cublasLt")


def main() -> None:
    """Builds and installs; ends with 1 where it does not compile, or not in time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=FOLDER / "site", help="the folder for PYTHONPATH")
    parser.add_argument("--build", type=Path, default=FOLDER / "build", help="cmake's folder; a second run goes on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--architecture", default="90", help="of the GPU, as cmake names it; 90 is a Hopper")
    parser.add_argument("--cpu", action="store_true", help="without CUDA")
    parser.add_argument("--pack", action="store_true", help="for another machine, of an AVX2 CPU: pack what is built")
    parser.add_argument("--seconds", type=float, default=540, help="when building counts as failed")
    options = parser.parse_args()
    install_python(options.site)
    target = options.site / "llama_cpp" / "lib"
    target.mkdir(exist_ok=True)
    if PACKED.exists() and not options.pack:
        with tarfile.open(PACKED) as archive:
            archive.extractall(target, filter="data")
    else:
        try:
            build(options)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"building failed: {error}", flush=True)
            raise SystemExit(1) from None
        copy_libraries(options.build / "bin", target)
    if options.pack:
        with tarfile.open(PACKED, "w:xz", preset=6) as archive:
            for path in sorted(path for name in LIBRARIES for path in target.glob(f"lib{name}.so*")):
                archive.add(path, path.name)
        print(f"{PACKED.stat().st_size / 1e6:.1f} MB packed")
        return
    link_cuda(target)
    check = "from llama_cpp import llama_cpp as lib; print(lib.llama_supports_gpu_offload(), lib._base_path)"
    subprocess.run([sys.executable, "-c", check], env={**os.environ, "PYTHONPATH": str(options.site)}, check=True)


def install_python(site: Path) -> None:
    """Puts what is written in Python into the folder: the packed wheels, llama_cpp, and qsift by links."""
    site.mkdir(parents=True, exist_ok=True)
    for wheel in (FOLDER / "wheels").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    with tarfile.open(FOLDER / "llama.tar.xz") as archive:
        archive.extractall(site.parent, filter="data")
    package = site.parent / "llama" / "llama_cpp"
    shutil.copytree(package, site / "llama_cpp", dirs_exist_ok=True)
    _describe(site, "llama_cpp_python", (package / "__init__.py").read_text().partition('__version__ = "')[2])
    qsift = site / "qsift"
    qsift.mkdir(exist_ok=True)
    for path in (*(ROOT / "src/qsift").iterdir(), ROOT / "convert"):
        if not (qsift / path.name).exists():
            (qsift / path.name).symlink_to(path)
    _describe(site, "qsift", (ROOT / "pyproject.toml").read_text().partition('\nversion = "')[2])


def _describe(site: Path, name: str, version: str) -> None:
    """Writes what importlib.metadata reads; ``version`` goes to the next quotation mark."""
    number = version.partition('"')[0]
    folder = site / f"{name}-{number}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def build(options: argparse.Namespace) -> None:
    """Compiles the shared libraries and copies them to where llama_cpp looks.

    Raises:
        OSError, SubprocessError: it does not compile, or not in time.
    """
    start = time.monotonic()
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"]
    environment = {**os.environ, "PATH": os.pathsep.join(paths)}
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "GGML_NATIVE": "OFF" if options.pack else "ON",
        # C++'s own library, where a toolchain links it statically, must not be offered to the other libraries.
        # The stand-in for the driver has no symbols, and is to be a needed library all the same.
        "CMAKE_SHARED_LINKER_FLAGS": "-Wl,--exclude-libs,ALL -Wl,--no-as-needed",
        "LLAVA_BUILD": "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_TOOLS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        "LLAMA_BUILD_SERVER": "OFF",
        "SKBUILD_PLATLIB_DIR": str(options.site),
    }
    if not options.cpu:
        settings |= {
            "GGML_CUDA": "ON",
            "GGML_CUDA_NCCL": "OFF",
            "GGML_CUDA_COMPRESSION_MODE": "size" if options.pack else "none",
            "CMAKE_CUDA_ARCHITECTURES": options.architecture,
            "CUDA_cuda_driver_LIBRARY": str(driver_stub(options.build)),
        }
    flags = [f"-D{name}={value}" for name, value in settings.items()]
    source = options.site.parent / "llama"
    _run(["cmake", "-G", "Ninja", "-S", str(source), "-B", str(options.build), *flags], options.seconds, environment)
    left = options.seconds - (time.monotonic() - start)
    _run(["cmake", "--build", str(options.build), "-j", str(options.jobs)], left, environment)
    print(f"built in {time.monotonic() - start:.0f} s with {options.jobs} jobs", flush=True)
    print_slowest(options.build / ".ninja_log")


def driver_stub(folder: Path) -> Path:
    """Returns an empty library under the name of CUDA's driver, to be linked with where no driver is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "libcuda.so"
    command = ["cc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", str(path), "-x", "c", os.devnull]
    subprocess.run(command, check=True)
    return path


def _run(command: list[str], seconds: float, environment: dict[str, str]) -> None:
    print(" ".join(command), flush=True)
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    process = subprocess.Popen([program, *command[1:]], env=environment, start_new_session=True)
    try:
        code = process.wait(max(seconds, 1))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with all the compilers
        raise
    if code:
        raise subprocess.CalledProcessError(code, command[:3])


def copy_libraries(built: Path, target: Path) -> None:
    """Copies the libraries, under the names that they look for one another by."""
    for name in LIBRARIES:
        for path in built.glob(f"lib{name}.so*"):
            (target / path.name).unlink(missing_ok=True)
            shutil.copy2(path, target / path.name, follow_symlinks=False)


def link_cuda(target: Path) -> None:
    """Puts CUDA's own libraries beside ours, which look there: no loader need know where the toolkit lies."""
    toolkit = Path(os.environ.get("CUDA_PATH", "/usr/local/cuda"))
    for name in CUDA:
        for path in (toolkit / "lib64").glob(f"lib{name}.so.[0-9]*"):
            (place := target / path.name).unlink(missing_ok=True)
            place.symlink_to(path.resolve())


def print_slowest(log: Path) -> None:
    """Prints the minutes of all compilers together, and the files that took longest."""
    lines = [line.split("\t") for line in log.read_text().splitlines() if not line.startswith("#")]
    times = {Path(fields[3]).name: (int(fields[1]) - int(fields[0])) / 1000 for fields in lines}
    print(f"{sum(times.values()) / 60:.1f} minutes of compilers, {len(times)} steps; the slowest:")
    for name, seconds in sorted(times.items(), key=lambda item: -item[1])[:12]:
        print(f"  {seconds:6.1f} s  {name}")


if __name__ == "__main__":
    main()
