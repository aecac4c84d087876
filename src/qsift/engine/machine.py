"""What this machine is: its cores, its CPU's features, and where qsift may keep small files.

Standard library alone; this file knows no models.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def physical_cores() -> int:
    """Returns how many physical cores this process may use, at least 1.

    Affinity and a container's quota count; a second thread on a core does not, because
    matrix products gain nothing from it.
    """
    try:
        allowed = os.sched_getaffinity(0)  # type: ignore[attr-defined, unused-ignore]
    except AttributeError:
        allowed = set(range(os.cpu_count() or 1))
    cores = _linux_cores(allowed) or _darwin_cores() or len(allowed)
    return max(1, min(cores, len(allowed), _cgroup_quota() or len(allowed)))


def _linux_cores(allowed: set[int]) -> int:
    """Returns the number of distinct cores among the allowed CPUs; 0 where that is unknown."""
    cores = set()
    for cpu in allowed:
        try:
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            return 0
        cores.add(siblings.strip())
    return len(cores)


def _darwin_cores() -> int:
    """Returns the number of performance cores of a Mac; 0 elsewhere."""
    if sys.platform != "darwin":
        return 0
    for name in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
        result = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
        if result.returncode == 0 and result.stdout.strip().isdigit():
            return int(result.stdout)
    return 0


def _cgroup_quota() -> int:
    """Returns the CPUs that a Linux container may use, rounded up; 0 where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 0
    return 0 if quota == "max" else -(-int(quota) // int(period))


@cache
def cpu_info() -> dict[str, str]:
    """Returns the first processor's lines of /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def cpu_name() -> str:
    """Returns the processor's name, as well as it is known."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def cpu_has_amx() -> bool:
    """Returns whether the CPU reports AMX tiles; False where that cannot be read."""
    return "amx_tile" in cpu_info().get("flags", "").split()


def peak_rss() -> int | None:
    """Returns the largest resident memory that this process ever had, in bytes; None where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return _peak_of_usage()
    return _kilobytes(text, "VmHWM:")


def _peak_of_usage() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    # Kilobytes everywhere but on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available_memory() -> int | None:
    """Returns the bytes that can be taken without swapping, within a container's limit; None outside of Linux."""
    try:
        found = [_kilobytes(Path("/proc/meminfo").read_text(), "MemAvailable:")]
    except OSError:
        return None
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        # Pages of files that nobody used lately are given back when memory is short.
        spare = int((group / "memory.stat").read_text().partition("inactive_file ")[2].split()[0])
        found += [int(limit) - int(used) + spare]
    except (OSError, ValueError, IndexError):
        pass  # no container, or one without a limit
    return max(min(found), 0)


def _kilobytes(text: str, name: str) -> int:
    """Returns the bytes of a line such as "VmHWM:  1234 kB"."""
    return int(text.partition(name)[2].split()[0]) * 1024


def cache_folder() -> Path:
    """Returns the folder for small files that can be lost: $QSIFT_CACHE, or the system's cache folder."""
    if chosen := os.environ.get("QSIFT_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "qsift"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "qsift"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qsift"
