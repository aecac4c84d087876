"""A long text that is computed a step at a time gives what it gives at once, whatever runs between the steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from qsift import Embedder, EngineError, Reranker
from qsift.engine.protocol import Engine, TokenIds

LENGTHS = (2, 63, 64, 65, 512, 700, 1024, 1025, 1100, 2048)


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    with Embedder.load("demo-embedding") as embedder:
        yield embedder


def sequence(embedder: Embedder, length: int) -> TokenIds:
    text = " ".join(f"word{number}" for number in range(length))
    return embedder.prepare([text], max_tokens=length)[0].ids


def steps(engine: Engine, ids: TokenIds, n_tokens: int) -> Iterator[np.ndarray | None]:
    stepper = engine.stepper(ids)
    row = None
    while row is None:
        before = stepper.remaining
        row = stepper.advance(n_tokens)
        assert stepper.remaining < before
        yield row
    assert stepper.remaining == 0


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("n_tokens", [64, 512])
def test_steps_give_the_row_that_a_single_call_gives(embedder: Embedder, length: int, n_tokens: int) -> None:
    ids = sequence(embedder, length)
    assert len(ids) == length
    *_, row = steps(embedder.engine, ids, n_tokens)
    expected = embedder.engine.decode([ids])[0]
    cosine = float(row @ expected / np.linalg.norm(row) / np.linalg.norm(expected))
    assert cosine > 0.9999, f"{cosine:.6f}"


def test_other_texts_between_the_steps_change_neither(embedder: Embedder) -> None:
    ids, other = sequence(embedder, 900), embedder.prepare(["how to reset a router"], instruction="Find pages")[0]
    *_, alone = steps(embedder.engine, ids, 128)
    quiet = embedder.engine.decode([other.ids], stems=[other.stems])
    for row in steps(embedder.engine, ids, 128):  # noqa: B007
        assert np.array_equal(embedder.engine.decode([other.ids], stems=[other.stems]), quiet)
    assert np.array_equal(row, alone)


def test_a_new_long_text_takes_the_place_of_one_that_was_given_up(embedder: Embedder) -> None:
    given_up = embedder.engine.stepper(sequence(embedder, 1500))
    given_up.advance(512)
    ids = sequence(embedder, 600)
    *_, row = steps(embedder.engine, ids, 512)
    expected = embedder.engine.decode([ids])[0]
    assert np.allclose(row, expected, atol=0.02 * np.abs(expected).max())
    with pytest.raises(EngineError, match="took the place"):
        given_up.advance(512)


def test_steps_give_a_rerankers_logits_too() -> None:
    with Reranker.load("demo-reranker") as reranker:
        (encoded,) = reranker.prepare("reset a router", ["Hold the button. " * 200])
        *_, row = steps(reranker.engine, encoded.ids, 128)
        assert reranker.finish(row[None])[0] == pytest.approx(
            reranker.predict(("reset a router", "Hold the button. " * 200)), abs=0.02
        )


def test_a_short_text_is_tokenised_while_a_very_long_one_is(embedder: Embedder) -> None:
    long, finished = "word " * 300_000, threading.Event()

    def tokenise() -> None:
        embedder.token_count(long)
        finished.set()

    thread = threading.Thread(target=tokenise)
    thread.start()
    counted = 0
    while not finished.is_set():
        assert embedder.token_count(f"short {counted}") > 2
        counted += 1
    thread.join()
    assert counted > 20
