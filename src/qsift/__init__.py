"""Qwen3-Embedding and Qwen3-Reranker on llama.cpp.

    with Embedder.load("model.gguf") as embedder:
        vectors = embedder.encode_document(["a text"])

Importing this package loads numpy and nothing heavier; llama.cpp is loaded with the first model.
"""

from .documents import find_documents
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
from .index_filter import Filter
from .index_ranking import Candidate
from .index_settings import IndexOptions
from .model_file import ModelFile
from .passages import Document, Passage, Section, Splitter
from .prompts import QUERY_INSTRUCTION, RERANK_TEMPLATES
from .reranker import Hit, Reranker
from .search import PassageList, SearchHit, SearchPipeline
from .search_index import IndexChanges, IndexInfo, SearchIndex
from .specs import SPECS, ModelSpec
from .vectors import similarity

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
