"""No benchmark runs in the suite; what they take from the package must be there all the same."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(str(path.relative_to(BENCHMARKS)) for path in BENCHMARKS.rglob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_benchmark_imports_from_the_package_is_there(script: str) -> None:
    tree = ast.parse((BENCHMARKS / script).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "qsift":
            module = importlib.import_module(node.module)
            modules = {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))}
            for name in (alias.name for alias in node.names):
                is_there = hasattr(module, name) or name in modules
                assert is_there, f"{script} imports {name} from {node.module}, which has no such name"
