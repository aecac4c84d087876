"""The plain way to run an embedding model on llama.cpp: one decode call, every token an output.

This is what llama.cpp's own examples and servers do, over the same weights, context, batches and
kernels as qsift's engine; what differs is only the two phases and the shared prefix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llama_cpp import llama_cpp as lib
from numpy.typing import NDArray

from qsift.engine.batching import Limits, plan
from qsift.engine.llama.context import DEFAULT_BATCH_TOKENS
from qsift.engine.llama.library import LlamaModel

MAX_SEQUENCES = 63
_CELLS_STEP = 1024


class SinglePhase:
    """Runs a loaded model in single-phase calls; ``pooling`` LAST gives vectors, RANK probabilities."""

    def __init__(self, model: LlamaModel, *, pooling: int, width: int, threads: int, longest: int) -> None:
        """Makes a context that holds ``longest`` tokens, or two batches where that is more."""
        cells = max(longest, 2 * DEFAULT_BATCH_TOKENS)
        params = lib.llama_context_default_params()
        params.n_ctx = -(-cells // _CELLS_STEP) * _CELLS_STEP
        params.n_batch = max(DEFAULT_BATCH_TOKENS, longest)
        params.n_ubatch = 512
        params.n_seq_max = MAX_SEQUENCES
        params.kv_unified = True
        params.embeddings = True
        params.pooling_type = pooling
        params.n_threads = params.n_threads_batch = threads
        self._context = lib.llama_init_from_model(model.pointer, params)
        if not self._context:
            raise MemoryError("llama.cpp made no context")
        self._width, self._model = width, model

    def decode(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Returns a row of ``width`` values for each sequence, in the order given."""
        rows = np.empty((len(sequences), self._width), np.float32)
        limits = Limits(DEFAULT_BATCH_TOKENS, MAX_SEQUENCES)
        for group in plan(sequences, limits, share_prefixes=False):
            for batch in group.batches:
                self._decode_batch([sequences[i] for i in batch])
                for number, index in enumerate(batch):
                    values = lib.llama_get_embeddings_seq(self._context, number)
                    rows[index] = np.ctypeslib.as_array(values, (self._width,))
        return rows

    def _decode_batch(self, sequences: Sequence[NDArray[np.int32]]) -> None:
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)
        batch = lib.llama_batch_init(sum(len(ids) for ids in sequences), 0, 1)
        place = 0
        for number, ids in enumerate(sequences):
            for position, token in enumerate(ids.tolist()):
                batch.token[place], batch.pos[place] = token, position
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, number
                batch.logits[place] = 1
                place += 1
        batch.n_tokens = place
        code = lib.llama_decode(self._context, batch)
        lib.llama_batch_free(batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
