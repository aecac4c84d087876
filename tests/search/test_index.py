"""The index that lasts: what it keeps, what it refuses, what it finds. Real LanceDB, a tiny real model."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import index_killer
import numpy as np
import pytest

from qsift import (
    Candidate,
    Document,
    DocumentError,
    Embedder,
    EngineOptions,
    Filter,
    IndexOptions,
    PassageList,
    SearchIndex,
    SearchIndexError,
    Section,
)
from qsift.search.ranking import RRF_K
from qsift.search.table import IndexTable
from qsift.text.vectors import normalize, quantize

ONE_THREAD = EngineOptions(threads=1)
Gguf = Callable[..., Path]
ODD_SOURCES = (
    'it\'s "a".md',
    "%_*",
    "a\\b",
    "nul\0x",
    "docs/量子.md",
    "🎉",
    "''; --",
    "x' OR '1'='1",
    "new\nline",
    " ",
)
ODD_TEXTS = (
    'She said: "it\'s"',
    "nul \0 inside",
    "emoji 🎉👩‍👩‍👧",
    "tab\tand\r\nlines",
    "e\u0301 decomposed",
    "量子计算的基本原理",
)


COMES_AND_GOES = """
import os, sys
for n in range(10**9):
    folder = os.path.join(sys.argv[1], f"old{n % 7}")
    os.makedirs(folder)
    for name in "abcdefgh":
        open(os.path.join(folder, name), "w").close()
    print(n, flush=True) if n == 0 else None
    for name in "abcdefgh":
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)
"""
"""A program that makes files and folders in a folder and removes them, as what an index is compacted of."""


@pytest.fixture(scope="module")
def embedder(gguf: Gguf) -> Iterator[Embedder]:
    with Embedder.load(gguf("embed"), options=ONE_THREAD) as embedder:
        yield embedder


@pytest.fixture
def index(tmp_path: Path, embedder: Embedder) -> Iterator[SearchIndex]:
    with SearchIndex.open(tmp_path / "index", embedder) as index:
        yield index


def document(source: str, *texts: str, stamp: str = "1", kind: str = "text", modified: float = 0.0) -> Document:
    """Returns a document with a passage for each text."""
    return Document(source, kind, stamp, modified, lambda: [Section(text, line) for line, text in enumerate(texts, 1)])


def numbered(n: int, *, n_passages: int = 2, stamp: str = "1") -> list[Document]:
    texts = lambda i: [f"passage {part} of document {i}, version {stamp}" for part in range(n_passages)]  # noqa: E731
    return [document(f"docs/{i:04}.md", *texts(i), stamp=stamp) for i in range(n)]


def unreadable(source: str, *first: str) -> Document:
    def read() -> Iterator[Section]:
        yield from map(Section, first)
        raise DocumentError(source, "It is on fire.")

    return Document(source, "text", "1", 0.0, read)


def contents(index: SearchIndex) -> Counter[tuple[str, str]]:
    """Returns how often each (source, text) is found by a search that must find everything."""
    return Counter((hit.passage.source, hit.passage.text) for hit in everything(index))


def everything(index: SearchIndex, where: Filter | None = None) -> list[Candidate]:
    query = np.ones(index.embedder.width, np.float32)
    return index.search(query, "", candidates=100_000, mode="vector", where=where)


def expected(documents: Iterable[Document]) -> Counter[tuple[str, str]]:
    return Counter((document.source, section.text) for document in documents for section in document.read())


def find(index: SearchIndex, query: str, **options: object) -> list[Candidate]:
    return index.search(index.embedder.encode_query(query), query, **options)  # type: ignore[arg-type]


def test_what_goes_in_comes_out_to_the_letter(tmp_path: Path, embedder: Embedder) -> None:
    documents = [document(source, *ODD_TEXTS, kind="markdown", modified=12.25) for source in ODD_SOURCES]
    with SearchIndex.open(tmp_path / "index", embedder) as index:
        index.add(documents)
    with SearchIndex.open(tmp_path / "index", embedder, create=False) as index:
        assert contents(index) == expected(documents)
        passage = find(index, ODD_TEXTS[3], mode="vector", where=Filter(glob="%_[*]"), candidates=9)[0].passage
        assert (passage.source, passage.kind, passage.place, passage.modified) == ("%_*", "markdown", "", 12.25)
        assert passage.line in range(1, len(ODD_TEXTS) + 1) and passage.end_line >= passage.line


@pytest.mark.parametrize("source", ODD_SOURCES)
def test_an_odd_name_is_changed_and_removed_alone(index: SearchIndex, source: str) -> None:
    documents = [document(name, f"text of {name}, the first", "a second one") for name in ODD_SOURCES]
    index.add(documents)
    changed = [document(d.source, "changed", stamp="2") if d.source == source else d for d in documents]
    assert index.update(changed).changed == 1
    assert contents(index) == expected(changed)
    assert index.remove([source]) == 1
    assert contents(index) == expected(d for d in documents if d.source != source)


def test_a_lone_surrogate_is_refused_and_named(index: SearchIndex) -> None:
    with pytest.raises(ValueError, match=r"The text of .a\.md. holds the lone surrogate U\+D800 at character 4"):
        index.add([document("a.md", "fine", "not \ud800 fine")])
    with pytest.raises(ValueError, match="The name of document 1 holds the lone surrogate"):
        index.add([document("fine", "fine"), document("a\udcff.md", "fine")])
    assert index.info().passages == 0


def test_an_update_embeds_only_what_changed_and_removes_what_is_gone(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = numbered(40)
    first = index.update(documents)
    assert (first.added, first.embedded) == (40, 80)
    again = index.update(documents)
    assert (again.added, again.changed, again.removed, again.unchanged, again.embedded) == (0, 0, 0, 40, 0)
    changed = document(documents[0].source, next(iter(documents[0].read())).text, "new", "newer", stamp="2")
    now = [changed, *documents[5:]]
    result = index.update(now)
    assert (result.changed, result.removed, result.unchanged) == (1, 4, 35)
    assert result.embedded == 2, "the passage that did not change keeps its vector"
    assert contents(index) == expected(now)


def test_progress_counts_passages_as_they_are_embedded(index: SearchIndex, embedder: Embedder) -> None:
    documents = [*numbered(700), document("twice.md", "the same", "the same")]
    told: list[tuple[int, int]] = []
    index.update(documents, on_progress=lambda *numbers: told.append(numbers))
    assert told == sorted(told) and told[-1] == (1402, 1402) and all(done <= cut for done, cut in told)
    assert len({done for done, _ in told}) > 20, "not a batch at a time"
    again: list[tuple[int, int]] = []
    index.update(
        [document(documents[0].source, "passage 0 of document 0, version 1", "new", stamp="2")],
        on_progress=lambda *numbers: again.append(numbers),
    )
    assert again[0] == (1, 2) and again[-1] == (2, 2), "a passage that keeps its vector is done"
    listed: list[tuple[int, int]] = []
    PassageList.of(documents, embedder, on_progress=lambda *numbers: listed.append(numbers))
    assert listed == sorted(listed) and listed[-1] == (1402, 1402) and len(listed) > 20


def test_an_update_removes_nothing_outside_of_where_it_was_told_to_look(index: SearchIndex) -> None:
    kept = [document("docs2/a", "a"), document("other/b", "b")]
    index.add([*kept, document("docs/c", "c"), document("docs/deep/d", "d")])
    assert index.update([], within=["docs/"]).removed == 2
    assert contents(index) == expected(kept)
    with pytest.raises(TypeError, match="pass a list of str"):
        index.update([], within="docs")


def test_what_is_in_it_is_listed_and_read_in_order_from_the_index_alone(index: SearchIndex) -> None:
    texts = [f"passage {part}" for part in range(12)]
    documents = [document(source, *texts, kind="markdown", modified=7.0) for source in ODD_SOURCES]
    index.add([*documents, document("blank.txt"), document("notes/x.txt", "a text")])
    listed = index.sources()
    assert [item.source for item in listed] == sorted([*ODD_SOURCES, "notes/x.txt"])
    assert {(item.kind, item.passages, item.modified) for item in listed} == {("markdown", 12, 7.0), ("text", 1, 0.0)}
    assert [item.source for item in index.sources(Filter(glob="*.txt"))] == ["notes/x.txt"]
    for source in ODD_SOURCES:
        assert [passage.text for passage in index.passages(source)] == texts
        middle = index.passages(source, start=9, stop=11)
        assert [(passage.part, passage.line, passage.text) for passage in middle] == [
            (9, 10, "passage 9"),
            (10, 11, "passage 10"),
        ]
        assert middle[0].citation == f"{source}:10"
    for nothing in ("blank.txt", "gone", "%", ""):
        assert index.passages(nothing) == []
    assert index.passages("notes/x.txt", start=5) == index.passages("notes/x.txt", start=3, stop=1) == []


def test_what_is_in_it_is_told_while_another_process_removes_files(index: SearchIndex, tmp_path: Path) -> None:
    index.add(numbered(3))
    before = index.info()
    command = [sys.executable, "-c", COMES_AND_GOES, str(tmp_path / "index" / "passages.lance")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        try:
            for _ in range(100):
                assert index.info().nbytes >= before.nbytes
        finally:
            process.kill()


def test_a_reader_keeps_what_a_writer_replaces_and_what_nobody_needs_goes(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsift.search.table._READERS_NEED", timedelta(seconds=0.5))
    index.add(numbered(3))
    time.sleep(1.2)
    reader = IndexTable.open(index.path, wait=0)
    assert reader
    index.update(numbered(3, stamp="2"))
    assert {stored.stamp for stored in reader.documents().values()} == {"1"}
    time.sleep(1.2)
    index.update(numbered(3, stamp="3"))
    with pytest.raises(SearchIndexError, match="Not found"):
        reader.documents()
    reader.refresh()
    assert {stored.stamp for stored in reader.documents().values()} == {"3"}


def test_documents_without_text_are_remembered_and_never_found(index: SearchIndex) -> None:
    reads = []

    def read() -> list[Section]:
        reads.append(1)
        return [Section("  ")]

    empty = Document("empty", "text", "1", 0.0, read)
    index.update([empty, document("full", "some words")])
    index.update([empty, document("full", "some words")])
    assert len(reads) == 1
    assert {hit.passage.source for hit in [*everything(index), *find(index, "words empty")]} == {"full"}
    info = index.info()
    assert (info.documents, info.passages, info.incomplete) == (2, 1, 0)


def test_a_document_that_cannot_be_read_is_named_and_keeps_what_was_there(index: SearchIndex) -> None:
    before = document("a", "old text")
    index.update([before])
    named = []
    broken = replace(unreadable("a", "half of the new text"), stamp="2")
    result = index.update([broken, document("b", "fine")], on_skip=lambda *skipped: named.append(skipped))
    assert named == [("a", "It is on fire.")] and result.skipped == 1
    assert contents(index) == expected([before, document("b", "fine")])
    with pytest.raises(DocumentError, match="on fire"):
        index.update([broken])


def test_two_documents_of_one_name_are_refused_and_one_twice_is_not(index: SearchIndex) -> None:
    same = document("a", "text")
    assert index.add([same, same]).added == 1
    with pytest.raises(ValueError, match="Document 1 is another one named 'b'"):
        index.add([document("b", "one"), document("b", "two", stamp="2")])


def test_a_document_larger_than_a_batch_goes_on_where_it_was_broken_off(tmp_path: Path, embedder: Embedder) -> None:
    texts = [f"passage number {i}" for i in range(45)]
    calls = iter([True])

    def read() -> Iterator[Section]:
        is_first = next(calls, False)
        for number, text in enumerate(texts):
            if is_first and number == 38:
                raise KeyboardInterrupt
            yield Section(text)

    with SearchIndex.open(tmp_path / "index", embedder, options=IndexOptions(batch=10)) as index:
        before = [document("large", *(f"old {text}" for text in texts[:25]), stamp="0"), document("small", "s")]
        index.add(before)
        broken = unreadable("large", *texts[:38])
        assert index.add([broken], on_skip=lambda source, reason: None).skipped == 1
        assert contents(index) == expected(before), "what cannot be read to its end replaces nothing"
        with pytest.raises(KeyboardInterrupt):
            index.add([Document("large", "text", "1", 0.0, read)])
        assert index.info().incomplete == 1
        assert contents(index) == expected([document("large", *texts[:30]), document("small", "s")])
        result = index.add([document("large", *texts)])
        assert result.embedded == 45 - 30 + 1, "the last row that was there says whether it is the last"
        assert contents(index) == expected([document("large", *texts), document("small", "s")])
        assert index.info().incomplete == 0
        assert index.add([document("large", *texts)]).unchanged == 1


def test_another_model_width_or_precision_is_refused(tmp_path: Path, embedder: Embedder, gguf: Gguf) -> None:
    with SearchIndex.open(tmp_path / "index", embedder, options=IndexOptions(truncate_dim=32)) as index:
        index.add([document("a", "text")])
        assert index.info().width == 32
    with (
        Embedder.load(gguf("embed-f16")) as other,
        pytest.raises(SearchIndexError, match="Load that model's file") as caught,
    ):
        SearchIndex.open(tmp_path / "index", other)
    assert caught.value.path == str(tmp_path / "index")
    for options in (IndexOptions(truncate_dim=64), IndexOptions(precision="int8"), IndexOptions(max_tokens=100)):
        with pytest.raises(SearchIndexError, match=r"Leave .* out, or index again"):
            SearchIndex.open(tmp_path / "index", embedder, options=options)
    with SearchIndex.open(tmp_path / "index", embedder) as index:
        assert find(index, "text")[0].passage.source == "a"


def test_another_quantisation_is_another_model(tmp_path: Path, gguf: Gguf) -> None:
    with Embedder.load(gguf("embed", "f16")) as one, Embedder.load(gguf("embed", "q8_0")) as other:
        SearchIndex.open(tmp_path / "index", one).close()
        with pytest.raises(SearchIndexError, match=r"in f16 and its vectors mean nothing to .* in q8_0"):
            SearchIndex.open(tmp_path / "index", other)


def test_without_a_model_everything_works_but_writing(index: SearchIndex, tmp_path: Path) -> None:
    index.add([document("a", "a zebra"), document("b", "a lion")])
    with SearchIndex.open(index.path, None) as bare:
        assert bare.info() == index.info()
        vector = index.embedder.encode_query("zebra")
        assert bare.search(vector, "zebra") == index.search(vector, "zebra")
        with pytest.raises(ValueError, match="opened without an embedder"):
            bare.update([])
        assert bare.remove(["a"]) == 1 and index.info().documents == 1
    with pytest.raises(SearchIndexError, match="There is no index"):
        SearchIndex.open(tmp_path / "nothing", None)
    with pytest.raises(SearchIndexError, match="made with max_tokens=256"):
        SearchIndex.open(index.path, None, options=IndexOptions(max_tokens=99))


def test_what_is_no_index_is_refused_and_left_alone(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    with pytest.raises(SearchIndexError, match="holds other files"):
        SearchIndex.open(tmp_path / "notes", embedder)
    with pytest.raises(SearchIndexError, match="no folder"):
        SearchIndex.open(tmp_path / "notes" / "diary.txt", embedder)
    with pytest.raises(SearchIndexError, match="There is no index"):
        SearchIndex.open(tmp_path / "nowhere", embedder, create=False)
    with pytest.raises(SearchIndexError, match="There is no index"):
        SearchIndex.open("", embedder)
    with pytest.raises(SearchIndexError, match=r"It cannot be written to: \w.*\.$"):
        SearchIndex.open(tmp_path / "notes" / "diary.txt" / "index", embedder)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["notes", "diary.txt"]


def test_a_damaged_index_is_an_error_of_ours(tmp_path: Path, embedder: Embedder) -> None:
    with SearchIndex.open(tmp_path / "index", embedder) as index:
        index.add(numbered(3))
        for path in (tmp_path / "index").rglob("*.lance"):
            if path.is_file():
                path.write_bytes(b"rubbish")
    with (
        SearchIndex.open(tmp_path / "index", embedder) as index,
        pytest.raises(SearchIndexError, match="LanceDB failed") as caught,
    ):
        everything(index)
    assert ".rs:" not in str(caught.value)


def test_a_folder_whose_making_was_broken_off_becomes_an_index(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "index" / "passages.lance" / "data").mkdir(parents=True)
    with SearchIndex.open(tmp_path / "index", embedder) as index:
        assert index.add(numbered(3)).added == 3


def test_chinese_words_are_found_inside_a_sentence(index: SearchIndex) -> None:
    index.add([document("a", "量子计算的基本原理"), document("b", "烘焙面包的方法"), document("c", "Baking bread")])
    assert [hit.passage.source for hit in find(index, "量子计算", mode="text")] == ["a"]
    assert [hit.passage.source for hit in find(index, "面包", mode="text")] == ["b"]
    assert [hit.passage.source for hit in find(index, "bake", mode="text")] == ["c"]


@pytest.mark.parametrize(
    "query", ["", "  ", "!!!", '"unclosed', "a AND (b", "text:zebra", "nul\0", "*", "\\", "zebra~2"]
)
def test_queries_are_words_and_no_syntax(index: SearchIndex, query: str) -> None:
    index.add([document("a", "a zebra")])
    assert len(find(index, query)) == 1


def test_hybrid_ranks_by_both_and_every_hit_carries_its_cosine(index: SearchIndex) -> None:
    documents = numbered(30, n_passages=1)
    index.add(documents)
    query = "passage of document 17"
    vector = index.embedder.encode_query(query)
    hits = index.search(vector, query, candidates=20)
    by_vector = index.search(vector, query, candidates=50, mode="vector")
    by_text = index.search(vector, query, candidates=50, mode="text")
    assert [hit.rank for hit in hits] == list(range(1, 21))
    for place, ranking in (("vector_rank", by_vector), ("text_rank", by_text)):
        ranks = {hit.passage.source: rank for rank, hit in enumerate(ranking, 1)}
        assert all(getattr(hit, place) == ranks.get(hit.passage.source) for hit in hits)
    scores = [sum(1 / (RRF_K + rank) for rank in (hit.vector_rank, hit.text_rank) if rank) for hit in hits]
    assert scores == sorted(scores, reverse=True)
    for hit in hits:
        assert hit.similarity == pytest.approx(
            float(vector @ index.embedder.encode_document(hit.passage.text)), abs=1e-3
        )


def test_filters_keep_to_names_kinds_and_times(index: SearchIndex) -> None:
    index.add(
        [
            document("docs/a.md", "text", kind="markdown", modified=10),
            document("docs/deep/b.md", "text", kind="markdown", modified=20),
            document("src/c.py", "text", kind="code", modified=30),
            document("a+b(c)[d].md", "text", kind="markdown", modified=40),
        ]
    )

    def names(**limits: object) -> set[str]:
        where = Filter(**limits)  # type: ignore[arg-type]
        found = [
            {hit.passage.source for hit in find(index, "text", mode=mode, where=where)} for mode in ("vector", "text")
        ]
        coarse = {hit.passage.source for hit in find(index, "text", mode="vector", where=where, coarse_dim=32)}
        assert found[0] == found[1] == coarse
        return found[0]

    assert names(glob="docs/*.md") == {"docs/a.md", "docs/deep/b.md"}
    assert names(glob="docs/**/?.md") == {"docs/a.md", "docs/deep/b.md"}
    assert names(glob="*.[!m]?") == {"src/c.py"}
    assert names(glob="a+b(c)[[]d].md") == {"a+b(c)[d].md"}
    assert names(kinds=("code",)) == {"src/c.py"}
    assert names(modified_after=20, modified_before=30) == {"docs/deep/b.md", "src/c.py"}
    assert names(glob="*.md", kinds=("code",)) == set()
    with pytest.raises(ValueError, match="opens a bracket"):
        names(glob="a[b")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"mode": "both"}, "mode is 'both'; allowed are hybrid, vector, text"),
        ({"candidates": 0}, "candidates is 0"),
        ({"coarse_dim": 1000}, "coarse_dim is 1000; 1 to 64 are possible"),
        ({"where": Filter(glob="[z-a]*")}, r"'\[z-a\]\*' holds a range that runs backwards"),
        ({"vector": [0.0] * 64}, "only zeros"),
        ({"vector": [float("nan")] * 64}, "NaN"),
        ({"vector": [1.0] * 3}, r"shape \(3,\)"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    index: SearchIndex, arguments: dict[str, object], sentence: str
) -> None:
    vector = arguments.pop("vector", [1.0] * 64)
    with pytest.raises(ValueError, match=sentence):
        index.search(vector, "query", **arguments)  # type: ignore[arg-type]


def test_the_approximate_index_finds_what_an_exact_search_finds(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors in clusters whose first entries weigh most, as Matryoshka training makes them; text "7" has row 7."""
    generator = np.random.default_rng(0)
    weights = 1 / (1 + np.arange(64) / 8)
    centres = generator.normal(size=(100, 64))
    cloud = centres[generator.integers(100, size=6000)] + generator.normal(size=(6000, 64))
    rows = normalize((cloud * weights).astype(np.float32))
    monkeypatch.setattr(
        embedder, "encode_document", lambda texts, *, precision, **_: quantize(rows[[int(t) for t in texts]], precision)
    )
    documents = [document(f"{i % 10}/{i}", str(i)) for i in range(6000)]
    queries = normalize(rows[::150] + 0.1 * generator.normal(size=(40, 64)).astype(np.float32))
    recalls = {}
    for name, options, coarse in (
        ("approximate", IndexOptions(exact_rows=1000), None),
        ("exact", IndexOptions(exact_rows=10_000), None),
        ("int8", IndexOptions(precision="int8"), None),
        ("coarse", IndexOptions(exact_rows=10_000), 48),
    ):
        with SearchIndex.open(tmp_path / name, embedder, options=options) as index:
            index.add(documents)
            assert index.info().search == ("IVF_SQ" if name == "approximate" else "exact")
            for tenth, cosines in ((None, queries @ rows.T), ("3/*", queries @ rows[3::10].T)):
                best = np.argsort(-cosines, axis=1)[:, :50] * (10 if tenth else 1) + (3 if tenth else 0)
                where = Filter(glob=tenth) if tenth else None
                found = [index.search(query, "", mode="vector", where=where, coarse_dim=coarse) for query in queries]
                hits = [
                    len({int(hit.passage.text) for hit in one} & {*two}) for one, two in zip(found, best, strict=True)
                ]
                recalls[name, tenth] = sum(hits) / 50 / len(queries)
                errors = [
                    abs(h.similarity - float(q @ rows[int(h.passage.text)]))
                    for q, o in zip(queries, found, strict=True)
                    for h in o
                ]
                assert max(errors) < (0.01 if name == "int8" else 1e-5)
    assert recalls["exact", None] == recalls["exact", "3/*"] == 1
    assert all(recall >= 0.98 for recall in recalls.values()), recalls


def test_an_approximate_index_is_made_again_when_the_table_outgrows_its_cells(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = normalize(np.random.default_rng(0).normal(size=(1500, 64)).astype(np.float32))
    monkeypatch.setattr(embedder, "encode_document", lambda texts, **_: rows[[int(text) for text in texts]])
    with SearchIndex.open(tmp_path / "index", embedder, options=IndexOptions(exact_rows=200)) as index:
        made = []
        for start, end in ((0, 300), (300, 1100), (1100, 1500)):
            index.add([document(str(i), str(i)) for i in range(start, end)])
            made.append(index._table._indices()["vector"])
            assert index._table.is_optimized()
            hits = index.search(rows[end - 1], "", mode="vector")
            assert hits[0].passage.text == str(end - 1)
        assert made == ["vector_300", "vector_300", "vector_1500"]
        assert len(index._table._table.list_indices()) == 2


def test_rows_that_no_index_has_seen_are_found(index: SearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add([document("a", "a zebra")])
    with monkeypatch.context() as patch:
        patch.setattr(type(index._table), "optimize", lambda self, exact_rows: sys.exit("killed"))
        with pytest.raises(SystemExit):
            index.add([document("b", "another zebra")])
    assert not index._table.is_optimized()
    assert {hit.passage.source for hit in find(index, "zebra", mode="text")} == {"a", "b"}
    assert index.add([]).embedded == 0
    assert index._table.is_optimized()


def test_an_index_of_the_version_before_says_what_to_do(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("qsift.search.settings.FORMAT", 1)
        SearchIndex.open(tmp_path / "index", embedder)
    with pytest.raises(SearchIndexError, match=r"has version 1; this qsift knows 2\. Index again into a new folder"):
        SearchIndex.open(tmp_path / "index", embedder)


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "index" / "write.lock").mkdir(parents=True)
    with pytest.raises(SearchIndexError, match=r"index': It cannot be written to: "):
        SearchIndex.open(tmp_path / "index", embedder)


def test_a_second_writer_waits_its_turn_or_is_refused(tmp_path: Path, embedder: Embedder) -> None:
    """One holds the lock in the middle of a batch; the impatient one is refused, the patient one gets its turn."""
    path, inside, go_on = tmp_path / "index", threading.Event(), threading.Event()

    def slow() -> Iterator[Document]:
        yield from numbered(20)
        inside.set()
        assert go_on.wait(60)

    with (
        SearchIndex.open(path, embedder) as one,
        SearchIndex.open(path, embedder, options=IndexOptions(wait=0)) as hasty,
    ):
        patient = SearchIndex.open(path, embedder, options=IndexOptions(wait=60))
        writers = [threading.Thread(target=one.add, args=(slow(),))]
        writers[0].start()
        assert inside.wait(60)
        with pytest.raises(SearchIndexError, match="Another process is writing"):
            hasty.add([document("hasty", "text")])
        writers.append(threading.Thread(target=patient.add, args=([document("patient", "text")],)))
        writers[1].start()
        go_on.set()
        for writer in writers:
            writer.join()
        assert contents(hasty) == expected([*numbered(20), document("patient", "text")])


def test_without_lancedb_the_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['lancedb'] = None\n"
        "import qsift\n"
        "try: import qsift.search.table\n"
        "except qsift.MissingExtraError as error: print(error, error.package, error.extra)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == (
        "A search index needs lancedb. Install it with: pip install 'qsift[index]'. lancedb index"
    )


@pytest.mark.posix
def test_twenty_kills_lose_nothing_and_leave_nothing_twice(tmp_path: Path, gguf: Gguf) -> None:
    command = [sys.executable, "-W", "ignore", index_killer.__file__, str(gguf("embed")), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 12, "most rounds must be broken off for this test to mean anything"
