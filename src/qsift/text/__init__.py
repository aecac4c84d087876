"""What embedding and reranking share: prompts to token ids, ids through an engine, rows to vectors.

This room drives an engine through its seam, and knows neither llama.cpp nor files.
"""

from .keywords import shows_keywords_of
from .loaded_model import LoadedModel
from .runner import WINDOW, LengthLimit, as_list, length_limit
from .tokenization import Encoded, Tokenizer, check_text
from .vectors import PRECISIONS, Precision, Vectors, check_dim, check_precision, normalize, quantize, similarity

__all__ = [
    "PRECISIONS",
    "WINDOW",
    "Encoded",
    "LengthLimit",
    "LoadedModel",
    "Precision",
    "Tokenizer",
    "Vectors",
    "as_list",
    "check_dim",
    "check_precision",
    "check_text",
    "length_limit",
    "normalize",
    "quantize",
    "shows_keywords_of",
    "similarity",
]
