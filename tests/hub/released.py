"""Tiny checkpoints of the six released models under their true names."""

from __future__ import annotations

from pathlib import Path

from checkpoints import Checkpoint, Shape, write_checkpoint
from hub_server import HubServer

from qsift import SPECS

WIDE = Shape(num_hidden_layers=2, hidden_size=256, intermediate_size=256, head_dim=64)
RELEASED = [spec for spec in SPECS.values() if spec.repo]
SHARDS = {"0.6b": 1, "4b": 2, "8b": 3}


def publish(hub: HubServer, folder: Path, name: str, **changes: object) -> Path:
    """Puts a checkpoint as the released model is laid out on the hub; returns its folder."""
    spec = SPECS[name]
    what = Checkpoint(
        task=spec.task,
        shape=WIDE,
        tied=spec.tie_word_embeddings,
        head=not spec.tie_word_embeddings and spec.task == "rerank",
        prefix=spec.task == "rerank",
        evidence=spec.task == "embed",
        shards=SHARDS[name.rpartition("-")[2]],
        seed=RELEASED.index(spec),
    )
    assert spec.repo
    write_checkpoint(folder / spec.repo, what, **changes)
    hub.add(spec.repo, folder / spec.repo)
    return folder / spec.repo


def files_in(folder: Path) -> list[str]:
    """Returns the names of all files, but for locks, tags, sessions and the answers of self-checks."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if not path.is_dir())
    kept = (name for name in names if not name.endswith((".lock", "CACHEDIR.TAG", "credentials/session")))
    return [name for name in kept if not Path(name).name.startswith("selfcheck-")]
