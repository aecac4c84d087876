"""The import law: which room may use which, what is loaded late, and which file may import a foreign package.

`ROOMS` is the whole of it for our own code. That of foreign packages stands in pyproject.toml, a line a package, where
ruff says it at the keyboard; `doors` reads it there.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

# Lowest first. A room uses rooms below its row, through their doors; rooms of one row do not know each other.
ROOMS = """
    errors
    models
    engine
    text
    convert
    hub documents
    embedder reranker
    search
    qsift
    bench
    integrations server
    desk
    cli
"""
# What takes long to load, or needs an extra, is imported inside the functions that use it, and by others of these.
LATE = {"convert", "desk", "integrations", "server"}
# Doors within a room: what drives llama.cpp, what only its command needs, and a public module for each framework.
INNER_DOORS = (
    "qsift.engine.llama",
    "qsift.engine.doctor",
    *(f"qsift.integrations.{name}" for name in ("lancedb", "mcp", "mteb", "ray")),
)
# Packages that any file may import.
EVERYWHERE = {"numpy", "tqdm", "typing_extensions"}

_ROW = {room: number for number, row in enumerate(ROOMS.split("\n")) for room in row.split()}


@dataclass(frozen=True)
class Import:
    """An import: the module, absolute, the names that are taken from it, its line, and whether a function waits."""

    module: str
    names: tuple[str, ...]
    line: int
    late: bool


def sources() -> dict[str, str]:
    """Returns the text of each file under the law by its path."""
    files = [*(ROOT / "src" / "qsift").rglob("*.py"), *(ROOT / "convert").glob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(files)}


def doors() -> dict[str, list[str]]:
    """Returns the files and folders that may import each foreign package, as pyproject.toml says."""
    return {
        name: re.findall(r"`([^`]+)`", rule["msg"])
        for name, rule in _ruff()["flake8-tidy-imports"]["banned-api"].items()
    }


def exempt() -> set[str]:
    """Returns the files and folders in which ruff does not say it, because they are doors."""
    return {name for name, rules in _ruff()["per-file-ignores"].items() if rules == ["TID251"]}


def _ruff() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]


def module_of(file: str) -> str:
    """Returns a file's module: "src/qsift/hub/__init__.py" is "qsift.hub"."""
    inside = file.removeprefix("src/") if file.startswith("src/") else f"qsift/{file}"
    return inside.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(module: str) -> str:
    """Returns the room that a module of qsift is in."""
    parts = module.split(".")
    return "cli" if module == "qsift.__main__" else parts[1] if len(parts) > 1 else "qsift"


@cache
def imports(file: str, source: str) -> list[Import]:
    """Returns the imports of a file."""
    package = module_of(file).split(".")
    package = package if file.endswith("__init__.py") else package[:-1]
    return list(_imports(ast.parse(source, file), package, late=False))


def _imports(node: ast.AST, package: list[str], *, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, (), child.lineno, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = package[: len(package) - child.level + 1] if child.level else []
            module = ".".join([*origin, *(child.module or "").split(".")]).rstrip(".")
            yield Import(module, tuple(alias.name for alias in child.names), child.lineno, late)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            is_typing = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports(child, package, late=late or is_function or is_typing)


def violations(files: Mapping[str, str], foreign: Mapping[str, list[str]]) -> list[str]:
    """Returns a sentence for each breach of the law.

    Args:
        files: the text of each file by its path.
        foreign: the doors of each foreign package; see `doors`.
    """
    found = [sentence for file, source in files.items() for sentence in _of_file(file, source, files, foreign)]
    return found + _cycles(files)


def _of_file(file: str, source: str, files: Mapping[str, str], foreign: Mapping[str, list[str]]) -> Iterator[str]:
    mine = room_of(module_of(file))
    if mine not in _ROW:
        yield f"{file}: the room {mine} has no row in ROOMS."
        return
    for item in imports(file, source):
        place, package = f"{file}:{item.line}", item.module.partition(".")[0]
        if package != "qsift":
            if package in EVERYWHERE or package in sys.stdlib_module_names:
                continue
            its_doors = foreign.get(package, [])
            if not any(file == door or file.startswith(f"{door}/") for door in its_doors):
                yield f"{place} imports {package}, whose door is {', '.join(its_doors) or 'not in pyproject.toml'}."
            continue
        room = room_of(item.module)
        if room == mine:
            continue
        if _ROW.get(room, 99) >= _ROW[mine]:
            yield f"{place} imports {item.module}, which is not below {mine}."
        if item.module.count(".") > 1 and item.module not in INNER_DOORS:
            yield f"{place} reaches past the door of {room} to {item.module}."
        shown = _shown(item.module, files)
        if shown and (hidden := {*item.names} - shown - {"__version__"}):
            yield f"{place} takes {', '.join(hidden)}, which the door of {room} does not show."
        if room in LATE and mine not in LATE and not item.late:
            yield f"{place} imports {room} at its top; do it in the function that needs it."


def _shown(room: str, files: Mapping[str, str]) -> set[str]:
    """Returns the names that a room's door takes from its files, or defines; none where the module is no door."""
    folder = room.replace(".", "/")
    for door in (f"src/{folder}/__init__.py", f"{folder.removeprefix('qsift/')}/__init__.py"):
        if door in files:
            taken = {name for item in imports(door, files[door]) for name in item.names}
            return taken | set(re.findall(r"^(?:def )?(\w+)(?:\(|: .* =)", files[door], re.MULTILINE))
    return set()


def _cycles(files: Mapping[str, str]) -> list[str]:
    """Returns a sentence for a cycle of files in a room, if there is one; rooms cannot have one, by their order."""
    modules = {module_of(file) for file in files}
    graph = {}
    for file, source in files.items():
        me = module_of(file)
        needed = set()
        for item in imports(file, source):
            inside = [f"{item.module}.{name}" for name in item.names if f"{item.module}.{name}" in modules]
            needed |= {name for name in (inside or [item.module]) if name in modules and room_of(name) == room_of(me)}
        graph[me] = needed
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"These files import each other: {' → '.join(error.args[1])}."]
    return []
