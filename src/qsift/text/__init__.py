"""What embedding and reranking share: prompts to token ids, ids through an engine, rows to vectors, vectors compared.

This room drives an engine through its seam, and knows no llama.cpp and reads no files.
"""

from .keywords import shows_keywords_of
from .loaded_model import WINDOW, LoadedModel, as_list, length_limit
from .neighbours import (
    Duplicates,
    Neighbours,
    Pairs,
    community_detection,
    near_duplicates,
    paraphrase_mining,
    semantic_search,
)
from .tokenization import Encoded, PromptEncoder, Tokenizer, check_text
from .vectors import PRECISIONS, Precision, Vectors, check_dim, check_precision, normalize, quantize, similarity
