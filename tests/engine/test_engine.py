"""The real engine on tiny models: batches, prefixes, bad numbers, bad input, bad files."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from texts import SENTENCES

from qsift import (
    Embedder,
    EngineError,
    EngineOptions,
    InputTooLongError,
    ModelFileError,
    NonFiniteError,
    Reranker,
    UnknownModelError,
)
from qsift.engine.protocol import Accel
from qsift.models.gguf_header import read_header

Gguf = Callable[..., Path]


@pytest.fixture(scope="module")
def embedder(gguf: Gguf) -> Iterator[Embedder]:
    with Embedder.load(gguf("embed")) as embedder:
        yield embedder


def test_a_batch_equals_singles_in_any_order(embedder: Embedder) -> None:
    singles = np.vstack([embedder.encode_document(text) for text in SENTENCES])
    order = random.Random(0).sample(range(len(SENTENCES)), len(SENTENCES))
    batch = embedder.encode_document([SENTENCES[i] for i in order])
    cosines = (batch * singles[order]).sum(axis=1)
    assert cosines.min() > 0.9999, cosines.min()


def test_sharing_prefixes_changes_nothing(gguf: Gguf) -> None:
    results = []
    for share in (True, False):
        options = EngineOptions(share_prefixes=share)
        with Embedder.load(gguf("embed"), options=options) as e, Reranker.load(gguf("rerank"), options=options) as r:
            pairs = [(query, text) for query in SENTENCES[:3] for text in SENTENCES[:12]]
            results.append((e.encode_query(SENTENCES), r.predict(pairs, raw_scores=True)))
    assert (results[0][0] * results[1][0]).sum(axis=1).min() > 0.9999
    assert np.abs(results[0][1] - results[1][1]).max() < 0.02


def test_shapes_and_types_are_as_promised(embedder: Embedder) -> None:
    assert embedder.encode_document("one").shape == (embedder.width,)
    assert embedder.encode_document([]).shape == (0, embedder.width)
    assert embedder.encode_document([], truncate_dim=32, precision="ubinary").shape == (0, 4)
    assert embedder.encode_document(["a", "b"], precision="int8").dtype == np.int8
    cut = embedder.encode_document(["a", "b"], truncate_dim=32)
    full = embedder.encode_document(["a", "b"])[:, :32]
    assert np.allclose(cut, full / np.linalg.norm(full, axis=1, keepdims=True), atol=1e-6)


def test_a_stream_yields_rows_as_texts_come(embedder: Embedder) -> None:
    taken = []

    def source() -> Iterator[str]:
        for i in range(3000):
            taken.append(i)
            yield f"text {i % 7}"

    rows = embedder.encode_document(source())
    first = next(rows)
    assert len(taken) < 3000 and first.shape == (embedder.width,)
    assert sum(1 for _ in rows) == 2999


def test_empty_blank_and_huge_texts_work(embedder: Embedder) -> None:
    vectors = embedder.encode_document(["", " ", "\x00", "a\x00b", *[f"t{i % 50}" for i in range(10_000)]])
    assert np.isfinite(vectors).all() and embedder.token_count("") == 1
    with pytest.warns(UserWarning, match="cut to 500"):
        assert np.isfinite(embedder.encode_document("ab " * 350_000, max_tokens=500)).all()


@pytest.mark.parametrize(
    ("texts", "kind", "index"),
    [
        (["a", None], TypeError, "Text 1"),
        (["a", 3], TypeError, "Text 1"),
        ([b"a"], TypeError, "Text 0"),
        (["a", ["b"]], TypeError, "Text 1"),
        (["a", "b", "\ud800"], ValueError, "Text 2"),
        (b"a", TypeError, "texts"),
        (5, TypeError, "texts"),
        ({"a": 1}, TypeError, "texts"),
    ],
)
def test_what_is_no_text_is_refused_with_its_index(
    embedder: Embedder, texts: object, kind: type[Exception], index: str
) -> None:
    with pytest.raises(kind, match=index):
        embedder.encode_document(texts)
    assert embedder.encode_document("still works").shape == (embedder.width,)


def test_a_long_text_is_refused_or_cut_before_the_end_token(embedder: Embedder) -> None:
    with pytest.raises(InputTooLongError) as caught:
        embedder.encode_document(["short", "long " * 50], max_tokens=20, truncate=False)
    assert caught.value.index == 1 and caught.value.max_tokens == 20
    with pytest.warns(UserWarning, match="Text 0"):
        cut = embedder.encode_document("q" * 50, max_tokens=20)
    assert np.allclose(cut, embedder.encode_document("q" * 19), atol=1e-5)


def test_only_the_document_of_a_pair_gives_way(gguf: Gguf) -> None:
    with Reranker.load(gguf("rerank")) as reranker:
        limit = reranker.token_count("a query", "") + 10
        with pytest.warns(UserWarning, match="Document 0"):
            reranker.predict([("a query", "z" * 100)], max_tokens=limit)
        with pytest.raises(InputTooLongError, match="Cutting cannot help"):
            reranker.predict([("a query" * 100, "z")], max_tokens=limit)


def test_scores_are_sorted_and_ties_keep_their_order(gguf: Gguf) -> None:
    with Reranker.load(gguf("rerank")) as reranker:
        hits = reranker.rank("q", ["same", "other", "same"])
        scores = reranker.predict([("q", "same"), ("q", "other"), ("q", "same")])
        assert [hit.score for hit in hits] == sorted(scores.tolist(), reverse=True)
        assert [hit.corpus_id for hit in hits if hit.text == "same"] == [0, 2]
        assert reranker.rank("q", []) == [] and len(reranker.rank("q", ["a", "b"], top_k=1)) == 1
        # Another batch adds in another order; AVX2's sums move by 1.1e-4 here.
        assert np.allclose(list(reranker.predict(iter([("q", "same")]))), scores[:1], atol=1e-3)


def without_head(path: Path, target: Path) -> Path:
    """Writes a reranker as other converters do: without yes and no in a head of their own, and without our keys."""
    import gguf as library

    reader = library.GGUFReader(path)
    writer = library.GGUFWriter(target, "qwen3")
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "qsift.", "general.arch", "qwen3.pooling", "qwen3.classifier")):
            sub = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub)
    for tensor in (one for one in reader.tensors if not one.name.startswith("cls.")):
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return target


@pytest.mark.parametrize("accel", ["off", "auto"])
def test_scores_come_from_the_vocabulary_where_a_file_has_no_head(gguf: Gguf, tmp_path: Path, accel: Accel) -> None:
    options = EngineOptions(accel=accel)
    pairs = [(SENTENCES[i % 3], text * (1 + 40 * (i == 4))) for i, text in enumerate(SENTENCES[:20])]
    with Reranker.load(gguf("rerank", "q8_0"), options=options) as reranker:
        scores = reranker.predict(pairs)
    with Reranker.load(without_head(gguf("rerank", "q8_0"), tmp_path / "plain.gguf"), options=options) as reranker:
        assert reranker.file.score_source == "logits"
        assert np.allclose(reranker.predict(pairs), scores, atol=5e-3)
        assert np.allclose([reranker.predict([pair])[0] for pair in pairs[:6]], scores[:6], atol=5e-3)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux lists them")
@pytest.mark.parametrize("accel", ["off", "auto"])
def test_no_call_leaves_threads_behind(gguf: Gguf, accel: Accel) -> None:
    # Those of a thread that loaded a model would halve the speed of another one that computes with it.
    with Embedder.load(gguf("embed"), options=EngineOptions(threads=2, accel=accel)) as embedder:

        def calls() -> None:
            before = n_threads()
            embedder.encode_document(SENTENCES)
            wait_until(lambda: n_threads() <= before)

        def n_threads() -> int:
            return len(list(Path("/proc/self/task").iterdir()))

        calls()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(calls).result()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_calls_from_several_threads_agree(embedder: Embedder) -> None:
    expected, found = embedder.encode_document(SENTENCES[:6]), {}

    def work(i: int) -> None:
        found[i] = embedder.encode_document(SENTENCES[:6])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[i], expected) for i in range(4))


def test_a_closed_model_says_so(gguf: Gguf) -> None:
    embedder = Embedder.load(gguf("embed"))
    embedder.close()
    embedder.close()
    with pytest.raises(EngineError, match="closed"):
        embedder.encode_document("a")


def test_gpu_without_such_a_build_names_the_wheel(gguf: Gguf) -> None:
    with pytest.raises(EngineError, match="whl/cu"):
        Embedder.load(gguf("embed"), options=EngineOptions(device="gpu"))


def test_the_wrong_loader_says_which_is_right(gguf: Gguf) -> None:
    with pytest.raises(ModelFileError, match=r"Use Reranker\.load"):
        Embedder.load(gguf("rerank"))
    with pytest.raises(ModelFileError, match=r"Use Embedder\.load"):
        Reranker.load(gguf("embed"))


def test_a_name_that_means_nothing_is_told_what_does() -> None:
    names = "Names that can be loaded: qwen3-embedding-0.6b, .*, demo-reranker"
    with pytest.raises(UnknownModelError, match=rf"'word2vec' is neither a file nor a model\. {names}\. Pass one of"):
        Embedder.load("word2vec")


def test_a_name_of_the_other_task_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(ModelFileError, match=r"This is a reranker.*Use Reranker\.load\('Qwen3-Reranker-4B'\)"):
        Embedder.load("Qwen3-Reranker-4B")


def test_nan_is_an_error_with_its_index_and_poisons_nothing(gguf: Gguf, tmp_path: Path) -> None:
    path = tmp_path / "nan.gguf"
    data = bytearray(gguf("embed", "f32").read_bytes())
    embedding = read_header(gguf("embed", "f32")).tensors["token_embd.weight"]
    with Embedder.load(gguf("embed", "f32")) as embedder:
        token, good = int(embedder.token_ids("X")[0]), embedder.encode_document(["fine", "also fine"])
    row = embedding.offset + token * embedding.shape[0] * 4
    data[row : row + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    with Embedder.load(path) as embedder:
        for _ in range(2):
            with pytest.raises(NonFiniteError) as caught:
                embedder.encode_document(["fine", "also fine", "X marks it", "fine"])
            assert caught.value.index == 2
            assert np.allclose(embedder.encode_document(["fine", "also fine"]), good, atol=1e-3)


def test_a_damaged_file_is_refused_and_never_crashes(gguf: Gguf, tmp_path: Path) -> None:
    data = gguf("embed", "q8_0").read_bytes()
    header = min(t.offset for t in read_header(gguf("embed", "q8_0")).tensors.values())
    draw, damaged = random.Random(0), tmp_path / "damaged"
    damaged.mkdir()
    cases = {f"cut-{n}": data[:n] for n in (0, 3, 10, 100, header // 2, header, len(data) - 40)}
    cases |= {"zip": b"PK\x03\x04" + data[4:], "text": b"hello", "swapped": data[:4] + data[4:24][::-1] + data[24:]}
    for n in range(400):
        flipped = bytearray(data)
        for _ in range(draw.choice((1, 1, 1, 8))):
            flipped[draw.randrange(4, header)] ^= 1 << draw.randrange(8)
        cases[f"flip-{n}"] = bytes(flipped)
    for name, content in cases.items():
        (damaged / name).write_bytes(content)
    script = (
        "import sys; from pathlib import Path; from qsift import Embedder, ModelFileError\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    print(path.name, flush=True)\n"
        "    try:\n"
        "        with Embedder.load(path) as embedder: embedder.encode_document(['a text', ''])\n"
        "    except ModelFileError as error: print('refused', path.name)\n"
        "    except Exception as error:\n"
        "        if type(error).__module__ != 'qsift.errors': raise\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, damaged], capture_output=True, text=True, check=False, timeout=300
    )
    last = result.stdout.strip().splitlines()[-1:]
    assert result.returncode == 0, f"exit {result.returncode} at {last}: {result.stderr[-600:]}"
    refused = {line.split()[1] for line in result.stdout.splitlines() if line.startswith("refused")}
    assert {name for name in cases if not name.startswith("flip")} <= refused
    assert sum(name.startswith("flip") for name in refused) > 100
