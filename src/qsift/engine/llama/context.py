"""A llama_context, and how sequences are decoded in it: in two phases, behind a prefix that they share.

All tokens but the last of each sequence are decoded without any output and then the last ones with,
because an embedding context computes the vocabulary head for every token it decodes. Where it does not,
one phase is enough. A prefix that sequences share is decoded once and its cells are lent to all of them,
in later calls as well.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import accelerator
from .accelerator import Mode
from .library import LlamaModel, held_interrupts, last_complaint, library, memory_error
from .rows import Reader
from qsift.engine.machine import physical_cores
from qsift.engine.protocol import EngineOptions, TokenIds
from qsift.errors import EngineError

DEFAULT_BATCH_TOKENS = 512
"""Tokens of one decode call; measured in benchmarks/throughput.py."""
_BF16_BATCH_TOKENS = 1024
"""The same for weights that are twice as large, of which each call reads all once more for its last tokens."""

MAX_SEQUENCES = 64
MICRO_BATCH = 512
CELLS_STEP = 1024
FIRST_CELLS = 256
"""Cells of a context whose first call needs no more: clearing CELLS_STEP of them takes 0.1 s for the 0.6B shape."""

# ggml's flash attention sums values in F16 unless a call holds 64 queries or more: the last token of
# a text of 20,000 then has a cosine of 0.996 to torch's. So a long text's last 64 tokens go together.
_LONG, _LONG_TAIL = 1024, 64
CACHE_TYPES = {"f32": (0, 2.0), "f16": (1, 1.0), "q8_0": (8, 17 / 32)}
"""ggml's type of the cached keys and values, and its size relative to F16, by the name in `EngineOptions`."""


def batch_tokens(options: EngineOptions, accel: Mode | None) -> int:
    """Returns the tokens of one decode call in a mode of the accelerator, or without it."""
    return options.batch_tokens or (_BF16_BATCH_TOKENS if accel == "bf16" else DEFAULT_BATCH_TOKENS)


class Context:
    """A llama_context in unified mode: sequence 0 holds the shared prefix, the others the texts."""

    def __init__(
        self, model: LlamaModel, options: EngineOptions, read: Reader, cells: int, *, watch: Any = None
    ) -> None:
        """Makes the context; ``watch`` is a callback of llama.cpp that sees every step, for `run_watched`."""
        self._lib = lib = library()
        params = lib.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = self._call = max(MICRO_BATCH, batch_tokens(options, None))
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
        cache_type, relative_size = CACHE_TYPES[options.cache_type]
        params.type_k = params.type_v = cache_type
        params.offload_kqv = params.op_offload = model.on_gpu
        if watch is not None:
            params.cb_eval, params.n_outputs_max = watch, self._call
        self.cells = cells
        self._held: list[TokenIds] | None = []
        self._model, self._read = model, read  # the model must outlive the context
        self._tell_plug_in()
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

    def run_batch(self, bodies: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Returns a row for each body, decoded behind what sequence 0 holds; leaves only that behind."""
        held = self._take()
        prefix = sum(map(len, held))
        numbers = range(1, len(bodies) + 1)
        if prefix:
            for number in numbers:
                self._lib.llama_memory_seq_cp(self._memory, 0, number, -1, -1)
        tail = self._tail(bodies)
        starts = [np.arange(prefix, prefix + len(ids), dtype=np.int32) for ids in bodies]
        sequences = [np.full(len(ids), number) for number, ids in zip(numbers, bodies, strict=True)]
        self._lib.llama_set_embeddings(self._pointer, False)
        inner = [np.concatenate([part[:-tail] for part in parts]) for parts in (bodies, starts, sequences)]
        self._decode(*inner, output=False)
        ends = np.cumsum([min(tail, len(ids)) for ids in bodies]) - 1
        last = [np.concatenate([part[-tail:] for part in parts]) for parts in (bodies, starts, sequences)]
        self._decode_last(last, ends)
        rows = np.stack([self._row(number, end) for number, end in zip(numbers, ends, strict=True)])
        for number in numbers:
            self._lib.llama_memory_seq_rm(self._memory, number, -1, -1)
        self._held = held
        return rows

    def run_watched(self, sequences: Sequence[TokenIds]) -> None:
        """Decodes whole sequences, in an empty cache, for the callback that the context was made with.

        Every token is an output: of others llama.cpp leaves out half of the last block.
        """
        self.empty()
        self._lib.llama_set_embeddings(self._pointer, True)
        positions = np.concatenate([np.arange(len(ids)) for ids in sequences])
        numbers = np.repeat(np.arange(len(sequences)), [len(ids) for ids in sequences])
        self._decode(np.concatenate(sequences), positions, numbers, output=True)

    def step(self, ids: TokenIds, done: int, n_tokens: int) -> tuple[int, NDArray[np.float32] | None]:
        """Decodes more of one sequence, whose first ``done`` tokens the cache holds, and its row after the last."""
        if done == 0:
            self.empty()
        tail = _LONG_TAIL if len(ids) > _LONG else 1
        start, end = done, min(done + n_tokens, len(ids) - tail)
        if start < end:
            self._lib.llama_set_embeddings(self._pointer, False)
            self._decode(ids[start:end], np.arange(start, end), np.ones(end - start), output=False)
            return end, None
        rest = np.arange(start, len(ids))
        self._decode_last((ids[start:], rest, np.ones(len(rest))), np.array([len(rest) - 1]))
        return len(ids), self._row(1, len(rest) - 1)

    def _tail(self, bodies: Sequence[TokenIds]) -> int:
        """Returns how many tokens of each body, from its end, go into the call that gives outputs."""
        longest, n_tokens = max(map(len, bodies)), sum(map(len, bodies))
        if longest > _LONG and len(bodies) == 1:
            return _LONG_TAIL
        if not self._read.embeddings:  # then the head is computed for outputs only
            return longest if n_tokens <= self._call else 1
        # The accelerator leaves the head out, but llama.cpp clears room for what it would give, 0.6 MB a token.
        return longest if self._model.is_packed and n_tokens <= MAX_SEQUENCES else 1

    def _take(self) -> list[TokenIds]:
        """Returns what sequence 0 holds; until that is set again, nobody knows.

        So an error, or Ctrl-C, which can come between any two lines, leaves a cache that is emptied here.
        """
        if self._held is None:
            self.empty(data=True)
        held, self._held = self._held or [], None
        return held

    def _decode_last(self, tokens: Sequence[NDArray[Any]], ends: NDArray[Any]) -> None:
        """Decodes ids, positions and sequences, of which those at ``ends`` give the rows."""
        self._lib.llama_set_embeddings(self._pointer, self._read.embeddings)
        outputs = np.full(len(tokens[0]), self._read.embeddings)  # of an embedding context every token has to be one
        outputs[ends] = True
        self._decode(*tokens, output=outputs)

    def _row(self, sequence: int, index: int) -> NDArray[np.float32]:
        return self._read.row(self._lib, self._pointer, sequence, index)

    def _tell_plug_in(self) -> None:
        """Tells the accelerator, on this thread, whether what llama.cpp is about to compute is read here."""
        if self._model.is_packed:
            accelerator.load().read_logits(not self._read.embeddings)

    def _decode(
        self,
        ids: NDArray[Any],
        positions: NDArray[Any],
        sequences: NDArray[Any],
        *,
        output: bool | NDArray[np.bool_],
    ) -> None:
        """Calls llama_decode, in pieces: more than n_batch tokens in one call would end the process."""
        self._tell_plug_in()
        outputs = np.broadcast_to(output, len(ids))
        for start in range(0, len(ids), self._call):
            piece = slice(start, start + self._call)
            batch = _Batch(self._lib, ids[piece], positions[piece], sequences[piece], outputs[piece])
            with held_interrupts():
                code = self._lib.llama_decode(self._pointer, batch.struct)
            if code != 0:
                reason = {1: "the cache is full", 2: "the call was aborted"}.get(code, last_complaint())
                raise EngineError(f"llama.cpp failed to decode {len(ids[piece])} tokens: {reason}.", code=code)


class _Batch:
    """A llama_batch over numpy arrays, which it keeps alive."""

    def __init__(
        self,
        lib: Any,
        ids: NDArray[Any],
        positions: NDArray[Any],
        sequences: NDArray[Any],
        outputs: NDArray[np.bool_],
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
            "logits": np.ascontiguousarray(outputs, np.int8),
        }
        self._kept = (numbers, fields)
        types = dict(lib.llama_batch._fields_)
        views = {name: ctypes.cast(array.ctypes.data, types[name]) for name, array in fields.items()}
        self.struct = lib.llama_batch(n_tokens=n, embd=None, **views)
