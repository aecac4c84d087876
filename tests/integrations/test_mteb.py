"""MTEB's own evaluation on tasks made here, its scores held against a direct computation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import mteb
import numpy as np
import pytest
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol

from qsift import Embedder, Reranker
from qsift.integrations.mteb import QsiftCrossEncoder, QsiftEncoder

PROMPT = "Given a wish, find the program that fulfils it"
DOCUMENTS = {
    "viewer": "A program that shows pictures in a window.",
    "player": "Plays music and films, also from the network.",
    "backup": "Copies folders to another disk every night.",
    "mail": "Reads and sends electronic mail.",
    "editor": "Edits text files, with colours for source code.",
    "photo": "Changes the size and the colours of photographs.",
    "chess": "Plays chess against you, from weak to strong.",
    "clock": "Shows the time of day in the corner of the screen.",
}
QUERIES = {"q1": "image viewer", "q2": "listen to songs", "q3": "save my files elsewhere", "q4": "what time is it"}
RELEVANT = {"q1": {"viewer": 2, "photo": 1}, "q2": {"player": 1}, "q3": {"backup": 1, "mail": 0}, "q4": {"clock": 1}}
FACTS = {
    "description": "Wishes and programs, written for this test.",
    "dataset": {"path": "local", "revision": "1"},
    "category": "t2t",
    "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"],
    "date": ("2026-01-01", "2026-01-01"),
    "dialect": [],
    "domains": [],
    "task_subtypes": [],
    "license": "apache-2.0",
    "annotations_creators": "derived",
    "modalities": ["text"],
    "sample_creation": "created",
    "bibtex_citation": "",
    "prompt": {"query": PROMPT},
}


class LocalTask(AbsTaskRetrieval):
    """A task whose data lies in this file."""

    top_ranked: ClassVar[dict[str, list[str]] | None] = None
    instructions: ClassVar[dict[str, str] | None] = None

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        told = self.instructions or {}
        queries = [{"id": i, "text": q, **({"instruction": told[i]} if told else {})} for i, q in QUERIES.items()]
        corpus = [{"id": i, "text": text, "title": ""} for i, text in DOCUMENTS.items()]
        split = RetrievalSplitData(
            corpus=Dataset.from_list(corpus),
            queries=Dataset.from_list(queries),
            relevant_docs=RELEVANT,
            top_ranked=self.top_ranked,
        )
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


class Retrieval(LocalTask):
    metadata = TaskMetadata(type="Retrieval", name="ProgramsRetrieval", main_score="ndcg_at_10", **FACTS)


class Reranking(LocalTask):
    metadata = TaskMetadata(type="Reranking", name="ProgramsReranking", main_score="map_at_1000", **FACTS)
    top_ranked: ClassVar = {query: list(DOCUMENTS)[::-1] for query in QUERIES}


class InstructionReranking(Reranking):
    metadata = TaskMetadata(type="Reranking", name="ProgramsToldReranking", main_score="map_at_1000", **FACTS)
    instructions: ClassVar = {"q1": "Find viewers", "q2": "Find players", "q3": "Find viewers", "q4": "Find clocks"}


def scores_of(task: AbsTaskRetrieval, model: Any) -> dict[str, float]:
    result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    return result.task_results[0].scores["test"][0]


def ndcg(order: list[str], relevant: dict[str, int]) -> float:
    gains = [relevant.get(document, 0) for document in order[:10]]
    best = sorted(relevant.values(), reverse=True)[:10]
    discounts = 1 / np.log2(np.arange(2, 12))
    return float(gains @ discounts[: len(gains)] / (best @ discounts[: len(best)]))


def average_precision(order: list[str], relevant: dict[str, int]) -> float:
    hits = np.array([relevant.get(document, 0) > 0 for document in order])
    return float((hits.cumsum() / np.arange(1, len(hits) + 1))[hits].sum() / sum(r > 0 for r in relevant.values()))


def held_against(found: dict[str, float], score: Callable[[str], np.ndarray]) -> None:
    """Compares MTEB's scores with those of the order that ``score`` gives to all documents for a query's id."""
    orders = {query: [list(DOCUMENTS)[i] for i in np.argsort(-score(query), kind="stable")] for query in QUERIES}
    for name, measure in (("ndcg_at_10", ndcg), ("map_at_1000", average_precision)):
        expected = np.mean([measure(orders[query], RELEVANT[query]) for query in QUERIES])
        assert found[name] == pytest.approx(expected, abs=1e-5)
    assert 0.5 < found["ndcg_at_10"] <= 1


@pytest.mark.parametrize("dim", [None, 32])
@pytest.mark.parametrize("task", [Retrieval, Reranking])
def test_an_embedders_scores_are_those_of_a_direct_computation(task: type[LocalTask], dim: int | None) -> None:
    with Embedder.load("demo-embedding") as embedder:
        documents = embedder.encode_document(list(DOCUMENTS.values()), truncate_dim=dim)
        queries = {
            i: embedder.encode_query(query, instruction=PROMPT, truncate_dim=dim) for i, query in QUERIES.items()
        }
        found = scores_of(task(), QsiftEncoder(embedder, truncate_dim=dim))
    held_against(found, lambda query: documents @ queries[query])


def test_a_rerankers_scores_are_those_of_a_direct_computation() -> None:
    with Reranker.load("demo-reranker") as reranker:
        found = scores_of(Reranking(), QsiftCrossEncoder(reranker))
        held_against(
            found,
            lambda query: reranker.predict([(QUERIES[query], d) for d in DOCUMENTS.values()], instruction=PROMPT),
        )


def loader(texts: list[str], **columns: list[str]) -> list[dict[str, list[str]]]:
    """Returns batches of two, as a DataLoader gives them."""
    return [
        {"text": texts[i : i + 2], **{name: column[i : i + 2] for name, column in columns.items()}}
        for i in range(0, len(texts), 2)
    ]


def test_queries_carry_the_tasks_instruction_and_documents_stand_bare() -> None:
    texts = list(DOCUMENTS.values())
    about = {"task_metadata": Retrieval.metadata, "hf_split": "test", "hf_subset": "default"}
    with Embedder.load("demo-embedding") as embedder:
        encoder = QsiftEncoder(embedder)
        sides = {side: encoder.encode(loader(texts), prompt_type=side, **about) for side in mteb.types.PromptType}
        assert np.array_equal(sides[mteb.types.PromptType.document], embedder.encode_document(texts))
        assert np.array_equal(sides[mteb.types.PromptType.query], embedder.encode_query(texts, instruction=PROMPT))
        own = QsiftEncoder(embedder, prompts={"ProgramsRetrieval": "Find programs"})
        told = own.encode(loader(texts), prompt_type=mteb.types.PromptType.query, **about)
        assert np.array_equal(told, embedder.encode_query(texts, instruction="Find programs"))


def test_a_query_that_brings_its_own_instruction_keeps_it() -> None:
    with Reranker.load("demo-reranker") as reranker:
        found = scores_of(InstructionReranking(), QsiftCrossEncoder(reranker))
        told = InstructionReranking.instructions
        held_against(
            found,
            lambda query: reranker.predict([(QUERIES[query], d) for d in DOCUMENTS.values()], instruction=told[query]),
        )


def test_a_task_without_an_instruction_gets_the_rerankers_own() -> None:
    bare = Reranking.metadata.model_copy(update={"prompt": None})
    about = {"task_metadata": bare, "hf_split": "test", "hf_subset": "default"}
    texts = list(DOCUMENTS.values())
    with Reranker.load("demo-reranker") as reranker:
        found = QsiftCrossEncoder(reranker).predict(loader(["viewer"] * 8), loader(texts), **about)
        assert np.array_equal(found, reranker.predict([("viewer", text) for text in texts]))
        own = QsiftCrossEncoder(reranker, prompts={"Reranking": "Find programs"})
        told = own.predict(loader(["viewer"] * 8), loader(texts), **about)
        assert np.array_equal(told, reranker.predict([("viewer", t) for t in texts], instruction="Find programs"))


def test_both_keep_mtebs_protocols_and_results_are_filed_under_the_model(tmp_path: Path) -> None:
    encoder = QsiftEncoder("demo-embedding", "v1", device="cpu")
    cross_encoder = QsiftCrossEncoder("demo-reranker", device="cpu")
    assert isinstance(encoder, EncoderProtocol) and not isinstance(encoder, CrossEncoderProtocol)
    assert isinstance(cross_encoder, CrossEncoderProtocol) and not isinstance(cross_encoder, EncoderProtocol)
    assert encoder.mteb_model_meta.revision == "v1" and encoder.mteb_model_meta.embed_dim == 256
    assert encoder.mteb_model_meta.name.startswith("qsift/demo-embedding")
    cache = mteb.ResultCache(cache_path=tmp_path)
    mteb.evaluate(encoder, Retrieval(), cache=cache, co2_tracker=False, show_progress_bar=False)
    assert list(tmp_path.rglob("ProgramsRetrieval.json"))
