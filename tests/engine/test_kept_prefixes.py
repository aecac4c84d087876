"""What the cache keeps from one call to the next: it saves tokens and changes no bit of a result."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qsift import Embedder, EngineError, EngineOptions, NonFiniteError, Reranker
from qsift.engine.llama.context import CELLS_STEP, FIRST_CELLS, Context
from qsift.engine.llama.engine import LlamaEngine
from qsift.engine.llama.library import library
from qsift.models.gguf_header import read_header

Gguf = Callable[..., Path]

WORDS = ["what", "is", "the", "capital", ":)", "中国", "of", "", "x" * 40, "Query:", "\n"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
INSTRUCTION = st.sampled_from([None, "Find the passage that answers", "", "Judge it: (very) strictly"])
# Arguments of Embedder.encode, where no instruction means documents.
ENCODE = st.tuples(st.lists(TEXT, max_size=5), INSTRUCTION)
# Arguments of Reranker.predict: queries of which each meets every document.
PREDICT = st.tuples(st.lists(TEXT, min_size=1, max_size=3), st.lists(TEXT, max_size=5), INSTRUCTION)
PROPERTY = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def embedder(gguf: Gguf) -> Iterator[Embedder]:
    with Embedder.load(gguf("embed-real-vocab")) as embedder:
        yield embedder


@pytest.fixture(scope="module")
def reranker(gguf: Gguf) -> Iterator[Reranker]:
    with Reranker.load(gguf("rerank-real-vocab")) as reranker:
        yield reranker


@pytest.fixture(scope="module")
def plain(gguf: Gguf) -> Iterator[Embedder]:
    with Embedder.load(gguf("embed-real-vocab"), options=EngineOptions(share_prefixes=False)) as embedder:
        yield embedder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lists how many tokens each decode call of llama.cpp was given from now on."""
    calls: list[int] = []
    original = Context._decode

    def counted(self: Any, ids: np.ndarray, *rest: Any, **options: Any) -> None:
        calls.append(len(ids))
        original(self, ids, *rest, **options)

    monkeypatch.setattr(Context, "_decode", counted)
    return calls


def cold(model: Embedder | Reranker) -> None:
    """Makes the next call of a model its first."""
    engine = model.engine
    assert isinstance(engine, LlamaEngine)
    engine._drop_context()


@PROPERTY
@given(calls=st.lists(ENCODE, min_size=2, max_size=5))
def test_a_warm_embedder_gives_a_cold_ones_vectors_bit_for_bit(
    embedder: Embedder, calls: list[tuple[list[str], str | None]]
) -> None:
    cold(embedder)
    warm = [embedder.encode(texts, instruction=instruction) for texts, instruction in calls]
    for rows, (texts, instruction) in zip(warm, calls, strict=True):
        cold(embedder)
        assert np.array_equal(rows, embedder.encode(texts, instruction=instruction))


@PROPERTY
@given(calls=st.lists(PREDICT, min_size=2, max_size=4))
def test_a_warm_reranker_gives_a_cold_ones_scores_bit_for_bit(
    reranker: Reranker, calls: list[tuple[list[str], list[str], str | None]]
) -> None:
    def scores(queries: list[str], documents: list[str], instruction: str | None) -> np.ndarray:
        pairs = [(query, document) for query in queries for document in documents]
        return np.asarray(reranker.predict(pairs, instruction=instruction, raw_scores=True))

    cold(reranker)
    warm = [scores(*call) for call in calls]
    for found, call in zip(warm, calls, strict=True):
        cold(reranker)
        assert np.array_equal(found, scores(*call))


@PROPERTY
@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_a_kept_instruction_gives_the_vectors_of_an_engine_that_keeps_none(
    plain: Embedder, embedder: Embedder, texts: list[str]
) -> None:
    embedder.encode_query("warm")
    cosines = (embedder.encode_query(texts) * plain.encode_query(texts)).sum(axis=1)
    assert cosines.min() > 0.9999, cosines.min()


def test_a_query_costs_its_own_tokens_once_its_instruction_is_kept(embedder: Embedder, decoded: list[int]) -> None:
    cold(embedder)
    embedder.encode_query("first")
    whole = embedder.token_count("second query", prompt_name="query")
    decoded.clear()
    embedder.encode_query("second query")
    assert sum(decoded) <= 4 < whole, "a colon, two words and the end token"
    decoded.clear()
    embedder.encode_query("second query", instruction="Another sentence that says what to look for in here")
    assert sum(decoded) > 10
    decoded.clear()
    embedder.encode_query("first")
    assert sum(decoded) > 10, "the other instruction took the place of this one"


def test_a_document_costs_its_own_tokens_once_its_query_is_kept(reranker: Reranker, decoded: list[int]) -> None:
    cold(reranker)
    query = "how long does a kept prefix stay where it is"
    reranker.rank(query, ["one document"])
    decoded.clear()
    reranker.rank(query, ["another document"])
    own = sum(decoded)
    assert own <= 12, "two words and what ends the turn"
    decoded.clear()
    reranker.rank("a query of about as many words as that one", ["another document"])
    assert own < sum(decoded) <= own + 16, "the instruction stays, the query is new"


def test_several_queries_share_the_instruction_and_each_its_own_documents(
    reranker: Reranker, decoded: list[int]
) -> None:
    cold(reranker)
    queries = [f"query {i} of several that all are about as long as this one is" for i in range(4)]
    pairs = [(query, f"document {j} says this") for query in queries for j in range(6)]
    each = reranker.token_count(*pairs[0])
    instructed = reranker.token_count("", "") - 10
    reranker.predict(pairs)
    assert sum(decoded) <= instructed + len(queries) * 20 + len(pairs) * 18 < len(pairs) * each / 2


def test_an_error_in_the_middle_of_a_call_leaves_nothing_wrong_behind(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["one", "two", "three"]
    cold(embedder)
    expected = embedder.encode_query(texts)
    original = library().llama_decode
    for failing in range(4):
        for warm in (False, True):
            if not warm:
                cold(embedder)
            count = iter(range(100))
            with monkeypatch.context() as patch, pytest.raises(EngineError, match="failed to decode"):
                patch.setattr(
                    library(), "llama_decode", lambda *a, n=failing, c=count: -1 if next(c) == n else original(*a)
                )
                # Another instruction, so that the failure can hit the kept part as well.
                embedder.encode_query(texts * 2, instruction=f"Other than before, number {failing} {warm} of them")
                embedder.encode_query(texts, instruction=f"And once more another one, {failing} {warm}")
            assert np.array_equal(embedder.encode_query(texts), expected)


def test_ctrl_c_in_the_middle_of_a_call_leaves_nothing_wrong_behind(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold(embedder)
    expected = embedder.encode_query(["one", "two"])
    original = library().llama_decode
    for number in range(3):
        count = iter(range(100))

        def interrupted(*arguments: Any, n: int = number, c: Iterator[int] = count) -> Any:
            if next(c) == n:
                signal.raise_signal(signal.SIGINT)
            return original(*arguments)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(library(), "llama_decode", interrupted)
            embedder.encode_query(["one", "two"], instruction=f"Not the one of before but number {number} of some")
        assert np.array_equal(embedder.encode_query(["one", "two"]), expected)


def test_a_larger_cache_starts_without_what_the_smaller_one_kept(embedder: Embedder) -> None:
    cold(embedder)
    expected = embedder.encode_query("one")
    embedder.encode_document("ab " * 3000)
    assert np.array_equal(embedder.encode_query("one"), expected)
    assert np.array_equal(embedder.encode_query("one"), expected)


def test_a_lone_query_gets_a_small_cache_and_the_vector_of_a_large_one(
    gguf: Gguf, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    original = Context.__init__

    def counted(self: Any, *arguments: Any) -> None:
        made.append(arguments[-1])
        original(self, *arguments)

    monkeypatch.setattr(Context, "__init__", counted)
    with Embedder.load(gguf("embed-real-vocab")) as lone:
        vector = lone.encode_query("one")
        assert made == [FIRST_CELLS]
        lone.encode_document("ab " * 300)
        assert made == [FIRST_CELLS, CELLS_STEP]
        assert np.array_equal(lone.encode_query("one"), vector)
    embedder.encode_document("ab " * 300)
    assert np.array_equal(embedder.encode_query("one"), vector)


def test_nan_in_a_call_costs_the_kept_part_and_nothing_else(gguf: Gguf, tmp_path: Path) -> None:
    path = tmp_path / "nan.gguf"
    data = bytearray(gguf("embed", "f32").read_bytes())
    embedding = read_header(gguf("embed", "f32")).tensors["token_embd.weight"]
    with Embedder.load(gguf("embed", "f32")) as embedder:
        token, expected = int(embedder.token_ids("X")[0]), embedder.encode_query(["fine", "also fine"])
    row = embedding.offset + token * embedding.shape[0] * 4
    data[row : row + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    with Embedder.load(path) as embedder:
        for instruction in (None, "X is in what is kept"):
            with pytest.raises(NonFiniteError):
                embedder.encode_query(["fine", "X marks it"], instruction=instruction)
            assert np.array_equal(embedder.encode_query(["fine", "also fine"]), expected)


def test_threads_with_different_instructions_get_what_one_thread_gets(embedder: Embedder) -> None:
    instructions = [f"Instruction number {i} that is long enough to be kept" for i in range(3)]
    expected = [embedder.encode_query("one text", instruction=instruction) for instruction in instructions]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(
            i
            for _ in range(10)
            if not np.array_equal(embedder.encode_query("one text", instruction=instructions[i]), expected[i])
        )

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
