"""What people may call a model: a name, a repository, or a checkpoint's folder, and a quant behind it.

    qwen3-embedding-0.6b   Qwen/Qwen3-Reranker-4B:q4_k_m   someone/a-fine-tune   ./checkpoint:q6_k

Names of released models are case-blind. Whether a model is on this machine or on a hub is not known here.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from qsift.errors import UnknownModelError
from qsift.models import SPECS, ModelSpec

DEFAULT_QUANT = "q8_0"
"""The quant of a name without one: of those under 16 bits it loses least (docs/quants.md). It is the same on every
machine, so that a name means the same vectors."""

_NAME = re.compile(r"(?P<repo>(?:[\w.-]+/)?[\w.-]+)(?::(?P<quant>\w+))?", re.ASCII)
_KNOWN = {key.lower(): spec for spec in SPECS.values() for key in (spec.name, spec.repo or spec.name)}


@dataclass(frozen=True)
class ModelName:
    """A model and the quant that is wanted.

    Attributes:
        repo: the repository on a hub; for a folder its absolute path, for a bundled model its name.
        quant: name of the quantisation, in lower case.
        spec: the facts of a released or bundled model; None for any other.
        folder: the folder of a local checkpoint; None for what comes from a hub.
    """

    repo: str
    quant: str
    spec: ModelSpec | None = None
    folder: Path | None = None

    def __str__(self) -> str:
        """Returns the shortest text that `parse` reads as this name."""
        return f"{self.spec.name if self.spec else self.repo}:{self.quant}"

    @property
    def key(self) -> str:
        """A name for files about this model, the same however it is spelt."""
        if self.folder:
            return f"folder--{self.folder.name}--{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]}"
        return self.repo.lower().replace("/", "--")

    @property
    def file_name(self) -> str:
        """What the file is called, such as "Qwen3-Embedding-0.6B-Q8_0.gguf"."""
        return f"{os.path.basename(self.repo)}-{self.quant.upper()}.gguf"

    @property
    def bundled(self) -> bool:
        """Whether it comes with qsift."""
        return self.spec is not None and self.spec.repo is None

    @classmethod
    def parse(cls, text: str, *, quant: str = DEFAULT_QUANT) -> ModelName:
        """Returns what ``text`` names.

        Args:
            text: a name, with or without a quant behind it.
            quant: the one that is meant where there is none.

        Raises:
            UnknownModelError: it names nothing; carries the names that would have worked.
        """
        place, _, last = text.rpartition(":")
        spelt = [(text, ""), (place, last)] if place and re.fullmatch(r"\w+", last) else [(text, "")]
        # /… and ./… can be nothing else, also where the folder is gone and its conversions are to go too.
        is_path = [_is_folder(path) for path, _ in spelt]
        if any(is_path) or os.path.isabs(text) or text.startswith("."):
            path, wanted = spelt[is_path.index(True) if any(is_path) else -1]
            folder = Path(path).resolve()
            return cls(str(folder), wanted.lower() or quant, folder=folder)
        match = _NAME.fullmatch(text)
        repo, wanted = (match["repo"], (match["quant"] or "").lower()) if match else (text, "")
        spec = _KNOWN.get(repo.lower())
        if match and spec and not (wanted and spec.repo is None):
            return cls(spec.repo or spec.name, wanted or quant, spec)
        if match and not spec and "/" in repo:
            return cls(repo, wanted or quant)
        raise UnknownModelError(text, SPECS, advice=_advice(text, repo, spec), problem="is neither a file nor a model")


def _is_folder(path: str) -> bool:
    """Returns whether a path is a checkpoint's folder; one that is called like a model may hold anything."""
    return os.path.isdir(path) and (path.lower() not in _KNOWN or os.path.isfile(os.path.join(path, "config.json")))


def _advice(text: str, repo: str, spec: ModelSpec | None) -> str:
    if spec:
        return f"{spec.name} comes in one quant: leave out {text[len(repo) :]!r}."
    near = get_close_matches(repo.lower().rpartition("/")[2], SPECS, 1)
    return f"Did you mean {near[0]!r}?" if near else "Pass one of them, a repository, a folder, or a .gguf file."
