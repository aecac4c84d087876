"""A folder like someone's home: notes, papers and repositories, and what nobody wants to find among them."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass
from pathlib import Path

N_FOLDERS = 40
"""Repositories, and folders of notes, photos and so on."""
TAKEN, UNSAID = "", "left out unsaid"
# Where files of a kind lie, what they hold, which share of all they are, and what becomes of them: the start of the
# reason that is said, `TAKEN` or `UNSAID`.
_KINDS = (
    ("notes/{folder}/{n}.md", "prose", 0.12, TAKEN),
    ("papers/{folder}/{n}.txt", "paper", 0.02, TAKEN),
    ("work/{folder}/src/{n}.py", "code", 0.16, TAKEN),
    ("work/{folder}/build/{n}.txt", "prose", 0.10, UNSAID),
    ("work/{folder}/src/{n}.log", "prose", 0.04, UNSAID),
    ("work/{folder}/node_modules/m{n}/index.js", "code", 0.25, UNSAID),
    ("work/{folder}/venv/lib/{n}.py", "code", 0.03, UNSAID),
    ("work/{folder}/.git/objects/{n}", "noise", 0.08, UNSAID),
    (".cache/{folder}/{n}", "prose", 0.06, UNSAID),
    ("work/{folder}/{n}.lock", "prose", 0.01, "It is a lock file"),
    ("work/{folder}/dist/{n}.js.map", "prose", 0.02, "It is a source map"),
    ("work/{folder}/dist/{n}.min.js", "code", 0.02, "It is minified"),
    ("work/{folder}/dist/{n}.js", "line", 0.002, "It is minified or generated"),
    ("photos/{folder}/{n}.jpg", "noise", 0.08, "It is binary"),
    ("keys/{folder}/{n}.txt", "base64", 0.003, "It is binary data"),
    ("downloads/{folder}/{n}.txt", "controls", 0.005, "It is binary"),
)


@dataclass(frozen=True)
class Home:
    """What was made.

    Attributes:
        n_files: all of them but ignore files and marks.
        n_bytes: their size.
        taken: those that are to be found, relative to the folder.
        fates: how many there are of each other fate.
    """

    n_files: int
    n_bytes: int
    taken: set[str]
    fates: dict[str, int]


def make_home(folder: Path, n_files: int) -> Home:
    """Makes the files, the same for the same number."""
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnoprstuvw", k=generator.randint(2, 8))) for _ in range(5000)]

    def prose(n_words: int) -> str:
        return " ".join(generator.choices(words, k=n_words)) + ".\n"

    def content(kind: str) -> bytes:
        if kind == "noise":
            return generator.randbytes(4000) + b"\0"
        if kind == "base64":
            return base64.encodebytes(generator.randbytes(3000))
        if kind == "controls":
            return bytes(generator.choices(range(1, 128), k=3000))
        if kind == "line":
            return b"var a=b;" * 20_000
        if kind == "code":
            return "\n\n".join(f"def {generator.choice(words)}():\n    return {prose(6)}" for _ in range(3)).encode()
        return "\n".join(prose(40) for _ in range(8 if kind == "paper" else 1)).encode()

    taken: set[str] = set()
    fates: dict[str, int] = {}
    n_bytes = number = 0
    for pattern, kind, share, fate in _KINDS:
        for _ in range(round(share * n_files)):
            name = pattern.format(folder=number % N_FOLDERS, n=number)
            number += 1
            path, data = folder / name, content(kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            n_bytes += len(data)
            if fate == TAKEN:
                taken.add(name)
            else:
                fates[fate] = fates.get(fate, 0) + 1
    for repository in (folder / "work").iterdir():
        (repository / ".gitignore").write_text("# what is built\nbuild/\n*.log\n!keep.log\n")
        (repository / "venv" / "pyvenv.cfg").parent.mkdir(exist_ok=True)
        (repository / "venv" / "pyvenv.cfg").write_text("home = /usr\n")
    return Home(number, n_bytes, taken, fates)
