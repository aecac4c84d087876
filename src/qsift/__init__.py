"""Qwen3-Embedding and Qwen3-Reranker on llama.cpp.

    with Embedder.load("model.gguf") as embedder:
        vectors = embedder.encode_document(["a text"])

Importing this package loads numpy and nothing heavier; llama.cpp is loaded with the first model, and what only
searching needs with the first of its names.
"""

from importlib import import_module
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
from .model_file import ModelFile
from .prompts import QUERY_INSTRUCTION, RERANK_TEMPLATES
from .reranker import Hit, Reranker
from .specs import SPECS, ModelSpec
from .vectors import similarity

if TYPE_CHECKING:
    from .documents import find_documents
    from .index_filter import Filter
    from .index_ranking import Candidate
    from .index_settings import IndexOptions
    from .passages import Document, Passage, Section, Splitter
    from .search import PassageList, SearchHit, SearchPipeline
    from .search_index import IndexChanges, IndexInfo, SearchIndex

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
    "documents": ("find_documents",),
    "index_filter": ("Filter",),
    "index_ranking": ("Candidate",),
    "index_settings": ("IndexOptions",),
    "passages": ("Document", "Passage", "Section", "Splitter"),
    "search": ("PassageList", "SearchHit", "SearchPipeline"),
    "search_index": ("IndexChanges", "IndexInfo", "SearchIndex"),
}


def __getattr__(name: str) -> Any:
    """Returns a public name that is loaded when it is first asked for (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = value = getattr(import_module(f".{home}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
