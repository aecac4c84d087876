"""Qwen3-Embedding and Qwen3-Reranker on llama.cpp.

    with Embedder.load("model.gguf") as embedder:
        vectors = embedder.encode_document(["a text"])

Importing this package loads numpy and nothing heavier; llama.cpp is loaded with the first model, and what only
searching needs with the first of its names.
"""

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .embedder import Embedder
from .engine import Engine, EngineOptions
from .errors import (
    ConversionError,
    DocumentError,
    DownloadError,
    EngineError,
    EngineMemoryError,
    InputTooLongError,
    MissingExtraError,
    ModelFileError,
    NonFiniteError,
    QsiftError,
    SearchIndexError,
    UnknownModelError,
    UploadError,
)
from .models import QUERY_INSTRUCTION, RERANK_TEMPLATES, SPECS, ModelFile, ModelSpec
from .reranker import Hit, Reranker
from .text import similarity

if TYPE_CHECKING:
    from .documents import Document, Passage, Section, Splitter, find_documents
    from .search import (
        Candidate,
        Filter,
        IndexChanges,
        IndexedDocument,
        IndexInfo,
        IndexOptions,
        PassageList,
        SearchHit,
        SearchIndex,
        SearchPipeline,
    )

__version__ = "0.1.0"

__all__ = [
    "QUERY_INSTRUCTION",
    "RERANK_TEMPLATES",
    "SPECS",
    "Candidate",
    "ConversionError",
    "Document",
    "DocumentError",
    "DownloadError",
    "Embedder",
    "Engine",
    "EngineError",
    "EngineMemoryError",
    "EngineOptions",
    "Filter",
    "Hit",
    "IndexChanges",
    "IndexInfo",
    "IndexOptions",
    "IndexedDocument",
    "InputTooLongError",
    "MissingExtraError",
    "ModelFile",
    "ModelFileError",
    "ModelSpec",
    "NonFiniteError",
    "Passage",
    "PassageList",
    "QsiftError",
    "Reranker",
    "SearchHit",
    "SearchIndex",
    "SearchIndexError",
    "SearchPipeline",
    "Section",
    "Splitter",
    "UnknownModelError",
    "UploadError",
    "find_documents",
    "similarity",
]

_HOMES = {
    "documents": "Document Passage Section Splitter find_documents",
    "search": "Candidate Filter IndexChanges IndexedDocument IndexInfo IndexOptions PassageList SearchHit SearchIndex "
    "SearchPipeline",
}


def __getattr__(name: str) -> Any:
    """Returns a public name that is loaded when it is first asked for (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names.split():
            globals()[name] = value = getattr(import_module(f".{home}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Moved(ModuleType):
    """The module `qsift.pull` of old, which is `qsift.hub` now."""

    def __getattr__(self, name: str) -> Any:
        if name not in ("pull", "remove"):
            raise AttributeError(f"module 'qsift.pull' has no attribute {name!r}")
        warnings.warn("qsift.pull is deprecated: import from qsift.hub.", DeprecationWarning, stacklevel=2)
        return getattr(import_module(".hub", __name__), name)


pull = sys.modules[f"{__name__}.pull"] = _Moved(f"{__name__}.pull")
pull.__spec__ = ModuleSpec(pull.__name__, None)
