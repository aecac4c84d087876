"""The two stages behind one call: what each hands on, in which order, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from stub import StubEngine, StubTokenizer, model_file

from qsift import Document, DocumentError, Embedder, PassageList, Reranker, SearchPipeline, Section, Splitter
from qsift.search.ranking import ORDERS, fuse, odds

TEXTS = {"far": "zzzz yyyy", "near": "abcd abcd", "nearer": "abcd abcx", "nearest": "abcd"}


class Scorer(StubEngine):
    """The logit of yes is the number of letters x in a pair."""

    def row(self, ids: np.ndarray) -> np.ndarray:
        return np.array([(ids == ord("x")).sum(), 1], np.float32)


def documents(texts: dict[str, str] = TEXTS) -> list[Document]:
    return [Document.of_text(text, source) for source, text in texts.items()]


@pytest.fixture
def embedder() -> Embedder:
    return Embedder(StubEngine(), StubTokenizer(), model_file("embed"))


@pytest.fixture
def reranker() -> Reranker:
    return Reranker(Scorer(width=2), StubTokenizer(), model_file("rerank"))


def test_the_first_stage_finds_by_cosine_and_the_second_sorts_what_it_found(
    embedder: Embedder, reranker: Reranker
) -> None:
    passages = PassageList.of(documents(), embedder)
    first = SearchPipeline(embedder, None, passages).search("abcd", top_k=3, query_instruction="")
    assert [hit.rank for hit in first] == [1, 2, 3] and {hit.score for hit in first} == {None}
    cosines = [hit.similarity for hit in first]
    vector = embedder.encode_query("abcd", instruction="")
    assert cosines == sorted(cosines, reverse=True)
    assert np.allclose(cosines[0], embedder.encode_document(first[0].passage.text) @ vector, atol=1e-6)
    assert "far" not in {hit.passage.source for hit in first}
    both = SearchPipeline(embedder, reranker, passages).search("abcd", candidates=3, query_instruction="")
    assert both[0].passage.source == "nearer"  # the only one with an x
    assert {hit.passage.source for hit in both} == {hit.passage.source for hit in first}
    assert both[0].score > both[1].score == both[2].score and both[1].rank < both[2].rank


def test_scores_below_the_smallest_allowed_are_left_out(embedder: Embedder, reranker: Reranker) -> None:
    pipeline = SearchPipeline(embedder, reranker, PassageList.of(documents(), embedder))
    best = pipeline.search("abcd")[0]
    assert [hit.passage.source for hit in pipeline.search("abcd", min_score=best.score)] == [best.passage.source]
    assert pipeline.search("abcd", min_score=1.0) == []
    with pytest.raises(ValueError, match="min_score is a score of the reranker, and there is none"):
        SearchPipeline(embedder, None, pipeline.first_stage).search("abcd", min_score=0.5)


def test_each_stage_takes_an_instruction_of_its_own(embedder: Embedder, reranker: Reranker) -> None:
    pipeline = SearchPipeline(embedder, reranker, PassageList.of(documents(), embedder))
    for engine in (embedder.engine, reranker.engine):
        engine.calls.clear()
    pipeline.search("abcd", query_instruction="find letters", rerank_instruction="judge letters")
    [[query]], [pairs] = embedder.engine.calls, reranker.engine.calls
    assert bytes(query[:-1]) == b"Instruct: find letters\nQuery:abcd"
    assert all(b"<Instruct>: judge letters\n" in bytes(i for i in pair if i < 256) for pair in pairs)


def test_nothing_to_search_gives_nothing(embedder: Embedder, reranker: Reranker) -> None:
    passages = PassageList.of([Document.of_text(" \n", "blank")], embedder)
    assert passages.passages == [] and SearchPipeline(embedder, reranker, passages).search("a") == []


def test_a_document_that_cannot_be_read_is_named_and_the_others_are_found(embedder: Embedder) -> None:
    def broken() -> Iterable[Section]:
        yield Section("first page")
        raise DocumentError("torn.pdf", "It is damaged.")

    mixed = [Document("torn.pdf", "pdf", "", 0.0, broken), *documents()]
    told: list[tuple[str, str]] = []
    passages = PassageList.of(mixed, embedder, on_skip=lambda *what: told.append(what))
    assert told == [("torn.pdf", "It is damaged.")]
    assert [passage.source for passage in passages.passages] == list(TEXTS)
    with pytest.raises(DocumentError, match=r"'torn\.pdf': It is damaged"):
        PassageList.of(mixed, embedder)


def test_batches_are_told_and_keep_the_order(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsift.search.pipeline._BATCH", 3)
    long = Document.of_text("\n\n".join(f"paragraph {i}" for i in range(10)), "long")
    told: list[int] = []
    splitter = Splitter(embedder.token_count, max_tokens=16, overlap=0)
    passages = PassageList.of([long], embedder, splitter=splitter, on_batch=lambda batch: told.append(len(batch)))
    assert [passage.text for passage in passages.passages] == [f"paragraph {i}" for i in range(10)]
    assert told == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k is 0"),
        ({"candidates": 0}, ValueError, "candidates is 0"),
        ({"order": "rank"}, ValueError, "order is 'rank'; allowed are both, score"),
        ({"query": 5}, TypeError, "The query is of type int"),
        ({"query": " \n"}, ValueError, "The query is empty"),
    ],
)
def test_wrong_arguments_get_a_sentence(embedder: Embedder, arguments: dict, error: type, message: str) -> None:
    pipeline = SearchPipeline(embedder, None, PassageList.of(documents(), embedder))
    with pytest.raises(error, match=message):
        pipeline.search(**{"query": "a", **arguments})


def test_a_first_place_outweighs_two_middling_ones() -> None:
    middling = list(range(20))
    assert fuse([[99, *middling], middling]).index(99) == 6  # 1/6 lies between 1/11 + 1/12 and 1/12 + 1/13
    assert fuse([[1, 2], [2, 1]]) == [1, 2]
    assert fuse([[], [7]]) == [7] and fuse([[], []]) == []


def test_a_little_more_of_p_yes_does_not_outweigh_a_first_place_and_much_more_does() -> None:
    assert odds(0.6, 1) > odds(0.7, 30) and odds(0.6, 1) < odds(0.99, 30)
    assert odds(1.0, 1) > odds(1.0, 2) > odds(0.999, 1) > odds(0.0, 1) == 0


def test_hits_are_sorted_by_both_stages_or_by_p_yes_alone(embedder: Embedder, reranker: Reranker) -> None:
    pipeline = SearchPipeline(embedder, reranker, PassageList.of(documents(), embedder))
    both, score = (pipeline.search("abcd", order=order) for order in ORDERS)
    assert {hit.passage for hit in both} == {hit.passage for hit in score}
    merits = [odds(hit.score or 0, hit.rank) for hit in both]
    assert merits == sorted(merits, reverse=True)
    scores = [hit.score for hit in score]
    assert scores == sorted(scores, reverse=True)
