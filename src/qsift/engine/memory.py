"""How much memory a model takes to run, by its shape or its file. Arithmetic; nothing is loaded.

What llama.cpp allocates is known from its settings in `llama.context`; the process around it was measured once
(`benchmarks/model_sizes.py`), and so was which of a block's rows are alive at the same time.
"""

from __future__ import annotations

from math import prod

from .llama.accelerator import Mode
from .llama.context import CACHE_TYPES, CELLS_STEP, DEFAULT_BATCH_TOKENS, MAX_SEQUENCES, MICRO_BATCH, batch_tokens
from .machine import cpu_has_amx
from .protocol import EngineOptions
from qsift.models import ModelFile, Shape, Task, read_header, shape_of, typed_weights, weight_bytes

_PROCESS = 45 << 20
"""Python, numpy and llama.cpp before a model is loaded. Measured."""
_PER_TOKEN = 330
"""What llama.cpp's tokenizer keeps of a vocabulary, for each token. Measured."""


_REPACKED = ("Q4_0", "Q4_K", "IQ4_NL")
"""Types that llama.cpp keeps a second time, in another order, for faster kernels on x86."""
_PACKED = {"bf16": 2.0, "int8": 1.0, "exact": 1.125}
"""Bytes of a block's weight as the accelerator packs it, in each of its modes."""


def file_bytes(file: ModelFile, options: EngineOptions, *, n_tokens: int, repacked: bool, accel: Mode | None) -> int:
    """Returns what a file adds to the memory of a process that serves it: `run_bytes` for any file and any options.

    A server decodes a long text in steps (`Engine.stepper`), in a cache of its own beside that of the others. That one
    counts as it begins; a query or an instruction of hundreds of tokens, which others stand on, can make it larger.

    Args:
        file: the model.
        options: how it will run.
        n_tokens: the longest text.
        repacked: whether llama.cpp may repack the weights.
        accel: the accelerator's mode, whose packed weights take the place of the file's; None without it.

    Raises:
        ModelFileError: the file is gone or damaged.
    """
    header = read_header(file.path)
    model, blocks = shape_of(header), [one for one in header.tensors.values() if one.name.startswith("blk.")]
    size = file.nbytes
    if accel:
        size += sum(int(_PACKED[accel] * prod(one.shape)) - one.nbytes for one in blocks)
    elif repacked:  # AMX has kernels for most types
        size += sum(one.nbytes for one in blocks if cpu_has_amx() or one.type_name in _REPACKED)
    of_f16 = CACHE_TYPES[options.cache_type][1]
    lengths = 2 * batch_tokens(options, accel), n_tokens
    contexts = (
        int(of_f16 * cache_bytes(model, length)) + compute_bytes(model, length) + _logits_bytes(model)
        for length in lengths
    )
    return size + _PER_TOKEN * model.vocab_size + sum(contexts)


def run_bytes(model: Shape, quant: str, task: Task, *, n_tokens: int = 0, repacked: bool = True) -> int:
    """Returns the memory of a process that embeds or reranks on the CPU, with the default options.

    That is without the accelerator, whose packed block weights take the place of the file's: two bytes for each in
    bf16, one in int8, one and an eighth in exact.

    Args:
        model: the sizes, such as a ModelSpec.
        quant: a name from `quants.SCHEMES`.
        task: what the model is for.
        n_tokens: the longest text; up to 1024 tokens change nothing.
        repacked: whether llama.cpp may repack weights, its default; see `EngineOptions.extra_buffers`.

    Returns:
        Bytes, a few percent above what is measured on x86 without AMX: the weights count as resident, though the
        system may drop their pages, and every buffer as full. A process that met no more than one short text has a
        smaller cache.
    """
    return (
        _PROCESS
        + _PER_TOKEN * model.vocab_size
        + weight_bytes(model, quant, task)
        + (repacked_bytes(model, quant, task) if repacked else 0)
        + cache_bytes(model, n_tokens)
        + compute_bytes(model, n_tokens)
        + _logits_bytes(model)  # copied out of the computation
    )


def repacked_bytes(model: Shape, quant: str, task: Task) -> int:
    """Returns the size of the weights that llama.cpp keeps a second time on x86, for faster kernels."""
    sizes = typed_weights(model, quant, task)
    return sum(nbytes for name, type_name, nbytes in sizes if name.startswith("blk.") and type_name in _REPACKED)


def cache_bytes(model: Shape, n_tokens: int = 0) -> int:
    """Returns the size of the cached keys and values, F16, for texts of up to ``n_tokens``."""
    return _cells(n_tokens) * 2 * 2 * model.num_key_value_heads * model.head_dim * model.num_hidden_layers


def compute_bytes(model: Shape, n_tokens: int = 0) -> int:
    """Returns the size of llama.cpp's compute buffer: what one micro-batch needs at the same time, at most."""
    queries = model.num_attention_heads * model.head_dim
    block = 4 * MICRO_BATCH * (3 * model.intermediate_size + 3 * model.hidden_size + queries)
    head = _logits_bytes(model) + 4 * MICRO_BATCH * model.hidden_size
    mask = 2 * MICRO_BATCH * _cells(n_tokens)
    return mask + max(block, head)


def _logits_bytes(model: Shape) -> int:
    return 4 * MAX_SEQUENCES * model.vocab_size


def _cells(n_tokens: int) -> int:
    needed = max(n_tokens, 2 * DEFAULT_BATCH_TOKENS)
    return -(-needed // CELLS_STEP) * CELLS_STEP
