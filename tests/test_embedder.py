"""What `Embedder` does around an engine: prompts, order, windows, widths, complaints."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub import CONTROL, StubEngine, StubTokenizer, model_file

from qsift import QUERY_INSTRUCTION, Embedder, InputTooLongError, NonFiniteError
from qsift.text.loaded_model import WINDOW

END = CONTROL["<|endoftext|>"]
TEXTS = st.lists(st.text("ab é\u0301", max_size=6), max_size=12)


def stubbed(**options: int) -> tuple[Embedder, StubEngine]:
    engine = StubEngine(**options)
    return Embedder(engine, StubTokenizer(), model_file("embed", engine.width)), engine


@given(TEXTS, st.randoms(use_true_random=False))
def test_order_and_company_of_a_text_do_not_change_its_row(texts: list[str], draw: random.Random) -> None:
    embedder, _ = stubbed()
    matrix = embedder.encode_document(texts)
    assert matrix.shape == (len(texts), 64)
    order = draw.sample(range(len(texts)), len(texts))
    assert np.array_equal(embedder.encode_document([texts[i] for i in order]), matrix[order])
    assert np.array_equal(np.array(list(embedder.encode_document(iter(texts)))).reshape(-1, 64), matrix)


def test_identical_texts_are_computed_once() -> None:
    embedder, engine = stubbed()
    embedder.encode_document(["a", "b", "a", "a", "e\u0301", "é"])
    assert [sorted(call) for call in engine.calls] == [sorted([[97, END], [98, END], [195, 169, END]])]


def test_documents_stand_bare_and_queries_behind_their_instruction() -> None:
    embedder, engine = stubbed()
    embedder.encode_document("a")
    embedder.encode_query("a")
    embedder.encode_query("a", instruction="Find a letter")
    embedder.encode("a", instruction="")
    seen = [bytes(call[0][:-1]).decode() for call in engine.calls]
    assert all(call[0][-1] == END for call in engine.calls)
    assert seen == [
        "a",
        f"Instruct: {QUERY_INSTRUCTION}\nQuery:a",
        "Instruct: Find a letter\nQuery:a",
        "Instruct: \nQuery:a",
    ]


def test_rows_are_cut_first_and_normalised_then() -> None:
    embedder, engine = stubbed()
    raw = engine.row(embedder.token_ids("some text"))
    cut = embedder.encode_document("some text", truncate_dim=32)
    assert np.allclose(cut, raw[:32] / np.linalg.norm(raw[:32]), atol=1e-6)
    assert np.array_equal(embedder.encode_document("some text", truncate_dim=32, normalize_embeddings=False), raw[:32])


@pytest.mark.parametrize("dim", [31, 65, 0, -1])
def test_a_width_that_was_not_trained_for_is_refused(dim: int) -> None:
    with pytest.raises(ValueError, match=f"truncate_dim is {dim}; this model was trained for 32 to 64"):
        stubbed()[0].encode_document("a", truncate_dim=dim)


@pytest.mark.parametrize("dim", [32.0, "32", True])
def test_a_width_that_is_no_whole_number_is_refused(dim: object) -> None:
    with pytest.raises(TypeError, match="truncate_dim"):
        stubbed()[0].encode_document("a", truncate_dim=dim)  # type: ignore[arg-type]


def test_an_iterator_is_read_a_window_at_a_time() -> None:
    embedder, engine = stubbed()
    taken = []

    def source() -> Iterator[str]:
        for i in range(2 * WINDOW + 1):
            taken.append(i)
            yield str(i)

    rows = embedder.encode_document(source())
    assert not taken
    next(rows)
    assert len(taken) == WINDOW
    assert sum(1 for _ in rows) == 2 * WINDOW and len(engine.calls) == 3


def test_only_the_text_gives_way_and_the_end_token_stays() -> None:
    embedder, engine = stubbed()
    with pytest.warns(UserWarning, match=r"Text 1 is 11 tokens long and was cut to 4\. "):
        embedder.encode_document(["ab", "abcdefghij"], max_tokens=4)
    assert engine.calls[0] == [[97, 98, END], [97, 98, 99, END]]
    opening = len("Instruct: i\nQuery:")
    with pytest.warns(UserWarning, match="cut"):
        embedder.encode_query("abc", instruction="i", max_tokens=opening + 2)
    assert engine.calls[1][0][-2:] == [97, END]
    with pytest.raises(InputTooLongError, match="Cutting cannot help"):
        embedder.encode_query("abc", instruction="i", max_tokens=opening)


def test_a_text_that_must_not_be_cut_is_named_by_its_place_in_the_list() -> None:
    embedder, _ = stubbed()
    with pytest.raises(InputTooLongError) as caught:
        embedder.encode_document(["a", "a", "abcdef"], max_tokens=4, truncate=False)
    assert (caught.value.index, caught.value.n_tokens, caught.value.max_tokens) == (2, 7, 4)


def test_nan_is_reported_by_the_place_in_the_list_although_duplicates_and_windows_lie_before_it() -> None:
    embedder, _ = stubbed(poison=ord("X"))
    texts = ["same"] * WINDOW + [str(i) for i in range(WINDOW)] + ["same", "X"]
    for given_texts in (texts, iter(texts)):
        with pytest.raises(NonFiniteError, match=f"text {2 * WINDOW + 1}"):
            list(embedder.encode_document(given_texts))


def test_progress_counts_every_text_and_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    stubbed()[0].encode_document(["a", "b", "a"], show_progress_bar=True)
    out, err = capfd.readouterr()
    assert out == "" and "2/2" in err


def test_leaving_the_block_closes_the_engine() -> None:
    embedder, engine = stubbed()
    with embedder:
        assert not engine.closed
    assert engine.closed
