"""Runs a model with llama.cpp's low-level functions.

Two things here are not what llama.cpp's own wrappers do. Each batch is decoded in two phases, all
tokens but the last of each sequence without any output and then the last ones with, because an
embedding context computes the vocabulary head for every token it decodes. And a prefix that
sequences share is decoded once and its cells are lent to all of them.
This file knows token ids; what they mean is decided elsewhere.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batching import Group, Limits, plan
from .engine import EngineOptions, OnProgress
from .errors import EngineError, NonFiniteError
from .llama_library import LlamaModel, LlamaTokenizer, held_interrupts, last_complaint, library, memory_error
from .machine import physical_cores
from .model_file import ModelFile
from .prompts import RERANK_LABELS
from .specs import Task
from .tokenization import TokenIds

DEFAULT_BATCH_TOKENS = 512
"""Tokens of one decode call; measured in benchmarks/throughput.py."""

MAX_SEQUENCES = 64
MICRO_BATCH = 512
CELLS_STEP = 1024

# ggml's flash attention sums values in F16 unless a call holds 64 queries or more: the last token of
# a text of 20,000 then has a cosine of 0.996 to torch's. So a long text's last 64 tokens go together.
_LONG, _LONG_TAIL = 1024, 64
_CACHE_TYPES = {"f32": (0, 2.0), "f16": (1, 1.0), "q8_0": (8, 17 / 32)}  # ggml's type, size relative to F16


class LlamaEngine:
    """The engine over llama.cpp; see `engine.Engine` for what it promises.

    One lock guards the context: calls from several threads take turns.
    """

    def __init__(self, file: ModelFile, task: Task, options: EngineOptions, *, extra_buffers: bool) -> None:
        """Loads the model.

        Args:
            file: a checked file.
            task: "embed" gives hidden states, "rerank" the logits of yes and no.
            options: device, threads and so on.
            extra_buffers: whether llama.cpp may repack the weights.

        Raises:
            ModelFileError, EngineError: as `LlamaModel`.
        """
        self._lib = library()
        self._lock = threading.Lock()
        self._context: _Context | None = None
        self._model = LlamaModel(file, options, extra_buffers=extra_buffers)
        self._file, self._options = file, options
        self.tokenizer = LlamaTokenizer(self._model)
        self._read = _reader(file, task, self.tokenizer)
        self._limits = Limits(options.batch_tokens or DEFAULT_BATCH_TOKENS, MAX_SEQUENCES - 1)

    @property
    def max_tokens(self) -> int:
        """The context that the model was trained for, in tokens."""
        return self._file.max_tokens

    def decode(self, sequences: Sequence[TokenIds], *, on_progress: OnProgress | None = None) -> NDArray[np.float32]:
        """Returns one row for each sequence; see `engine.Engine.decode`."""
        rows = np.empty((len(sequences), self._read.width), np.float32)
        groups = plan(sequences, self._limits, share_prefixes=self._options.share_prefixes)
        with self._lock:
            for group in groups:
                for batch, values in self._decode_group(sequences, group):
                    rows[list(batch)] = values
                    self._mend(rows, sequences, batch)
                    if on_progress:
                        on_progress(len(batch))
        return rows

    def close(self) -> None:
        """Frees context and weights; waits for a running call."""
        with self._lock:
            self._drop_context()
            self._model.close()

    def _decode_group(
        self, sequences: Sequence[TokenIds], group: Group
    ) -> Iterator[tuple[tuple[int, ...], NDArray[np.float32]]]:
        """Yields every batch of a group with its rows."""
        context = self._context_for(group.cells([len(ids) for ids in sequences]))
        context.forget()
        if group.prefix:
            context.run(sequences[group.batches[0][0]][: group.prefix], 0)
        for batch in group.batches:
            if context.prefix != group.prefix:  # a text was retried alone in between
                context.forget()
                context.run(sequences[batch[0]][: group.prefix], 0)
            yield batch, context.run_batch([sequences[i][group.prefix :] for i in batch], self._read)

    def _mend(self, rows: NDArray[np.float32], sequences: Sequence[TokenIds], batch: Sequence[int]) -> None:
        """Computes the texts whose rows are not finite once more, alone, in a cache that holds nothing.

        On some GPUs one NaN in the cache poisons all later calls until its data is cleared.
        """
        for index in (i for i in batch if not np.isfinite(rows[i]).all()):
            context = self._context_for(len(sequences[index]))
            context.forget(data=True)
            rows[index] = context.run_batch([sequences[index]], self._read)[0]
            context.forget(data=True)
            if not np.isfinite(rows[index]).all():
                raise NonFiniteError(index)

    def _context_for(self, cells: int) -> _Context:
        """Returns a context of at least ``cells`` cells, kept from the last call where it is large enough."""
        self._model.check_open()
        if self._context is None or self._context.cells < cells:
            self._drop_context()
            needed = max(cells, 2 * self._limits.tokens)
            self._context = _Context(self._model, self._options, self._read, -(-needed // CELLS_STEP) * CELLS_STEP)
        return self._context

    def _drop_context(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None


class _Context:
    """A llama_context in unified mode: sequence 0 holds the shared prefix, the others the texts."""

    def __init__(self, model: LlamaModel, options: EngineOptions, read: _Reader, cells: int) -> None:
        self._lib = lib = library()
        params = lib.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = self._call = max(MICRO_BATCH, options.batch_tokens or DEFAULT_BATCH_TOKENS)
        params.n_ubatch = MICRO_BATCH
        params.n_seq_max = params.n_outputs_max = MAX_SEQUENCES
        params.kv_unified = True
        params.pooling_type = read.pooling
        params.n_threads = params.n_threads_batch = options.threads or physical_cores()
        flash = options.flash_attention
        if flash is None and options.cache_type == "f32":
            flash = False  # it would cast the cache to F16 first
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_AUTO if flash is None else int(flash)
        cache_type, relative_size = _CACHE_TYPES[options.cache_type]
        params.type_k = params.type_v = cache_type
        params.offload_kqv = params.op_offload = model.on_gpu
        self.cells = cells
        self.prefix = 0
        self._model = model  # must outlive the context
        with held_interrupts():
            self._pointer = lib.llama_init_from_model(model.pointer, params)
            if self._pointer:
                self.close = weakref.finalize(self, lib.llama_free, self._pointer)
        if not self._pointer:
            raise memory_error("the context", int(cells * model.file.cache_bytes_per_token * relative_size))
        self._memory = lib.llama_get_memory(self._pointer)

    def forget(self, *, data: bool = False) -> None:
        """Empties the cache; without ``data`` only its table, which is enough unless NaN lies in it."""
        self._lib.llama_memory_clear(self._memory, data)
        self.prefix = 0

    def run(self, ids: TokenIds, sequence: int) -> None:
        """Decodes a shared prefix into one sequence, without output."""
        self._lib.llama_set_embeddings(self._pointer, False)
        self._decode(ids, np.arange(len(ids), dtype=np.int32), np.full(len(ids), sequence), output=False)
        self.prefix = len(ids)

    def run_batch(self, bodies: Sequence[TokenIds], read: _Reader) -> NDArray[np.float32]:
        """Returns a row for each body, decoded behind the shared prefix; leaves only the prefix behind."""
        numbers = range(1, len(bodies) + 1)
        if self.prefix:
            for number in numbers:
                self._lib.llama_memory_seq_cp(self._memory, 0, number, -1, -1)
        tail = _LONG_TAIL if len(bodies) == 1 and len(bodies[0]) > _LONG else 1
        starts = [np.arange(self.prefix, self.prefix + len(ids), dtype=np.int32) for ids in bodies]
        sequences = [np.full(len(ids), number) for number, ids in zip(numbers, bodies, strict=True)]
        self._lib.llama_set_embeddings(self._pointer, False)
        inner = [np.concatenate([part[:-tail] for part in parts]) for parts in (bodies, starts, sequences)]
        self._decode(*inner, output=False)
        self._lib.llama_set_embeddings(self._pointer, read.embeddings)
        last = [np.concatenate([part[-tail:] for part in parts]) for parts in (bodies, starts, sequences)]
        self._decode(*last, output=True)
        rows = np.stack([read.row(self._lib, self._pointer, number, number * tail - 1) for number in numbers])
        for number in numbers:
            self._lib.llama_memory_seq_rm(self._memory, number, -1, -1)
        return rows

    def _decode(self, ids: NDArray[Any], positions: NDArray[Any], sequences: NDArray[Any], *, output: bool) -> None:
        """Calls llama_decode, in pieces: more than n_batch tokens in one call would end the process."""
        for start in range(0, len(ids), self._call):
            piece = slice(start, start + self._call)
            batch = _Batch(self._lib, ids[piece], positions[piece], sequences[piece], output=output)
            with held_interrupts():
                code = self._lib.llama_decode(self._pointer, batch.struct)
            if code != 0:
                self.forget(data=True)
                reason = {1: "the cache is full", 2: "the call was aborted"}.get(code, last_complaint())
                raise EngineError(f"llama.cpp failed to decode {len(ids[piece])} tokens: {reason}.", code=code)


class _Batch:
    """A llama_batch over numpy arrays, which it keeps alive."""

    def __init__(
        self, lib: Any, ids: NDArray[Any], positions: NDArray[Any], sequences: NDArray[Any], *, output: bool
    ) -> None:
        n = len(ids)
        numbers = np.ascontiguousarray(sequences, np.int32)
        # seq_id is an array of pointers, each to the one sequence of its token.
        pointers = numbers.ctypes.data + 4 * np.arange(n, dtype=np.uintp)
        fields: dict[str, NDArray[Any]] = {
            "token": np.ascontiguousarray(ids, np.int32),
            "pos": np.ascontiguousarray(positions, np.int32),
            "n_seq_id": np.ones(n, np.int32),
            "seq_id": pointers,
            "logits": np.full(n, output, np.int8),
        }
        self._kept = (numbers, fields)
        types = dict(lib.llama_batch._fields_)
        views = {name: ctypes.cast(array.ctypes.data, types[name]) for name, array in fields.items()}
        self.struct = lib.llama_batch(n_tokens=n, embd=None, **views)


class _Reader:
    """Where a sequence's row is found after its last token was decoded."""

    pooling: int
    embeddings: bool = True
    width: int

    def row(self, lib: Any, context: Any, sequence: int, index: int) -> NDArray[np.float32]:
        """Returns the row of a sequence, whose last token stands at ``index`` in the last call."""
        raise NotImplementedError


class _HiddenState(_Reader):
    """The final hidden state of the last token."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.pooling = library().LLAMA_POOLING_TYPE_LAST

    def row(self, lib: Any, context: Any, sequence: int, index: int) -> NDArray[np.float32]:
        state: NDArray[np.float32] = np.ctypeslib.as_array(
            lib.llama_get_embeddings_seq(context, sequence), (self.width,)
        ).copy()
        return state


class _Labels(_Reader):
    """Logarithms of the probabilities that the file's own head gives yes and no."""

    width = 2

    def __init__(self, labels: Sequence[str]) -> None:
        self._order = [labels.index(label) for label in RERANK_LABELS]
        self.pooling = library().LLAMA_POOLING_TYPE_RANK

    def row(self, lib: Any, context: Any, sequence: int, index: int) -> NDArray[np.float32]:
        # For qwen3, RANK ends in a softmax already. The floor keeps a probability that underflowed
        # from becoming -inf; it stands for a difference of 87 and more.
        values = np.ctypeslib.as_array(lib.llama_get_embeddings_seq(context, sequence), (2,))
        logits: NDArray[np.float32] = np.log(np.maximum(values, np.finfo(np.float32).tiny))[self._order]
        return logits


class _VocabularyLogits(_Reader):
    """The logits of the words yes and no in the vocabulary's head."""

    width = 2
    embeddings = False

    def __init__(self, ids: Sequence[int], n_vocab: int) -> None:
        self._ids, self._n_vocab = list(ids), n_vocab
        self.pooling = library().LLAMA_POOLING_TYPE_NONE

    def row(self, lib: Any, context: Any, sequence: int, index: int) -> NDArray[np.float32]:
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, index), (self._n_vocab,))
        picked: NDArray[np.float32] = logits[self._ids]
        return picked


def _reader(file: ModelFile, task: Task, tokenizer: LlamaTokenizer) -> _Reader:
    if task == "embed":
        return _HiddenState(file.width)
    if file.score_source == "labels":
        return _Labels(file.labels)
    return _VocabularyLogits([tokenizer.word_id(label) for label in RERANK_LABELS], file.n_vocab)
