"""Runs a model with llama.cpp's low-level functions.

What goes into which call is planned in `batching`, how a call is decoded stands in `context`.
This file knows token ids; what they mean is decided elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .accelerator import Mode
from .context import CELLS_STEP, FIRST_CELLS, MAX_SEQUENCES, Context, batch_tokens
from .library import LlamaTokenizer
from .rows import reader
from .threads import computing
from qsift.engine.batching import Limits, plan
from qsift.engine.llama import accelerator
from qsift.engine.protocol import EngineOptions, OnProgress, TokenIds
from qsift.errors import EngineError, NonFiniteError
from qsift.models import ModelFile, Task


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
        self._lock = threading.Lock()
        self._context: Context | None = None
        self._stepping: Context | None = None
        self._stepper: LlamaStepper | None = None
        with computing(accel):
            self._model, self.accel = accelerator.load_model(file, options, extra_buffers=extra_buffers, mode=accel)
        n_tokens = batch_tokens(options, self.accel)
        self._file, self._options = file, replace(options, batch_tokens=n_tokens)
        self.tokenizer = LlamaTokenizer(self._model)
        self._read = reader(file, task, self.tokenizer)
        self._limits = Limits(n_tokens, MAX_SEQUENCES - 1)

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
        with self._lock, computing(self.accel):
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
            if not self._does_without_accelerator():
                raise
            return self._run_once(cells, parts, batch)

    def _run_once(self, cells: int, parts: Sequence[TokenIds], batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        context = self._context_for(cells)
        prefix = context.stand_on(parts)
        return context.run_batch([ids[prefix:] for ids in batch])

    def _does_without_accelerator(self) -> bool:
        """Loads the weights anew for llama.cpp's own kernels if the accelerator failed; returns whether it did."""
        if self.accel is None or not (reason := accelerator.load().error()):
            return False
        accelerator.log_failure(reason)
        self._drop_context()
        self._drop_stepping()
        self._model.reload()
        self.accel = None
        return True

    def stepper(self, sequence: TokenIds) -> LlamaStepper:
        """Returns a computation of one long sequence, in a context of its own; see `engine.Engine.stepper`."""
        self._stepper = LlamaStepper(self, sequence)
        return self._stepper

    def close(self) -> None:
        """Frees contexts and weights; waits for a running call."""
        with self._lock:
            self._drop_context()
            self._drop_stepping()
            self._model.close()

    def _step(self, stepper: LlamaStepper, n_tokens: int) -> tuple[int, NDArray[np.float32] | None]:
        """Decodes more of a stepper's sequence; returns how many of its tokens are done, and the row after the last."""
        ids = stepper.sequence
        with self._lock, computing(self.accel):
            self._model.check_open()
            if stepper is not self._stepper:
                raise EngineError("Another long text took the place of this one. Begin it anew.")
            if self._stepping is None or self._stepping.cells < len(ids):
                self._drop_stepping()
                self._stepping = self._new_context(len(ids))
            try:
                done, row = self._stepping.step(ids, len(ids) - stepper.remaining, n_tokens)
            except EngineError:
                if not self._does_without_accelerator():
                    raise
            else:
                if row is None or np.isfinite(row).all():
                    return done, row
                self._drop_stepping()  # with the NaN that may lie in its cache
        return len(ids), self.decode([ids])[0]

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

    def _context_for(self, cells: int) -> Context:
        """Returns a context of at least ``cells`` cells, kept from the last call where it is large enough."""
        self._model.check_open()
        if self._context is None and cells <= FIRST_CELLS:
            # A lone query should not wait for cells that it does not fill.
            self._context = Context(self._model, self._options, self._read, FIRST_CELLS)
        elif self._context is None or self._context.cells < cells:
            self._drop_context()
            self._context = self._new_context(max(cells, 2 * self._limits.tokens))
        return self._context

    def _new_context(self, cells: int) -> Context:
        return Context(self._model, self._options, self._read, -(-cells // CELLS_STEP) * CELLS_STEP)

    def _drop_context(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None

    def _drop_stepping(self) -> None:
        if self._stepping is not None:
            self._stepping.close()
            self._stepping = None


class LlamaStepper:
    """One long sequence that is computed a few tokens at a time; see `engine.Stepper`."""

    def __init__(self, engine: LlamaEngine, sequence: TokenIds) -> None:
        self.sequence = sequence
        self._engine, self._done = engine, 0

    @property
    def remaining(self) -> int:
        """How many tokens are still to be decoded."""
        return len(self.sequence) - self._done

    def advance(self, n_tokens: int) -> NDArray[np.float32] | None:
        """Decodes about ``n_tokens`` more; see `engine.Stepper.advance`.

        Raises:
            EngineError: also where a newer stepper took the place of this one.
        """
        self._done, row = self._engine._step(self, n_tokens)
        return row
