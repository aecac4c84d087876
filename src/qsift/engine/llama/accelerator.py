"""The plug-in that runs a model's blocks: whether it can be used, and in which mode.

The package qsift_accel is optional, and qsift works the same without it. Nothing here is lost if it is
missing, was compiled for another llama.cpp, or fails: then ggml's own kernels compute, and one line in
the log says why. Only a mode that was asked for and lacks oneDNN, which one command installs, is an error.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from .library import LlamaModel, gpu_layers, held_interrupts, library, version
from qsift.engine.machine import physical_cores
from qsift.engine.protocol import Accel, EngineOptions
from qsift.errors import EngineError, ModelFileError
from qsift.models import ModelFile

logger = logging.getLogger("qsift.accelerator")

Mode = Literal["exact", "bf16", "int8"]

_BLOCK_WEIGHTS = rb"^blk\.[0-9]+\.(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight$"
_MODES: dict[str, tuple[Mode, ...]] = {
    "AMX": ("exact", "bf16", "int8"),
    "AVX512_BF16": ("exact", "bf16", "int8"),
    "AVX512_VNNI": ("exact", "int8"),
    "AVX2_VNNI": ("exact", "int8"),
}

EXACT_TYPES = frozenset({"q8_0", "q6_k", "q5_k", "q4_k", "q4_0", "iq4_nl", "iq4_xs"})
"""Types of block weights that the mode "exact" has a kernel for."""


class Declined(Exception):
    """The plug-in cannot be used; the message is a sentence that says why."""


@dataclass(frozen=True)
class Accelerator:
    """The plug-in, loaded into llama.cpp for as long as the process lives.

    Attributes:
        kernels: the best that the plug-in found of the CPU's instruction sets, such as "AVX512_VNNI".
        handle: its functions.
    """

    kernels: str
    handle: Any
    _buffer_types: tuple[int, ...]

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that this CPU gains from, in the order of `Mode`; empty where there are none."""
        return _MODES.get(self.kernels, ())

    def auto(self, types: Collection[str]) -> Mode | None:
        """Returns what "auto" comes to for block weights of these types; None for llama.cpp's own kernels.

        It is the fastest mode that costs no accuracy, as measured by benchmarks/accelerator.py: bf16 with AMX; exact
        where the CPU has VNNI; bf16 for what exact has no kernel for. F16 and F32 are more exact than either. int8 is
        faster still, and has to be asked for, because its own error on random weights is larger than that of Q8_0 (a
        cosine of 0.9987 against 0.9995). Without oneDNN there is no bf16.
        """
        if {"f16", "f32"} & set(types):
            return None
        exact = "exact" in self.modes and EXACT_TYPES.issuperset(types)
        if exact and self.kernels != "AMX":
            return "exact"
        if "bf16" in self.modes and "bf16" in self.usable_modes():
            return "bf16"
        return "exact" if exact else None

    def usable_modes(self) -> tuple[Mode, ...]:
        """Returns those of `modes` that can compute: without oneDNN, exact alone."""
        try:
            self.open_onednn()
        except EngineError:
            return tuple(mode for mode in self.modes if mode == "exact")
        return self.modes

    def open_onednn(self) -> str:
        """Returns the version of oneDNN, whose library is opened at the first call; the mode exact does without.

        Raises:
            EngineError: it is missing, or does not load.
        """
        import qsift_accel

        needed = "The accelerator's modes bf16 and int8 need oneDNN, which"
        if not (path := qsift_accel.onednn_library()):
            raise EngineError(f"{needed} is not installed. Install it with: pip install 'qsift-accel[onednn]'.")
        if not (found := self.handle.qsift_accel_open_onednn(os.fsencode(path))):
            remedy = "Install it anew with: pip install --force-reinstall onednn-cpu-gomp."
            raise EngineError(f"{needed} does not load ({self.error()}). {remedy}")
        return str(found.decode())

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights of all models in memory."""
        return int(self.handle.qsift_accel_packed_bytes())

    def error(self) -> str:
        """Returns why the last load or product on this thread failed and forgets it; "" if none did."""
        return str(self.handle.qsift_accel_error().decode("utf-8", "replace"))

    def read_logits(self, are_read: bool) -> None:
        """Tells whether the contexts that this thread makes and runs from now on read the vocabulary's logits.

        llama.cpp computes them for each output of an embedding context as well; the plug-in leaves them out there.
        """
        self.handle.qsift_accel_read_logits(are_read)

    @cached_property
    def _overrides(self) -> dict[Mode, Any]:
        return {
            mode: (_Override * 2)(_Override(_BLOCK_WEIGHTS, buft))
            for mode, buft in zip(get_args(Mode), self._buffer_types, strict=True)
        }

    def overrides(self, mode: Mode) -> int:
        """Returns the address of llama.cpp's table that sends the block weights to the plug-in; it stays valid.

        Raises:
            EngineError: as `open_onednn`, for the modes that need it.
        """
        if mode != "exact":
            self.open_onednn()
        return ctypes.addressof(self._overrides[mode])


class _Override(ctypes.Structure):
    _fields_ = [("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p)]  # llama_model_tensor_buft_override


def require_package() -> None:
    """Does nothing where the package is installed and was compiled for this llama.cpp; loads nothing of it.

    Raises:
        Declined: it is missing, or was compiled for another llama.cpp.
        EngineError: llama.cpp does not load.
    """
    try:
        import qsift_accel
    except ImportError:
        raise Declined(
            "The package qsift-accel is not installed. Install it with: pip install 'qsift[accel]'."
        ) from None
    lib = library()._lib
    lib.ggml_version.restype = ctypes.c_char_p
    found = (version(), lib.ggml_version().decode("ascii", "replace"))
    if found != (wanted := (qsift_accel.LLAMA_CPP_PYTHON, qsift_accel.GGML)):
        raise Declined(
            f"qsift-accel was compiled for llama-cpp-python {wanted[0]} (ggml {wanted[1]}); installed is {found[0]} "
            f"(ggml {found[1]}). Install the two that belong together with: pip install --upgrade 'qsift[accel]'."
        )


@cache
def _loaded() -> Accelerator | str:
    try:
        require_package()
        import qsift_accel

        return _registered(library()._lib, qsift_accel.load(), os.fsencode(qsift_accel.LIBRARY))
    except Declined as reason:
        return str(reason)
    except OSError as error:
        return f"qsift-accel does not load: {error}."


def _registered(lib: Any, plug_in: Any, path: bytes) -> Accelerator | str:
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for function, result, arguments in (
        (lib.ggml_backend_load, pointer, [text]),
        (lib.ggml_backend_reg_dev_get, pointer, [pointer, ctypes.c_size_t]),
        (lib.ggml_backend_reg_get_proc_address, pointer, [pointer, text]),
        (plug_in.qsift_accel_error, text, []),
        (plug_in.qsift_accel_kernels, text, []),
        (plug_in.qsift_accel_open_onednn, text, [text]),
        (plug_in.qsift_accel_packed_bytes, ctypes.c_size_t, []),
        (plug_in.qsift_accel_read_logits, None, [ctypes.c_bool]),
        (plug_in.qsift_accel_set_pack_threads, None, [ctypes.c_int]),
    ):
        function.restype, function.argtypes = result, arguments
    # Through llama.cpp's own handle: another copy of libggml would have a registry of its own.
    with held_interrupts():  # it logs
        registry = lib.ggml_backend_load(path)
    if not registry:
        return "llama.cpp declined qsift-accel."
    address = lib.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
    extra = ctypes.CFUNCTYPE(ctypes.POINTER(pointer), pointer)(address)
    types = extra(lib.ggml_backend_reg_dev_get(registry, 0))
    plug_in.qsift_accel_set_pack_threads(physical_cores())
    return Accelerator(
        plug_in.qsift_accel_kernels().decode(),
        plug_in,
        tuple(types[i] for i in range(len(get_args(Mode)))),
    )


def load() -> Accelerator:
    """Returns the plug-in, loaded at the first call.

    Raises:
        Declined: it is not installed, was compiled for another llama.cpp, or does not load.
    """
    found = _loaded()
    if isinstance(found, str):
        raise Declined(found)
    return found


def files_of_package() -> list[Path]:
    """Returns the shared libraries that the plug-in consists of, oneDNN among them; empty where it is not installed."""
    try:
        import qsift_accel
    except ImportError:
        return []
    return [path for path in (qsift_accel.LIBRARY, qsift_accel.onednn_library()) if path and path.exists()]


def wish(options: EngineOptions) -> Accel:
    """Returns what is asked for: by the options, else by $QSIFT_ACCEL; "off" where a GPU computes.

    Raises:
        ValueError: $QSIFT_ACCEL is none of the allowed words.
    """
    word = options.accel if options.accel != "auto" else os.environ.get("QSIFT_ACCEL") or "auto"
    if word not in get_args(Accel):
        raise ValueError(f"QSIFT_ACCEL is {word!r}; allowed are {', '.join(get_args(Accel))}.")
    return word if gpu_layers(options) == 0 else "off"  # type: ignore[return-value]


def choose(word: Accel, types: Collection[str] = ()) -> Mode | None:
    """Returns the mode that a wish comes to on this CPU; None for llama.cpp's own kernels.

    Args:
        word: the wish.
        types: of the file's block weights; none where no file is meant.

    Raises:
        Declined: the plug-in does not load, the CPU gains nothing from the mode that was asked for, or that mode has
            no kernel for these weights.
    """
    if word == "off":
        return None
    found = load()
    if word == "auto":
        return found.auto(types)
    if word not in found.modes:
        raise Declined(f"This CPU gains nothing from {word} (it has {found.kernels}).")
    if word == "exact" and (without := set(types) - EXACT_TYPES):
        told, known = (", ".join(sorted(names)).upper() for names in (without, EXACT_TYPES))
        raise Declined(f"The mode exact has no kernel for weights of the type {told}, only for {known}.")
    return word


def load_model(
    file: ModelFile, options: EngineOptions, *, extra_buffers: bool, mode: Mode | None
) -> tuple[LlamaModel, Mode | None]:
    """Returns a model and the mode that it runs in, which is None where its weights could not be packed.

    Raises:
        ModelFileError, EngineError: as `LlamaModel`; or the mode needs oneDNN, see `Accelerator.open_onednn`.
    """
    if mode is None:
        return LlamaModel(file, options, extra_buffers=extra_buffers), None
    plug_in = load()
    plug_in.error()  # an old one
    try:
        model = LlamaModel(file, options, extra_buffers=extra_buffers, overrides=plug_in.overrides(mode))
    except ModelFileError:
        if not (reason := plug_in.error()):
            raise
        log_failure(reason)
        return LlamaModel(file, options, extra_buffers=extra_buffers), None
    if reason := plug_in.error():
        log_failure(reason)
        model.reload()
        return model, None
    return model, mode


def log_failure(reason: str) -> None:
    """Logs that a model goes on without the accelerator."""
    logger.warning("The accelerator failed (%s); llama.cpp computes this model without it.", reason)
