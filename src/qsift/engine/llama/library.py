"""llama.cpp as a library: its log, its build, a loaded model, its tokenizer.

The only door to llama_cpp, opened at first use, because importing it costs more than everything else in qsift.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qsift.engine.protocol import EngineOptions, Token, TokenIds
from qsift.errors import EngineError, EngineMemoryError, ModelFileError
from qsift.models import ModelFile

logger = logging.getLogger("qsift.llama")

# ggml's enum ggml_log_level; 5 continues the line before.
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.DEBUG, 4: logging.INFO}
_ERROR = 4
_complaints: deque[str] = deque(maxlen=8)


@cache
def library() -> Any:
    """Returns the module llama_cpp.llama_cpp, its log led into Python's, its backends started.

    Raises:
        EngineError: llama-cpp-python is missing or its shared library does not load.
    """
    # With CUDA graphs llama.cpp 0.3.36 ends the process among ragged texts, "an illegal instruction" (seen on an H200).
    os.environ.setdefault("GGML_CUDA_DISABLE_GRAPHS", "1")
    try:
        from llama_cpp import llama_cpp as lib
    except Exception as error:  # a missing package, or whatever the loader of shared libraries raises
        raise EngineError(
            f"llama-cpp-python does not load: {error}. Reinstall it with: "
            "pip install --force-reinstall --no-cache-dir llama-cpp-python."
        ) from error
    lib.llama_log_set(_log_callback(lib), ctypes.c_void_p(0))
    with held_interrupts():
        lib.llama_backend_init()
    return lib


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Holds Ctrl-C back until the end of the block and gives a function that says whether it came.

    While llama.cpp runs, its callbacks are the only Python that does, and ctypes would print an
    exception raised there and drop it. Outside of the main thread, where Ctrl-C never lands, and where
    the program does not handle it, nothing is changed.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield lambda: False
        return
    came: list[Any] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])


@cache
def _log_callback(lib: Any) -> Any:
    @lib.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
    def forward(level: int, text: bytes, _user_data: object) -> None:
        message = text.decode("utf-8", "replace").strip()
        if level == _ERROR:
            _complaints.append(message)
        if message:
            logger.log(_LEVELS.get(level, logging.DEBUG), message)

    return forward


def version() -> str:
    """Returns the version of llama-cpp-python."""
    from importlib.metadata import version as package_version

    return package_version("llama-cpp-python")


def build_info() -> str:
    """Returns llama.cpp's own line on what it was built with."""
    return str(library().llama_print_system_info().decode("utf-8", "replace")).strip(" |")


def supports_gpu() -> bool:
    """Returns whether this build can use a GPU and finds one."""
    return bool(library().llama_supports_gpu_offload())


def library_folder() -> str:
    """Returns the folder of the shared libraries in use."""
    return str(library()._base_path)


def ggml_function(name: str) -> Any:
    """Returns a function of ggml, whose types the caller declares."""
    try:
        return getattr(library()._lib, name)
    except AttributeError:
        # Windows does not look into the libraries that a library was linked with.
        return getattr(ctypes.CDLL(str(Path(library_folder()) / "ggml-base.dll")), name)


def gpu_layers(options: EngineOptions) -> int:
    """Returns how many blocks go to the GPU, -1 for all.

    Raises:
        EngineError: a GPU is demanded and this build has none.
    """
    if options.device == "cpu":
        return 0
    if not supports_gpu():
        if options.device == "auto":
            return 0
        raise EngineError(
            "device='gpu' needs a llama-cpp-python built for a GPU; the installed one "
            f"({version()}) has no GPU support or finds no GPU. Install a wheel with, for CUDA 12.4: "
            "pip install --force-reinstall llama-cpp-python "
            "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cu124 "
            "(for Apple's GPUs: …/whl/metal), or use device='cpu'."
        )
    return -1 if options.gpu_layers is None else options.gpu_layers


class LlamaModel:
    """A loaded model: weights and vocabulary. The caller closes it."""

    def __init__(
        self, file: ModelFile, options: EngineOptions, *, extra_buffers: bool, overrides: int | None = None
    ) -> None:
        """Loads the weights.

        Args:
            file: a checked file.
            options: device and GPU.
            extra_buffers: whether llama.cpp may repack the weights.
            overrides: address of llama.cpp's table that sends tensors to other buffer types.

        Raises:
            ModelFileError: llama.cpp refuses the file.
            EngineError: a GPU is demanded and this build has none.
        """
        self.file = file
        self._users: set[object] = set()
        self._users_changed = threading.Condition()
        self._options, self._extra_buffers = options, extra_buffers
        self._load(overrides)

    def _load(self, overrides: int | None) -> None:
        lib, options = library(), self._options
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers(options)
        params.use_extra_bufts = self._extra_buffers
        if options.main_gpu is not None:
            params.main_gpu = options.main_gpu
            params.split_mode = lib.LLAMA_SPLIT_MODE_NONE
        if overrides:
            params.tensor_buft_overrides = overrides
            # What is packed is not needed a second time, as pages of a mapped file.
            params.load_mode = lib.LLAMA_LOAD_MODE_NONE
        _complaints.clear()
        self.on_gpu, self.is_packed = params.n_gpu_layers != 0, overrides is not None
        with held_interrupts() as interrupted:
            params.progress_callback = lib.llama_progress_callback(lambda _share, _data: not interrupted())
            self.pointer = lib.llama_model_load_from_file(os.fsencode(self.file.path), params)
            if self.pointer:
                self._free = weakref.finalize(self, lib.llama_model_free, self.pointer)
        if not self.pointer:
            raise ModelFileError(self.file.path, f"llama.cpp does not load it: {last_complaint()}.")
        self.vocab = lib.llama_model_get_vocab(self.pointer)

    def reload(self) -> None:
        """Loads the weights anew, without overrides, as soon as nobody uses them; contexts must be gone before.

        Raises:
            ModelFileError: llama.cpp refuses the file.
        """
        with self._users_changed:
            self._users_changed.wait_for(lambda: not self._users)
            self._free()
            self._load(None)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keeps the model for the block; any number of threads may be in one at the same time.

        Raises:
            EngineError: the model was closed.
        """
        user = object()
        try:
            with self._users_changed:
                self.check_open()
                self._users.add(user)
            yield
        finally:
            with self._users_changed:
                self._users.discard(user)
                self._users_changed.notify_all()

    def close(self) -> None:
        """Frees the weights as soon as nobody uses them; contexts must be gone before."""
        with self._users_changed:
            self._users_changed.wait_for(lambda: not self._users)
            self._free()

    def check_open(self) -> None:
        """Raises EngineError if the model was closed."""
        if not self._free.alive:
            raise EngineError("The model is closed. Load it again.")


_LONGEST_PIECE = 1024
"""Bytes of the longest token, with room; Qwen3's longest has 128."""


class LlamaTokenizer:
    """llama.cpp's tokenizer of one model."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model

    def encode(self, text: str, *, control_tokens: bool) -> TokenIds:
        """Returns the ids of ``text``; see `tokenization.Tokenizer`."""
        data = text.encode("utf-8")
        # Byte-level BPE never makes more tokens than bytes.
        ids = np.empty(len(data) + 1, np.int32)
        buffer = ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        # Not one after the other: a text of megabytes takes seconds, and a short one must not wait for it.
        with self._model.in_use():
            count = library().llama_tokenize(
                self._model.vocab, data, len(data), buffer, len(ids), False, control_tokens
            )
        if count < 0:
            raise EngineError(f"llama.cpp cannot tokenise a text of {len(data)} bytes.", code=count)
        found: TokenIds = ids[:count].copy()
        return found

    def token(self, token_id: int) -> Token:
        """Returns a token by its id; see `tokenization.Tokenizer`."""
        lib, vocab, piece = library(), self._model.vocab, ctypes.create_string_buffer(_LONGEST_PIECE)
        with self._model.in_use():
            length = lib.llama_token_to_piece(vocab, token_id, piece, len(piece), 0, True)
            return Token(token_id, piece.raw[: max(length, 0)], lib.llama_vocab_is_control(vocab, token_id))

    def word_id(self, text: str) -> int:
        """Returns the id of a word that is one token.

        Raises:
            ModelFileError: it is not.
        """
        ids = self.encode(text, control_tokens=False)
        if len(ids) != 1:
            raise ModelFileError(
                self._model.file.path,
                f"Its vocabulary has no token {text!r}, which Qwen3's has. Convert the checkpoint again.",
            )
        return int(ids[0])


def last_complaint() -> str:
    """Returns the last errors that llama.cpp logged, joined."""
    return "; ".join(dict.fromkeys(_complaints)).rstrip(".") or "it gives no reason"


def memory_error(what: str, nbytes: int) -> EngineMemoryError:
    """Returns the error for an allocation that failed."""
    return EngineMemoryError(
        f"llama.cpp could not allocate {what} (about {nbytes / 2**20:.0f} MiB): {last_complaint()}. "
        "Pass a smaller max_tokens or batch_tokens, or a smaller quantisation."
    )
