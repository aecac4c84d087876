"""What `Reranker` does around an engine: prompts, order, scores, complaints."""

from __future__ import annotations

import numpy as np
import pytest
from stub import StubEngine, StubTokenizer, model_file

from qsift import InputTooLongError, NonFiniteError, Reranker


class Scorer(StubEngine):
    """Scores a pair by the number of letters x in it: the logit of yes is their count, that of no is 1."""

    def row(self, ids: np.ndarray) -> np.ndarray:
        return np.array([(ids == ord("x")).sum() - self.base, 1], np.float32)

    base = 0


def stubbed(poison: int | None = None, template: str | None = None) -> tuple[Reranker, Scorer]:
    engine = Scorer(width=2, poison=poison)
    reranker = Reranker(engine, StubTokenizer(), model_file("rerank"), template=template)
    reranker.predict([("", "")])
    engine.base = sum(i == ord("x") for i in engine.calls.pop()[0])  # those of template and instruction
    return reranker, engine


def test_scores_are_p_of_yes_and_raw_ones_the_difference() -> None:
    reranker, _ = stubbed()
    pairs = [("q", "x"), ("q", ""), ("q", "xxx")]
    assert reranker.predict(pairs, raw_scores=True).tolist() == [0, -1, 2]
    assert np.allclose(reranker.predict(pairs), 1 / (1 + np.exp([0, 1, -2])), atol=1e-7)
    assert reranker.predict(("q", "x")) == 0.5
    assert reranker.predict([]).shape == (0,)
    assert list(reranker.predict(iter(pairs), raw_scores=True)) == [0, -1, 2]


def test_extreme_logits_neither_overflow_nor_become_nan() -> None:
    reranker, engine = stubbed()
    engine.base += 10_000
    with np.errstate(all="raise", under="ignore"):
        assert reranker.predict([("q", "d")])[0] == 0
        engine.base -= 20_000
        assert reranker.predict([("q", "d")])[0] == 1


def test_hits_are_sorted_and_equal_scores_keep_their_order() -> None:
    reranker, _ = stubbed()
    hits = reranker.rank("q", ["x", "", "xx", "ax"])
    assert [(hit.corpus_id, hit.text) for hit in hits] == [(2, "xx"), (0, "x"), (3, "ax"), (1, "")]
    assert [hit.corpus_id for hit in reranker.rank("q", iter(["x", "xx"]), top_k=1)] == [1]
    assert reranker.rank("q", []) == []


def test_a_prompt_is_head_body_and_tail_and_only_the_document_gives_way() -> None:
    reranker, engine = stubbed()
    least = reranker.token_count("q", "")
    with pytest.warns(UserWarning, match="Document 0"):
        reranker.predict([("q", "document")], max_tokens=least + 3)
    whole, cut = reranker.token_ids("q", "document").tolist(), engine.calls[-1][0]
    assert len(cut) == least + 3 and cut[:2] == whole[:2] and cut[-11:] == whole[-11:]
    assert bytes(i for i in cut if i < 256).decode().endswith("<Query>: q\n<Document>: doc\nassistant\n\n\n\n\n")
    with pytest.raises(InputTooLongError, match="Cutting cannot help"):
        reranker.predict([("q", "document")], max_tokens=least - 2)


def test_the_template_can_be_chosen_by_name_and_brings_its_instruction() -> None:
    card, evaluation = (stubbed(template=name)[0] for name in ("card", "evaluation"))
    assert card.instruction.startswith("Given a web search query")
    assert evaluation.instruction == "Given the user query, retrieval the relevant passages"
    with pytest.raises(ValueError, match="allowed are card, evaluation"):
        stubbed(template="mine")


@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        ([("a", "b"), "ab"], TypeError, "Pair 1 is of type str"),
        ([("a", "b"), None], TypeError, "Pair 1"),
        ([("a",)], ValueError, "Pair 0 has 1 parts"),
        ([("a", "b"), ("a", 3)], TypeError, "The document of pair 1"),
        ([("a", "b"), (b"a", "c")], TypeError, "The query of pair 1"),
        ([("a", "\udc80")], ValueError, "lone surrogate U\\+DC80"),
        ("ab", TypeError, "Pair 0"),
        (3, TypeError, "pairs is of type int"),
        ({("a", "b")}, TypeError, "pairs is of type set"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_index(pairs: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        stubbed()[0].predict(pairs)


@pytest.mark.parametrize(("top_k", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_count_of_hits_below_one_is_refused(top_k: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="top_k"):
        stubbed()[0].rank("q", ["d"], top_k=top_k)  # type: ignore[arg-type]


def test_nan_is_reported_by_the_place_in_the_list() -> None:
    reranker, _ = stubbed(poison=ord("X"))
    with pytest.raises(NonFiniteError) as caught:
        reranker.predict([("q", "same"), ("q", "same"), ("q", "X")])
    assert caught.value.index == 2
