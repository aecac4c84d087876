"""What the hub keeps: repositories, their commits, and each file once. Knows nothing of HTTP."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

# What the .gitattributes of the models' own repos send to LFS, and what the hub does by size.
LFS_SUFFIXES = {".safetensors", ".gguf", ".bin"}
LFS_NAMES = {"tokenizer.json"}
LFS_SIZE = 10_000_000


@dataclass(frozen=True)
class Blob:
    """One file's content, kept under its sha256.

    Attributes:
        path: Where it lies on the server's disk.
        size: Bytes.
        sha256: Of the content, in hex.
        lfs: Whether git holds a pointer to it.
        pointer_size: Bytes of that pointer; of the content where there is none.
        oid: SHA-1 of what git holds, as "git hash-object" gives it.
    """

    path: Path
    size: int
    sha256: str
    lfs: bool
    pointer_size: int
    oid: str

    @property
    def etag(self) -> str:
        """The hub's ETag: sha256 for LFS, else git's hash."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A state of a repo: its files by their path, and the commit that last changed each."""

    id: str
    title: str
    date: datetime
    files: Mapping[str, Blob]
    changed: Mapping[str, str]


@dataclass
class Repo:
    """A repository: commits by id, oldest first, and where the branches point."""

    id: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """Returns the commit of a branch or a commit's id; None where there is none."""
        return self.commits.get(self.branches.get(revision, revision))

    def commit(self, files: Mapping[str, Blob], title: str, branch: str = "main") -> Commit:
        """Makes a branch point to a new commit with these files and no others."""
        tree = "".join(f"{path} {files[path].oid}\n" for path in sorted(files))
        parent = self.commits.get(self.branches.get(branch, ""))
        id = hashlib.sha1(f"{self.id} {parent and parent.id} {title}\n{tree}".encode()).hexdigest()
        same = {path for path, blob in files.items() if parent and parent.files.get(path) == blob}
        changed = {path: parent.changed[path] if parent and path in same else id for path in files}
        self.commits[id] = Commit(id, title, datetime.now(timezone.utc), dict(sorted(files.items())), changed)
        self.branches[branch] = id
        return self.commits[id]


class BlobStore:
    """A folder of contents, each named by its sha256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, source: Path | bytes, name: str, *, lfs: bool | None = None) -> Blob:
        """Copies a content in; by its name and size it goes to LFS or not, unless that is said."""
        scratch = self._folder / f".{os.urandom(8).hex()}"
        if isinstance(source, bytes):
            scratch.write_bytes(source)
        else:
            shutil.copyfile(source, scratch)
        digest = hashlib.sha256()
        with scratch.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        sha256 = digest.hexdigest()
        scratch.replace(self._folder / sha256)
        return self.blob(sha256, name, lfs=lfs)

    def __contains__(self, sha256: str) -> bool:
        return (self._folder / sha256).is_file()

    def blob(self, sha256: str, name: str, *, lfs: bool | None = None) -> Blob:
        """Returns what is stored under a sha256 as a file of this name."""
        path = self._folder / sha256
        size = path.stat().st_size
        lfs = is_lfs(name, size) if lfs is None else lfs
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        held = pointer if lfs else path.read_bytes()
        oid = hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()
        return Blob(path, size, sha256, lfs, len(held), oid)


def is_lfs(name: str, size: int) -> bool:
    """Says whether the hub wants a file in LFS."""
    return size > 0 and (Path(name).suffix in LFS_SUFFIXES or Path(name).name in LFS_NAMES or size >= LFS_SIZE)
