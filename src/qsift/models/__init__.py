"""Facts of models and their files: sizes, prompts, weights, quants, what a GGUF is good for. Nothing runs here.

This room reads the headers of files, and knows no llama.cpp, no network and no text but the prompts that the models
were trained with.
"""

from .gguf_header import GGML_TYPES, Header, TensorInfo, read_header
from .gguf_problems import shape_of
from .manifest import ARCHITECTURE, OWN_TEMPLATE, POOLING_LAST, POOLING_RANK, Manifest, named_template
from .model_file import ModelFile, wrong_task
from .prompts import (
    DOCUMENT,
    END_OF_TEXT,
    FIELDS,
    INSTRUCTION,
    QUERY,
    QUERY_INSTRUCTION,
    RELEASED_PROMPTS,
    RERANK_LABELS,
    RERANK_TEMPLATES,
    TRIMMED,
    EmbedTemplate,
    Prompt,
    Prompts,
    RerankTemplate,
    field_of,
    split_controls,
)
from .quants import BLOCKS, SCHEMES, checked_quants, encoded_bytes, largest_share
from .sizes import checkpoint_bytes, gguf_bytes, typed_weights, weight_bytes
from .specs import SPECS, TASKS, ModelSpec, Shape, Task
from .weights import HEAD_WEIGHT, weights
