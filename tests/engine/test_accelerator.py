"""The plug-in against torch and against llama.cpp's own kernels, and every way in which it can be missing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from texts import SENTENCES

from qsift import Embedder, EngineOptions, ModelFile, Reranker
from qsift.bench.reference import Reference
from qsift.convert import convert
from qsift.engine.llama import accelerator
from qsift.engine.llama.accelerator import Mode
from qsift.engine.llama.library import library
from qsift.engine.machine import cpu_info
from qsift.engine.protocol import Accel

FLAGS = set(cpu_info().get("flags", "").split())
GAINS = {"avx_vnni", "avx512_vnni", "avx512_bf16"} & FLAGS
needs_plug_in = pytest.mark.skipif(not GAINS, reason="this CPU gains nothing from qsift-accel, so it is not built")
OUTLIERS = (3, 70, 200)
TEXTS = SENTENCES[::3]


@pytest.fixture
def mode(request: pytest.FixtureRequest) -> Mode:
    """A mode that this CPU has; a test that asks for another is skipped."""
    if request.param not in accelerator.load().modes:
        pytest.skip(f"this CPU gains nothing from {request.param}")
    return request.param  # type: ignore[no-any-return]


all_modes = pytest.mark.parametrize("mode", ["exact", "bf16", "int8"], indirect=True)


def encode(path: Path, accel: Accel, texts: list[str] = TEXTS, **options: Any) -> NDArray[np.float32]:
    """Returns the vectors of documents, after a look at what computed them."""
    with Embedder.load(path, options=EngineOptions(accel=accel, **options)) as embedder:
        vectors = embedder.encode_document(texts)
        assert embedder.engine.accel == (None if accel == "off" else accel)  # type: ignore[attr-defined]
    return vectors


def smallest_cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Returns the smallest cosine between rows."""
    return float((ours * theirs).sum(axis=1).min())


def with_outliers(source: Path, target: Path) -> Path:
    """Writes the same function with a few channels 64 times as large, before every product of a block."""
    target.mkdir()
    for file in source.iterdir():
        if file.is_file() and file.suffix != ".safetensors":
            (target / file.name).write_bytes(file.read_bytes())
        elif file.is_dir():
            (target / file.name).mkdir()
            for part in file.iterdir():
                (target / file.name / part.name).write_bytes(part.read_bytes())
    weights = load_file(source / "model.safetensors")
    channels = torch.tensor(OUTLIERS)
    for name, tensor in weights.items():
        if name.endswith(("layernorm.weight", "up_proj.weight")):  # what a product takes in
            tensor[channels] *= 64
        if name.endswith("_proj.weight") and "o_proj" not in name:
            tensor[:, channels] /= 64
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


@pytest.fixture(scope="module")
def outliers(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint embed-0.6b with outlier channels."""
    return with_outliers(checkpoint("embed-0.6b"), tmp_path_factory.mktemp("outliers") / "checkpoint")


def tokens_of(path: Path, texts: list[str]) -> list[list[int]]:
    """Returns the ids that the model sees."""
    with Embedder.load(path, options=EngineOptions(accel="off")) as embedder:
        return [embedder.token_ids(text).tolist() for text in texts]


@needs_plug_in
def test_vectors_of_the_0_6b_shape_are_torchs(checkpoint: Callable[..., Path], gguf: Callable[..., Path]) -> None:
    bounds: dict[Mode, tuple[str, float]] = {
        "exact": ("q8_0", 0.999),
        "bf16": ("bf16", 0.9999),
        "int8": ("q8_0", 0.998),
    }
    texts = SENTENCES[::16]
    theirs = Reference(checkpoint("embed-0.6b")).embed(tokens_of(gguf("embed-0.6b", "q8_0"), texts))
    for mode in accelerator.load().modes:
        quant, bound = bounds[mode]
        cosine = smallest_cosine(encode(gguf("embed-0.6b", quant), mode, texts), theirs)
        assert cosine >= bound, f"{mode}: {cosine:.6f}"


@needs_plug_in
def test_a_type_without_a_kernel_is_left_to_ggml(gguf: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    file = ModelFile.open(gguf("embed-wide", "q3_k_m"))
    assert file.block_types == ("q3_k", "q4_k", "q5_k")
    with pytest.raises(accelerator.Declined, match="no kernel for weights of the type Q3_K, only for IQ4_NL, "):
        accelerator.choose("exact", file.block_types)
    options = EngineOptions(accel="exact")
    model, mode = accelerator.load_model(file, options, extra_buffers=False, mode="exact")
    model.close()
    assert mode is None and "there is no kernel for the type q3_K" in caplog.text


@needs_plug_in
def test_outlier_channels_cost_no_more_than_in_q8_0(outliers: Path, tmp_path: Path) -> None:
    texts = SENTENCES[::16]
    exact, quantised = tmp_path / "bf16.gguf", tmp_path / "q8_0.gguf"
    convert(outliers, exact, quants="bf16")
    convert(outliers, quantised, quants="q8_0")
    theirs = Reference(outliers).embed(tokens_of(quantised, texts))
    plain = smallest_cosine(encode(quantised, "off", texts), theirs)
    modes = accelerator.load().modes
    if "exact" in modes:
        assert (cosine := smallest_cosine(encode(quantised, "exact", texts), theirs)) >= plain - 0.001, (cosine, plain)
    if "bf16" in modes:
        assert (cosine := smallest_cosine(encode(exact, "bf16", texts), theirs)) >= 0.9999, cosine
    if "int8" in modes:
        assert (cosine := smallest_cosine(encode(quantised, "int8", texts), theirs)) >= plain - 0.003, (cosine, plain)


@needs_plug_in
@all_modes
def test_scores_stay_close_to_those_without(mode: Mode, gguf: Callable[..., Path]) -> None:
    pairs = [(SENTENCES[i % 5], text) for i, text in enumerate(TEXTS)]
    scores = []
    for accel in ("off", mode):
        with Reranker.load("demo-reranker", options=EngineOptions(accel=accel)) as reranker:
            scores.append(reranker.predict(pairs))
            assert reranker.engine.accel == (None if accel == "off" else mode)  # type: ignore[attr-defined]
    assert np.abs(scores[1] - scores[0]).max() <= 0.05


@needs_plug_in
@all_modes
def test_a_short_text_is_decoded_once_because_the_head_is_left_out(
    mode: Mode, gguf: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lib, sizes = library(), []
    original = lib.llama_decode
    monkeypatch.setattr(lib, "llama_decode", lambda *a: sizes.append(a[1].n_tokens) or original(*a))
    path, text = gguf("embed-wide", "q8_0"), "a text of few tokens"
    with Embedder.load(path, options=EngineOptions(accel=mode)) as embedder:
        vector = embedder.encode_document(text)
        n_tokens = len(embedder.token_ids(text))
        assert sizes == [n_tokens]
        read = embedder.engine._context  # type: ignore[attr-defined]
        logits = np.ctypeslib.as_array(lib.llama_get_logits(read._pointer), (n_tokens * embedder.file.n_vocab,))
        assert not logits.any(), "cleared, and neither computed nor copied"
        embedder.encode_document(text * 9)
        assert sizes[1:] == [len(embedder.token_ids(text * 9)) - 1, 1], "what is longer takes two phases"
        assert np.array_equal(embedder.encode_document(text), vector)
    with Embedder.load(path, options=EngineOptions(accel="off")) as embedder:
        assert embedder.encode_document(text) @ vector >= 0.999
        assert sizes[-2:] == [n_tokens - 1, 1]


@needs_plug_in
@all_modes
def test_long_and_ragged_texts_that_share_a_cache_do_not_see_each_other(mode: Mode) -> None:
    texts = [" ".join(SENTENCES)[:n] for n in (1, 40, 300, 7000, 2, 1500, 64, 65)]
    together = encode(Path("demo-embedding"), mode, texts)
    alone = np.vstack([encode(Path("demo-embedding"), mode, [text]) for text in texts])
    plain = encode(Path("demo-embedding"), "off", texts)
    assert smallest_cosine(together, alone) >= 0.9999
    assert smallest_cosine(together, plain) >= 0.995


@needs_plug_in
@all_modes
def test_runs_are_bit_identical(mode: Mode, gguf: Callable[..., Path]) -> None:
    path = gguf("embed-wide", "q8_0")
    for threads in (1, 2):
        with Embedder.load(path, options=EngineOptions(accel=mode, threads=threads)) as embedder:
            first = embedder.encode_document(TEXTS)
            for _ in range(3):
                assert np.array_equal(embedder.encode_document(TEXTS), first)
        assert np.array_equal(encode(path, mode, threads=threads), first), "another model object"


@needs_plug_in
@all_modes
def test_two_models_at_once_do_not_disturb_each_other(mode: Mode, gguf: Callable[..., Path]) -> None:
    paths = [gguf("embed-wide", "q8_0"), gguf("embed", "q8_0" if mode == "exact" else "f16")]
    alone = [encode(path, mode) for path in paths]
    plain = encode(paths[0], "off")
    wrong: list[str] = []

    def work(embedder: Embedder, expected: NDArray[np.float32], name: str) -> None:
        for _ in range(10):
            if not np.array_equal(embedder.encode_document(TEXTS), expected):
                wrong.append(name)

    options = EngineOptions(accel=mode)
    with (
        Embedder.load(paths[0], options=options) as one,
        Embedder.load(paths[1], options=options) as other,
        Embedder.load(paths[0], options=EngineOptions(accel="off")) as without,
    ):
        threads = [
            threading.Thread(target=work, args=arguments)
            for arguments in ((one, alone[0], "one"), (other, alone[1], "other"), (without, plain, "without"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@needs_plug_in
@all_modes
def test_a_hundred_models_leave_no_memory_behind(mode: Mode, gguf: Callable[..., Path]) -> None:
    path, packed = gguf("embed-wide", "q8_0"), accelerator.load().packed_bytes  # of other tests' models
    first = encode(path, mode)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(10):  # until the allocator's arenas are there
        encode(path, mode)
    before = resident()
    for _ in range(100):
        assert np.array_equal(encode(path, mode), first)
    assert accelerator.load().packed_bytes == packed
    assert resident() - before < 10e6, f"{(resident() - before) / 1e6:.1f} MB more"


@needs_plug_in
def test_prefixes_are_kept_as_without_it(gguf: Callable[..., Path]) -> None:
    mode = accelerator.load().modes[-1]
    with Embedder.load(gguf("embed-wide", "q8_0"), options=EngineOptions(accel=mode)) as embedder:
        warm = [embedder.encode_query(text) for text in TEXTS[:4]]
        again = [embedder.encode_query(text) for text in TEXTS[:4]]
    assert np.array_equal(np.vstack(warm), np.vstack(again))
