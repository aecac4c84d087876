"""Runs a model with llama.cpp's low-level functions.

Two things here are not what llama.cpp's own wrappers do. Each batch is decoded in two phases, all
tokens but the last of each sequence without any output and then the last ones with, because an
embedding context computes the vocabulary head for every token it decodes. And a prefix that
sequences share is decoded once and its cells are lent to all of them, in later calls as well.
This file knows token ids; what they mean is decided elsewhere.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import accelerator
from .accelerator import Mode
from .batching import Limits, plan
from .engine import EngineOptions, OnProgress
from .errors import EngineError, NonFiniteError
from .llama_batch import Batch
from .llama_library import LlamaModel, LlamaTokenizer, held_interrupts, last_complaint, library, memory_error
from .llama_rows import Reader, reader
from .machine import physical_cores
from .model_file import ModelFile
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

    def __init__(
        self, file: ModelFile, task: Task, options: EngineOptions, *, extra_buffers: bool, accel: Mode | None = None
    ) -> None:
        """Loads the model.

        Args:
            file: a checked file.
            task: "embed" gives hidden states, "rerank" the logits of yes and no.
            options: device, threads and so on.
            extra_buffers: whether llama.cpp may repack the weights.
            accel: the accelerator's mode, or None; the attribute of this name is None too where it failed.

        Raises:
            ModelFileError, EngineError: as `LlamaModel`.
        """
        self._lib = library()
        self._lock = threading.Lock()
        self._context: _Context | None = None
        self._model, self.accel = accelerator.load_model(file, options, extra_buffers=extra_buffers, mode=accel)
        self._file, self._options = file, options
        self.tokenizer = LlamaTokenizer(self._model)
        self._read = reader(file, task, self.tokenizer)
        self._limits = Limits(options.batch_tokens or DEFAULT_BATCH_TOKENS, MAX_SEQUENCES - 1)

    @property
    def max_tokens(self) -> int:
        """The context that the model was trained for, in tokens."""
        return self._file.max_tokens

    def decode(
        self,
        sequences: Sequence[TokenIds],
        *,
        stems: Sequence[Sequence[int]] | None = None,
        on_progress: OnProgress | None = None,
    ) -> NDArray[np.float32]:
        """Returns one row for each sequence; see `engine.Engine.decode`."""
        rows = np.empty((len(sequences), self._read.width), np.float32)
        groups = plan(sequences, self._limits, stems=stems, share_prefixes=self._options.share_prefixes)
        lengths = [len(ids) for ids in sequences]
        cells = max((group.cells(lengths) for group in groups), default=0)
        with self._lock:
            for parts, batch in [(g.parts(sequences[b[0]]), b) for g in groups for b in g.batches]:
                rows[list(batch)] = self._run(cells, parts, [sequences[i] for i in batch])
                self._mend(rows, sequences, batch)
                if on_progress:
                    on_progress(len(batch))
        return rows

    def _run(self, cells: int, parts: Sequence[TokenIds], batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Returns a row for each sequence of a batch that begins with ``parts``.

        Where the accelerator fails, llama.cpp's own kernels compute this batch and all that follow.
        """
        try:
            return self._run_once(cells, parts, batch)
        except EngineError:
            if self.accel is None or not (reason := accelerator.load().error()):
                raise
            accelerator.log_failure(reason)
            self._drop_context()
            self._model.reload()
            self.accel = None
            return self._run_once(cells, parts, batch)

    def _run_once(self, cells: int, parts: Sequence[TokenIds], batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        context = self._context_for(cells)
        prefix = context.stand_on(parts)
        return context.run_batch([ids[prefix:] for ids in batch], self._read)

    def close(self) -> None:
        """Frees context and weights; waits for a running call."""
        with self._lock:
            self._drop_context()
            self._model.close()

    def _mend(self, rows: NDArray[np.float32], sequences: Sequence[TokenIds], batch: Sequence[int]) -> None:
        """Computes the texts whose rows are not finite once more, alone, in a cache that holds nothing.

        On some GPUs one NaN in the cache poisons all later calls until its data is cleared.
        """
        for index in (i for i in batch if not np.isfinite(rows[i]).all()):
            self._context_for(len(sequences[index])).empty(data=True)
            rows[index] = self._run(len(sequences[index]), [], [sequences[index]])[0]
            self._context_for(len(sequences[index])).empty(data=True)
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

    def __init__(self, model: LlamaModel, options: EngineOptions, read: Reader, cells: int) -> None:
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
        elif flash is None and model.is_packed:
            flash = True  # llama.cpp's own choice is off, where attention does not run on the CPU backend
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_AUTO if flash is None else int(flash)
        cache_type, relative_size = _CACHE_TYPES[options.cache_type]
        params.type_k = params.type_v = cache_type
        params.offload_kqv = params.op_offload = model.on_gpu
        self.cells = cells
        self._held: list[TokenIds] | None = []
        self._model = model  # must outlive the context
        with held_interrupts():
            self._pointer = lib.llama_init_from_model(model.pointer, params)
            if self._pointer:
                self.close = weakref.finalize(self, lib.llama_free, self._pointer)
        if not self._pointer:
            raise memory_error("the context", int(cells * model.file.cache_bytes_per_token * relative_size))
        self._memory = lib.llama_get_memory(self._pointer)

    def empty(self, *, data: bool = False) -> None:
        """Empties the cache; without ``data`` only its table, which is enough unless NaN lies in it."""
        self._lib.llama_memory_clear(self._memory, data)
        self._held = []

    def stand_on(self, parts: Sequence[TokenIds]) -> int:
        """Makes sequence 0 hold these parts, for the next batches to stand on, and returns their length.

        What it holds already stays, if it was decoded in the same parts: the same calls fill the same
        cells whatever came before, so that no result depends on that.
        """
        pairs = zip(self._take(), parts, strict=False)
        kept = [part for part, _ in takewhile(lambda pair: np.array_equal(*pair), pairs)]
        end = sum(map(len, kept))
        self._lib.llama_memory_seq_rm(self._memory, 0, end, -1)
        self._lib.llama_set_embeddings(self._pointer, False)
        for part in parts[len(kept) :]:
            self._decode(part, np.arange(end, end + len(part)), np.zeros(len(part)), output=False)
            kept.append(part.copy())
            end += len(part)
        self._held = kept
        return end

    def run_batch(self, bodies: Sequence[TokenIds], read: Reader) -> NDArray[np.float32]:
        """Returns a row for each body, decoded behind what sequence 0 holds; leaves only that behind."""
        held = self._take()
        prefix = sum(map(len, held))
        numbers = range(1, len(bodies) + 1)
        if prefix:
            for number in numbers:
                self._lib.llama_memory_seq_cp(self._memory, 0, number, -1, -1)
        tail = _LONG_TAIL if len(bodies) == 1 and len(bodies[0]) > _LONG else 1
        starts = [np.arange(prefix, prefix + len(ids), dtype=np.int32) for ids in bodies]
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
        self._held = held
        return rows

    def _take(self) -> list[TokenIds]:
        """Returns what sequence 0 holds; until that is set again, nobody knows.

        So an error, or Ctrl-C, which can come between any two lines, leaves a cache that is emptied here.
        """
        if self._held is None:
            self.empty(data=True)
        held, self._held = self._held or [], None
        return held

    def _decode(self, ids: NDArray[Any], positions: NDArray[Any], sequences: NDArray[Any], *, output: bool) -> None:
        """Calls llama_decode, in pieces: more than n_batch tokens in one call would end the process."""
        for start in range(0, len(ids), self._call):
            piece = slice(start, start + self._call)
            batch = Batch(self._lib, ids[piece], positions[piece], sequences[piece], output=output)
            with held_interrupts():
                code = self._lib.llama_decode(self._pointer, batch.struct)
            if code != 0:
                reason = {1: "the cache is full", 2: "the call was aborted"}.get(code, last_complaint())
                raise EngineError(f"llama.cpp failed to decode {len(ids[piece])} tokens: {reason}.", code=code)
