"""The names that users import stay where they are, and cost nothing before they are asked for."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from collections import Counter
from importlib import import_module

import pytest
from law import EVERYWHERE, doors

import qsift

PUBLIC = {
    "qsift": """
        Candidate ConversionError Document DocumentError DownloadError Embedder Engine EngineError
        EngineMemoryError EngineOptions Filter Hit IndexChanges IndexedDocument IndexInfo IndexOptions
        InputTooLongError MissingExtraError ModelFile ModelFileError ModelSpec NonFiniteError Passage
        PassageList QsiftError QUERY_INSTRUCTION RERANK_TEMPLATES Reranker SPECS SearchHit SearchIndex
        SearchIndexError SearchPipeline Section Splitter UnknownModelError UploadError find_documents similarity
        __version__
    """,
    "qsift.convert": "QUANTS convert",
    "qsift.hub": "open_model pull remove",
    "qsift.integrations.haystack": "QsiftDocumentEmbedder QsiftRanker QsiftTextEmbedder",
    "qsift.integrations.lancedb": "QsiftEmbeddingFunction QsiftReranker",
    "qsift.integrations.langchain": "QsiftCrossEncoder QsiftEmbeddings QsiftRerank",
    "qsift.integrations.llama_index": "QsiftEmbedding QsiftRerank",
    "qsift.integrations.mteb": "QsiftCrossEncoder QsiftEncoder",
    "qsift.integrations.ray": "embed embed_files rerank rerank_files",
    "qsift.integrations.sentence_transformers": "QsiftSentenceTransformer",
    "qsift.server": "ServerOptions create_app serve",
}
HEAVY = {*doors(), *EVERYWHERE} - {"numpy"}


@pytest.mark.parametrize("home", PUBLIC)
def test_public_names_are_where_users_import_them(home: str) -> None:
    module = import_module(home)
    missing = [name for name in PUBLIC[home].split() if not hasattr(module, name)]
    assert not missing


def test_all_names_what_is_public() -> None:
    assert {*qsift.__all__, "__version__"} == {*PUBLIC["qsift"].split()} <= {*dir(qsift)}


def test_every_error_is_exported() -> None:
    errors = {name for name, value in vars(qsift.errors).items() if inspect.isclass(value) and name.endswith("Error")}
    assert errors - {"ImportError"} <= {*qsift.__all__}


def test_the_old_home_of_pull_says_where_it_went() -> None:
    code = "from qsift.pull import pull, remove; import qsift.hub; assert pull is qsift.hub.pull"
    result = subprocess.run([sys.executable, "-Wall", "-c", code], capture_output=True, text=True, check=True)
    assert "qsift.pull is deprecated" in result.stderr
    assert not hasattr(qsift.pull, "__wrapped__") and importlib.util.find_spec("qsift.pull")


def test_importing_qsift_loads_numpy_and_nothing_heavier() -> None:
    loaded = after("import qsift")
    assert "numpy" in loaded
    assert not set(loaded) & HEAVY, f"import qsift loads {sorted(set(loaded) & HEAVY)}"


def test_a_model_that_is_here_is_opened_without_a_hub() -> None:
    # A child of `qsift bench` measures its own memory.
    loaded = after("import qsift.bench.child; from qsift.hub import open_model; open_model('demo-embedding')")
    assert not set(loaded) & {"huggingface_hub", "modelscope_hub", "tqdm"}


def test_what_only_searching_needs_is_loaded_when_it_is_asked_for() -> None:
    code = "import sys, qsift; before = {*sys.modules}; qsift.SearchIndex, qsift.Filter; print(*before, *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    counts = Counter(result.stdout.split())
    homes = ("embedder", "search.index", "search.filter", "documents.files", "search.table")
    assert [counts[f"qsift.{name}"] for name in homes] == [2, 1, 1, 1, 0]


def after(code: str) -> list[str]:
    """Returns the top-level modules that a fresh process has loaded after running ``code``."""
    code = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
