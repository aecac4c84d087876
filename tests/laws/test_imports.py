"""The import law holds in the tree, and a planted breach of each kind is found."""

from __future__ import annotations

import re

import pytest
from law import ROOMS, ROOT, doors, exempt, sources, violations

FILES = sources()
FOREIGN = doors()

# What is planted: into which file, which line, and what the law says of it.
PLANTED = {
    "a room above": ("models/specs.py", "from qsift.engine import Engine", "not below models"),
    "a room beside": ("documents/files.py", "from qsift.hub import open_model", "not below documents"),
    "the public names from below": ("search/index.py", "from qsift import Embedder", "not below search"),
    "a file behind a door": ("embedder.py", "from qsift.models.specs import SPECS", "past the door"),
    "a relative way past a door": ("search/index.py", "from ..text.vectors import normalize", "past the door"),
    "what a door does not show": ("embedder.py", "from qsift.models import specs", "does not show"),
    "a file of convert, late": ("hub/pulling.py", "def f():\n    from qsift.convert.vocab import V", "past the door"),
    "convert at the top": ("hub/pulling.py", "from qsift.convert import convert", "in the function"),
    "the server at the top": ("cli/serve.py", "from qsift.server import serve", "in the function"),
    "a foreign package": ("hub/store.py", "import llama_cpp", "whose door is"),
    "a foreign package, late": ("engine/doctor.py", "def f():\n    import torch", "whose door is"),
    "a package without a line": ("hub/store.py", "import requests", "not in pyproject.toml"),
    "a cycle in a room": ("models/specs.py", "from .model_file import ModelFile", "import each other"),
    "a cycle, late": ("hub/names.py", "def f():\n    from .pulling import pull", "import each other"),
    "a room without a row": ("utils/text.py", "import os", "no row in ROOMS"),
}


def test_the_law_holds() -> None:
    assert violations(FILES, FOREIGN) == []


@pytest.mark.parametrize("kind", PLANTED)
def test_a_breach_is_found(kind: str) -> None:
    name, line, said = PLANTED[kind]
    file = f"src/qsift/{name}"
    found = violations({**FILES, file: f"{FILES.get(file, '')}\n{line}\n"}, FOREIGN)
    assert any(said in sentence for sentence in found), found


def test_ruff_is_silent_in_doors_alone() -> None:
    assert exempt() == {f"{door}/**" if (ROOT / door).is_dir() else door for many in FOREIGN.values() for door in many}


def test_each_door_is_used() -> None:
    unused = [
        f"{door} for {package}"
        for package, many in FOREIGN.items()
        for door in many
        if door.startswith(("src", "convert"))
        and not any(
            file.startswith(door) and re.search(rf"^\s*(from|import) {package}\b", source, re.MULTILINE)
            for file, source in FILES.items()
        )
    ]
    assert not unused


def test_the_rooms_are_drawn_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    drawings = [block.splitlines() for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL)]
    drawn = next(lines for lines in drawings if lines[-1].startswith("errors"))
    assert [line.partition("#")[0].split() for line in reversed(drawn)] == [
        row.split() for row in ROOMS.split("\n")[1:-1]
    ]
