"""Checkpoints and GGUFs that several tests share, each made once a session."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from checkpoints import CHECKPOINTS, with_prompts, write_checkpoint
from hub_server import HubServer
from huggingface_hub import constants

import qsift.hub.modelscope
from qsift import EngineOptions
from qsift.convert import convert
from qsift.engine import extra_buffers
from qsift.engine.machine import cpu_has_amx

# Threads that wait by spinning take the CPU from whatever else runs on the machine, and from each other: a busy one was
# thirteen times slower. OpenMP reads this when llama.cpp or torch loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Haystack and Ray tell their makers that they are used.
os.environ.update(HAYSTACK_TELEMETRY_ENABLED="False", RAY_USAGE_STATS_ENABLED="0")

# A busy machine is no fault of the code: properties have no deadline.
hypothesis.settings.register_profile("qsift", deadline=None)
hypothesis.settings.load_profile("qsift")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs signals, forks or special files where the system has none of them."""
    if item.get_closest_marker("posix") and os.name != "posix":
        pytest.skip("needs POSIX: signals, forks, special files")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the tests' files out of the user's caches, and the tests away from real hubs."""
    patch = pytest.MonkeyPatch()
    for name in ("QSIFT_CACHE", "HF_HOME", "MODELSCOPE_CACHE", "MODELSCOPE_HOME"):
        patch.setenv(name, str(tmp_path_factory.mktemp("cache")))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setattr(constants, "HF_HUB_OFFLINE", True)
    if cpu_has_amx():
        extra_buffers(EngineOptions())  # a build whose AMX kernels crash says so once, and not in the midst of a test


@pytest.fixture(scope="session", autouse=True)
def audible_interrupts() -> None:
    """Lets Ctrl-C reach the programs under test where a shell started the tests in the background, deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a checkpoint from CHECKPOINTS by its name."""
    root = tmp_path_factory.mktemp("checkpoints")

    def make(name: str) -> Path:
        folder = root / name
        return folder if folder.exists() else write_checkpoint(folder, replace(CHECKPOINTS[name]))

    return make


@pytest.fixture(scope="session")
def gguf(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Gives the GGUF of a checkpoint in a quant."""
    root = tmp_path_factory.mktemp("ggufs")

    def make(name: str, quant: str = "f16") -> Path:
        path = root / f"{name}-{quant}.gguf"
        if not path.exists():
            convert(checkpoint(name), path, quants=quant)
        return path

    return make


@pytest.fixture(scope="session")
def fine_tune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives the GGUF of an embedding model with prompts of its own: "query" has no place for an instruction."""
    prompts = {"query": "query: ", "document": "passage: ", "web": "Instruct: Search\nQuery: "}
    folder = tmp_path_factory.mktemp("fine-tune")
    base = write_checkpoint(folder / "base")
    config = {"prompts": prompts, "default_prompt_name": "web"}
    return convert(with_prompts(base, folder / "m", config), folder, quants="f16")[0]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub on loopback that this process and its children talk to, with caches of their own."""
    with HubServer() as server:
        for name, value in server.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("QSIFT_CACHE", str(tmp_path / "qsift"))
        # huggingface_hub reads its variables once, when it is imported.
        settings = {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "huggingface" / "hub"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        qsift.hub.modelscope._client.cache_clear()
        yield server
