"""No benchmark runs in the suite; what they take from the package and from each other must be there all the same."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(str(path.relative_to(BENCHMARKS)) for path in BENCHMARKS.rglob("*.py"))
USES = {
    "models": set(),
    "harness": {"models"},
    "peers": {"models", "harness"},
    "gpu": {"models", "harness", "peers"},
    "demo": {"models"},
    "results": set(),
}
"""What each room may use. The questions, which stand beside the rooms, may use all of them."""


def imports(tree: ast.AST) -> Iterator[ast.ImportFrom]:
    """Yields every `from … import`, also those of children, whose code is a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\nfrom qsift" in node.value:
            yield from imports(ast.parse(node.value))


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_benchmark_imports_from_the_package_is_there(script: str) -> None:
    for node in imports(ast.parse((BENCHMARKS / script).read_text())):
        if node.module and node.module.split(".")[0] == "qsift":
            module = importlib.import_module(node.module)
            modules = {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))}
            for name in (alias.name for alias in node.names):
                is_there = hasattr(module, name) or name in modules
                assert is_there, f"{script} imports {name} from {node.module}, which has no such name"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_question_uses_rooms_and_a_room_those_below_it(script: str) -> None:
    room = script.partition("/")[0] if "/" in script else None
    own = {name.partition("/")[0].removesuffix(".py") for name in SCRIPTS}
    used = {
        node.module.split(".")[0]
        for node in imports(ast.parse((BENCHMARKS / script).read_text()))
        if node.module and node.level == 0 and node.module.split(".")[0] in own
    }
    assert used <= (USES[room] if room else set(USES)), f"{script} uses {sorted(used)}"
