"""What is said in one file of a folder is found first, at its place, whatever the file's format. The demo pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from file_formats import WANTED, Wanted, write_each

from qsift import Embedder, PassageList, Reranker, SearchIndex, SearchPipeline, find_documents


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Embedder, Reranker]]:
    with Embedder.load("demo-embedding") as embedder, Reranker.load("demo-reranker") as reranker:
        yield embedder, reranker


@pytest.fixture(scope="module")
def stages(
    pair: tuple[Embedder, Reranker], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, SearchPipeline]]:
    """Gives the search of one folder, in memory and by an index, with one stage and with both."""
    embedder, reranker = pair
    folder: Path = tmp_path_factory.mktemp("files")
    write_each(folder)
    skipped: list[tuple[str, str]] = []
    documents = list(find_documents([folder], on_skip=lambda *what: skipped.append(what)))
    assert len(documents) == len(WANTED) and not skipped
    memory = PassageList.of(documents, embedder)
    with SearchIndex.open(tmp_path_factory.mktemp("index"), embedder) as index:
        index.add(documents)
        yield {
            "first stage": SearchPipeline(embedder, None, memory),
            "both stages": SearchPipeline(embedder, reranker, memory),
            "index": SearchPipeline(embedder, reranker, index),
        }


@pytest.mark.parametrize("stage", ["first stage", "both stages", "index"])
@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.source)
def test_an_answer_is_found_first_at_its_place(stages: dict[str, SearchPipeline], stage: str, wanted: Wanted) -> None:
    found = stages[stage].search(wanted.question, top_k=2, candidates=10)
    passage = found[0].passage
    place = (passage.source.rpartition("/")[2], passage.place)
    assert place == (wanted.source, wanted.place), [(hit.passage, hit.score, hit.similarity) for hit in found]
    assert passage.line <= wanted.line <= passage.end_line
