"""The laws of the repository: who imports whom, which packages have one door, what is documented.

The tables below are the law; a new file takes a row in them. Nothing here imports llama.cpp.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A file imports only from rows above its own; files of one row do not know each other.
LAYERS = {
    "src/qsift": (
        {
            "bench_texts",
            "borders",
            "checksums",
            "errors",
            "index_filter",
            "machine",
            "normalization",
            "specs",
            "prompts",
        }
        | {"text_files", "vectors"},
        {"gguf_header", "hub_client", "index_lock", "manifest", "names", "passages", "tokenization", "weights"},
        {"batching", "engine", "html_text", "hub_huggingface", "hub_modelscope", "index_batches", "index_ranking"}
        | {"model_file", "pdf_text", "quants", "store"},
        {"bench_rows", "documents", "fingerprint", "hub", "hub_upload", "index_table", "llama_batch", "llama_library"}
        | {"runner", "sizes"},
        {"accelerator", "index_retrieval", "index_settings", "llama_rows", "pull_plan"},
        {"llama_context"},
        {"llama"},
        {"memory", "pull", "selfcheck"},
        {"loading"},
        {"embedder", "reranker"},
        {"parity", "search", "search_index"},
        {"bench", "bench_child", "model_card"},
        {"publishing"},
        {"__init__"},
        {"doctor", "cli_console", "cli_output", "cli_texts"},
        {"cli_options"},
        {"cli_bench", "cli_convert", "cli_models", "cli_ray", "cli_search", "cli_serve"},
        {"cli"},
        {"__main__"},
    ),
    "src/qsift/integrations": (
        {"__init__", "lazy_models", "partitions"},
        {"columns"},
        {"haystack", "lancedb", "langchain", "llama_index", "mteb", "ray", "sentence_transformers"},
    ),
    # The server stands above the library, and knows nothing of the command line.
    "src/qsift/server": (
        {"fair_queue", "off_loop", "settings"},
        {"batcher"},
        {"metrics", "problems"},
        {"bodies", "gate", "lanes"},
        {"ollama", "openai", "rerank", "status", "tei"},
        {"app"},
        {"process"},
        {"__init__"},
    ),
    "convert": (
        {"config", "ggml", "parallel"},
        {"checkpoint", "evidence"},
        {"vocab"},
        {"tensors"},
        {"quantize"},
        {"gguf_file", "magnitudes", "metadata"},
        {"outputs", "source", "verify"},
        {"__init__"},
    ),
}
# What an integration may know of the rest: the library as its users see it.
SHARED_WITH_INTEGRATIONS = {"embedder", "engine", "errors", "model_file", "reranker", "runner", "vectors"} | {
    "fingerprint",
    "loading",
}
# What convert may know of the rest: facts, the container, and llama.cpp's quantisers.
SHARED_WITH_CONVERT = {
    "errors",
    "gguf_header",
    "llama_library",
    "manifest",
    "model_file",
    "prompts",
    "quants",
    "specs",
    "weights",
}
# The server's files that each speak a dialect.
ENDPOINTS = ("ollama", "openai", "rerank", "status", "tei")
# Foreign packages and the files that may import them; numpy is everywhere.
DOORS = {
    "charset_normalizer": {"src/qsift/text_files.py"},
    "click": {
        f"src/qsift/cli{part}.py"
        for part in (
            "",
            "_bench",
            "_console",
            "_convert",
            "_models",
            "_options",
            "_output",
            "_ray",
            "_search",
            "_serve",
            "_texts",
        )
    },
    "fastapi": {
        f"src/qsift/server/{name}.py"
        for name in (*("app", "bodies", "gate", "lanes", "off_loop", "problems"), *ENDPOINTS)
    },
    "fastapi_offline": {"src/qsift/server/app.py"},
    # Two rooms are locked, an index and the store; the third is the lock of huggingface_hub.
    "filelock": {"src/qsift/hub_huggingface.py", "src/qsift/index_lock.py", "src/qsift/store.py"},
    "gguf": {"convert/gguf_file.py"},
    "haystack": {"src/qsift/integrations/haystack.py"},
    "huggingface_hub": {"src/qsift/hub_huggingface.py", "src/qsift/hub_upload.py"},
    "lance": {"src/qsift/integrations/partitions.py"},
    "lancedb": {"src/qsift/index_table.py", "src/qsift/integrations/lancedb.py"},
    "langchain_core": {"src/qsift/integrations/langchain.py"},
    "llama_cpp": {"src/qsift/llama_library.py"},
    "llama_index": {"src/qsift/integrations/llama_index.py"},
    "modelscope_hub": {"src/qsift/hub_modelscope.py"},
    "mteb": {"src/qsift/integrations/mteb.py"},
    "orjson": {"src/qsift/server/off_loop.py"},
    "prometheus_client": {"src/qsift/server/metrics.py"},
    "pypdfium2": {"src/qsift/pdf_text.py"},
    "pyarrow": {
        "src/qsift/index_table.py",
        *(f"src/qsift/integrations/{name}.py" for name in ("columns", "lancedb", "partitions", "ray")),
    },
    "pydantic": {
        *(f"src/qsift/integrations/{name}.py" for name in ("lancedb", "langchain")),
        *(f"src/qsift/server/{name}.py" for name in ("bodies", *ENDPOINTS)),
    },
    "pydantic_core": {"src/qsift/server/bodies.py"},
    "qsift_accel": {"src/qsift/accelerator.py"},
    "ray": {"src/qsift/integrations/ray.py"},
    "safetensors": {"convert/checkpoint.py"},
    "starlette": {"src/qsift/server/app.py", "src/qsift/server/gate.py"},
    "tqdm": {
        "convert/__init__.py",
        *(f"src/qsift/{name}.py" for name in ("cli_search", "hub_huggingface", "pull", "runner")),
    },
    "uvicorn": {"src/qsift/server/process.py"},
}
# The command that serves, and nothing else of the library.
SERVER_IS_IMPORTED_BY = {"src/qsift/cli_serve.py"}
# The commands that convert, and what converts a checkpoint that was fetched by its name.
CONVERT_IS_IMPORTED_BY = {"src/qsift/cli_convert.py", "src/qsift/publishing.py", "src/qsift/pull.py"}
HEAVY = {*DOORS, "torch", "transformers"}
MAX_LINES = 300

PACKAGES = {
    "src/qsift": "qsift",
    "src/qsift/integrations": "qsift.integrations",
    "src/qsift/server": "qsift.server",
    "convert": "qsift.convert",
}
FILES = [path.relative_to(ROOT).as_posix() for folder in LAYERS for path in sorted((ROOT / folder).glob("*.py"))]


@dataclass(frozen=True)
class Import:
    """One import: the absolute name of a module, its line, and whether it waits inside a function."""

    module: str
    line: int
    lazy: bool


def package_of(file: str) -> str:
    return PACKAGES[Path(file).parent.as_posix()]


def parsed(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text("utf-8"), file)


def imports(file: str) -> list[Import]:
    return list(_imports(parsed(file), package_of(file), lazy=False))


def _imports(node: ast.AST, package: str, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = ".".join(package.split(".")[: 1 - child.level or None]) if child.level else ""
            module = ".".join(part for part in (origin, child.module) if part)
            for alias in child.names:
                # "from . import x" names a module or, as for __version__, a thing of the package itself.
                bare = child.module is None and not alias.name.startswith("__")
                yield Import(f"{module}.{alias.name}" if bare else module, child.lineno, lazy)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, package, lazy=lazy or is_function)


def own_imports(file: str) -> list[tuple[Import, str, str]]:
    """Returns the imports from qsift as (import, folder, module name in that folder)."""
    found = []
    for item in imports(file):
        parts = item.module.split(".")
        if parts[0] == "qsift":
            package = ".".join(parts[:2])
            folder = next((folder for folder, name in PACKAGES.items() if name == package), "src/qsift")
            rest = parts[PACKAGES[folder].count(".") + 1 :]
            found.append((item, folder, rest[0] if rest else "__init__"))
    return found


def layer(folder: str, name: str) -> int:
    return next((number for number, names in enumerate(LAYERS[folder]) if name in names), -1)


@pytest.mark.parametrize("folder", LAYERS)
def test_every_file_has_one_layer(folder: str) -> None:
    on_disk = sorted(path.stem for path in (ROOT / folder).glob("*.py"))
    assert on_disk == sorted(name for names in LAYERS[folder] for name in names), "Give it a row in LAYERS."


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_from_lower_layers(file: str) -> None:
    folder, name = str(Path(file).parent), Path(file).stem
    for item, origin, module in own_imports(file):
        if origin == folder:
            assert layer(folder, module) < layer(folder, name), f"{file}:{item.line} imports {module}"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("convert/")])
def test_convert_knows_only_shared_facts(file: str) -> None:
    found = {module for _, origin, module in own_imports(file) if origin == "src/qsift"}
    assert found <= SHARED_WITH_CONVERT


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("src/")])
def test_integrations_know_the_library_and_the_library_not_them(file: str) -> None:
    for item, origin, module in own_imports(file):
        if "integrations" in Path(file).parts:
            assert origin != "src/qsift" or module in SHARED_WITH_INTEGRATIONS, f"{file}:{item.line} imports {module}"
        elif origin == "src/qsift/integrations":
            assert file == "src/qsift/cli_ray.py" and item.lazy, f"{file}:{item.line} imports an integration"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("src/")])
def test_only_the_command_line_and_pull_import_convert_and_only_when_they_are_called(file: str) -> None:
    for item, origin, _ in own_imports(file):
        if origin == "convert":
            assert file in CONVERT_IS_IMPORTED_BY, f"{file}:{item.line}"
            assert item.lazy, f"{file}:{item.line} imports convert at its top"


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("src/qsift/server/")])
def test_only_its_command_imports_the_server_and_only_when_it_is_called(file: str) -> None:
    for item, origin, _ in own_imports(file):
        if origin == "src/qsift/server":
            assert file in SERVER_IS_IMPORTED_BY and item.lazy, f"{file}:{item.line}"


@pytest.mark.parametrize("file", FILES)
def test_each_foreign_package_has_one_door(file: str) -> None:
    for item in imports(file):
        package = item.module.partition(".")[0]
        if package in sys.stdlib_module_names or package in {"qsift", "numpy"}:
            continue
        assert package in DOORS, f"{file}:{item.line} imports {package}, which is no dependency of qsift"
        assert file in DOORS[package], f"{file}:{item.line}: the door to {package} is {sorted(DOORS[package])}"


def test_the_seam_knows_no_engine_and_the_engine_no_prompts_of_users() -> None:
    assert "qsift.llama" not in {item.module for item in imports("src/qsift/engine.py")}
    assert "qsift.runner" not in {item.module for item in imports("src/qsift/llama.py")}


def test_importing_qsift_loads_numpy_and_nothing_heavier() -> None:
    code = "import sys, qsift; print(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "numpy" in loaded
    assert not loaded & HEAVY, f"import qsift loads {sorted(loaded & HEAVY)}"


def test_all_that_the_package_imports_for_its_users_is_exported() -> None:
    import qsift

    tree = parsed("src/qsift/__init__.py")
    own = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    assert {alias.name for node in own for alias in node.names} == set(qsift.__all__) <= set(dir(qsift))
    assert all(hasattr(qsift, name) for name in qsift.__all__)


def test_what_only_searching_needs_is_loaded_when_it_is_asked_for() -> None:
    code = "import sys, qsift; before = {*sys.modules}; qsift.SearchIndex, qsift.Filter; print(*before, *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    counts = Counter(result.stdout.split())
    assert [counts[f"qsift.{name}"] for name in ("embedder", "search_index", "index_filter", "documents")] == [
        2,
        1,
        1,
        0,
    ]


def test_every_error_is_exported() -> None:
    import qsift

    assert {node.name for node in parsed("src/qsift/errors.py").body if isinstance(node, ast.ClassDef)} <= set(
        qsift.__all__
    )


@pytest.mark.parametrize("file", FILES)
def test_every_public_name_has_a_docstring(file: str) -> None:
    tree = parsed(file)
    assert file.endswith("__main__.py") or ast.get_docstring(tree), f"{file} does not say what it is for"
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
    import qsift

    constants = {name for name in qsift.__all__ if not hasattr(getattr(qsift, name), "__module__")}
    documented = {name for file in FILES if file.startswith("src/") for name in documented_constants(parsed(file))}
    assert constants <= documented, f"Without a docstring below it: {sorted(constants - documented)}"


def documented_constants(tree: ast.Module) -> Iterator[str]:
    """Yields the names of assignments that are followed by a string."""
    for node, following in zip(tree.body, tree.body[1:], strict=False):
        is_string = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if is_string and isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_read_in_one_sitting(file: str) -> None:
    n_lines = len((ROOT / file).read_text("utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{file} has {n_lines} lines. Is it one room, or two?"
