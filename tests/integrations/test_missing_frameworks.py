"""Nothing of a framework is loaded unasked, and one that is not installed gets the line that installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = {
    "langchain": ("langchain_core", "langchain"),
    "llama_index": ("llama_index", "llama-index"),
    "haystack": ("haystack", "haystack"),
    "lancedb": ("lancedb", "lancedb"),
    "mcp": ("mcp", "mcp"),
    "mteb": ("mteb", "mteb"),
    "ray": ("ray", "ray"),
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", FRAMEWORKS)
def test_a_framework_that_is_not_installed_gets_its_install_line(module: str) -> None:
    package, extra = FRAMEWORKS[module]
    # An import of a module that stands as None in sys.modules fails as one that is not there.
    result = run(
        f"import sys; sys.modules[{package!r}] = None\n"
        "from qsift import MissingExtraError\n"
        f"try:\n    import qsift.integrations.{module}\n"
        "except MissingExtraError as error:\n    print(error.package, error.extra, error, sep='|')"
    )
    found, named, sentence = result.stdout.strip().split("|")
    assert found.split(".")[0] == package and named == extra, result.stderr
    assert sentence.endswith(f"Install it with: pip install 'qsift[{extra}]'.") and f"needs {package}" in sentence


def test_the_package_and_the_shape_of_sentence_transformers_load_no_framework() -> None:
    result = run(
        "import sys, qsift.integrations, qsift.integrations.sentence_transformers\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = set(result.stdout.split())
    assert "qsift" in loaded and not loaded & {
        "haystack", "lancedb", "langchain_core", "llama_index", "mcp", "mteb", "pydantic", "pyarrow", "ray",
        "sentence_transformers", "torch",
    }  # fmt: skip
