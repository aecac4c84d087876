"""What is public is documented, at its place."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from law import sources

import qsift

FILES = {file: ast.parse(source, file) for file, source in sources().items()}


@pytest.mark.parametrize("file", FILES)
def test_every_public_name_has_a_docstring(file: str) -> None:
    tree = FILES[file]
    assert ast.get_docstring(tree), f"{file} does not say what it is for"
    bare = [f"{file}:{node.lineno} {node.name}" for node in public_definitions(tree) if not ast.get_docstring(node)]
    assert not bare


def public_definitions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yields public functions, classes and methods; what a private class or a function holds is private."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if (isinstance(child, ast.ClassDef) or is_function) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child)


def test_every_exported_constant_says_what_it_is() -> None:
    constants = {name for name in qsift.__all__ if not hasattr(getattr(qsift, name), "__module__")}
    documented = {
        name for file, tree in FILES.items() if file.startswith("src/") for name in documented_constants(tree)
    }
    assert constants <= documented, f"Without a docstring below it: {sorted(constants - documented)}"


def documented_constants(tree: ast.Module) -> Iterator[str]:
    """Yields the names of assignments that are followed by a string."""
    for node, following in zip(tree.body, tree.body[1:], strict=False):
        is_string = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if is_string and isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("door", [file for file in FILES if file.endswith("/__init__.py")])
def test_a_door_is_a_few_lines_of_words_and_names(door: str) -> None:
    if door in ("src/qsift/__init__.py", "convert/__init__.py"):
        return
    assert not list(public_definitions(FILES[door])), f"{door} defines what belongs into a file of its room"
