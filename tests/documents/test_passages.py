"""Passages keep the limit, lose nothing, know their lines and begin where something begins."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsift import Document, Passage, Section, Splitter
from qsift.documents.document import KINDS, Kind
from qsift.documents.passages import last_border

ROOT = Path(__file__).parents[2]
_TOKEN = re.compile(r"\w{1,4}|[^\w\s]|[ \t]{2,}|\n")
SEPARATORS = [
    "",
    "",
    " ",
    ". ",
    "\n",
    ".\n",
    "\n\n",
    "\n\n## ",
    "\n\n    ",
    "\n\n\n\n",
    "\t",
    ", ",
    "—",
    " " * 90,
    "x" * 30,
]
LIMITS = st.integers(16, 60).flatmap(lambda most: st.tuples(st.just(most), st.integers(0, most // 2)))


def count_tokens(text: str) -> int:
    """As a model does: a word is one to several tokens, and the end token is one more."""
    return len(_TOKEN.findall(text)) + 1


def split(text: str, kind: Kind = "text", max_tokens: int = 40, overlap: int = 0) -> list[Passage]:
    splitter = Splitter(count_tokens, max_tokens=max_tokens, overlap=overlap)
    return list(splitter.split(Document.of_text(text, "source", kind=kind)))


def without_spaces(text: str) -> str:
    return "".join(text.split())


@given(st.text(st.sampled_from("ab1 .\n\t\r#-=(中é\u0301\u2028"), max_size=600), st.sampled_from(KINDS), LIMITS)
def test_without_overlap_passages_are_the_text_in_order(text: str, kind: Kind, limits: tuple[int, int]) -> None:
    passages = split(text, kind, limits[0])
    assert without_spaces("".join(passage.text for passage in passages)) == without_spaces(text)


@given(st.lists(st.sampled_from(SEPARATORS), min_size=1, max_size=300), st.sampled_from(KINDS), LIMITS)
def test_passages_overlap_without_gaps_within_the_limit_on_the_right_lines(
    separators: list[str], kind: Kind, limits: tuple[int, int]
) -> None:
    max_tokens, overlap = limits
    text = "".join(chr(0x4E00 + i) + separator for i, separator in enumerate(separators))  # no character twice
    lines = text.split("\n")
    covered = -1
    for passage in split(text, kind, max_tokens, overlap):
        assert count_tokens(passage.text) <= max_tokens
        assert passage.text in "\n".join(lines[passage.line - 1 : passage.end_line])
        assert passage.text == passage.text.rstrip() and passage.text.split("\n")[0].strip()
        marks = [ord(character) - 0x4E00 for character in passage.text if character >= "\u4e00"]
        if marks:
            assert marks == list(range(marks[0], marks[-1] + 1))
            assert marks[0] <= covered + 1
            if overlap == 0:
                assert marks[0] == covered + 1
            assert marks[-1] >= covered
            covered = marks[-1]
    assert covered == len(separators) - 1


def test_the_next_passage_repeats_about_as_many_tokens_as_asked_for() -> None:
    words = [f"w{i}" for i in range(10000, 15000)]
    passages = split(" ".join(words), max_tokens=100, overlap=20)
    repeated = [len(set(a.text.split()) & set(b.text.split())) for a, b in pairwise(passages[:-1])]
    assert min(repeated) >= 8 and max(repeated) <= 16  # a word here is two tokens at most


@pytest.mark.parametrize("text", [("a" + "\n" * 3000) * 50, "." * 99_999, ("a\n" + " " * 3000) * 50, "a;" * 50_000])
@pytest.mark.parametrize("kind", KINDS)
def test_splitting_takes_no_longer_than_the_length_allows(text: str, kind: Kind) -> None:
    start = time.process_time()
    list(Splitter(lambda text: len(text) // 4 + 1).split(Document.of_text(text, "source", kind=kind)))
    assert time.process_time() - start < 2


@pytest.mark.parametrize("text", ["x" * 5000, "中" * 5000, " " * 5000 + "x", "a;" * 3000, "\n" * 5000, "", "\t" * 99])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_without_borders_is_cut_all_the_same(text: str, kind: Kind) -> None:
    passages = split(text, kind, 20, 5)
    assert all(1 < count_tokens(passage.text) <= 20 for passage in passages)
    assert bool(passages) == bool(text.strip())
    assert set(without_spaces(text)) == set("".join(passage.text for passage in passages).replace("\t", ""))


def counted(counter: Callable[[str], int]) -> tuple[Callable[[str], int], list[str]]:
    seen: list[str] = []
    return lambda text: seen.append(text) or counter(text), seen  # type: ignore[func-returns-value]


def test_a_document_that_fits_is_one_passage_and_counted_once() -> None:
    counter, seen = counted(count_tokens)
    text = "\n\n# A heading\n\nA paragraph.\n\n# Another\n\ndef f():\n    pass\n\n"
    for kind in KINDS:
        (passage,) = Splitter(counter).split(Document.of_text(text, "source", kind=kind, modified=5.0))
        assert passage == Passage(text.strip(), "source", kind, 3, 10, "", 5.0)
    assert seen == [text.strip()] * len(KINDS)


@pytest.mark.parametrize(
    ("name", "kind"), [("benchmarks/README.md", "markdown"), ("src/qsift/models/gguf_header.py", "code")]
)
def test_counting_costs_little_more_than_one_call_for_a_passage(name: str, kind: Kind) -> None:
    text = (ROOT / name).read_text("utf-8")
    counter, seen = counted(count_tokens)
    passages = list(Splitter(counter).split(Document.of_text(text, name, kind=kind)))
    assert len(passages) > 8
    assert len(seen) <= 1.5 * len(passages) and sum(map(len, seen)) <= 2 * len(text)
    assert sum(count_tokens(passage.text) for passage in passages) / len(passages) > 0.6 * 256


def test_markdown_is_cut_before_headings_and_nothing_is_repeated_there() -> None:
    body = "Some words make a sentence here. " * 4
    text = "".join(f"## Part {i}\n\n{body}\n\n" for i in range(9))
    passages = split(text, "markdown", 80, 10)
    assert [passage.text.split("\n")[0] for passage in passages] == [f"## Part {i}" for i in range(9)]
    assert [passage.line for passage in passages] == [1 + 4 * i for i in range(9)]


def test_underlined_headings_are_headings() -> None:
    body = "Some words make a sentence here. " * 4
    for kind in ("text", "markdown"):
        text = "".join(f"Part {i}\n------\n\n{body}\n\n" for i in range(9))
        assert all(passage.text.startswith("Part") for passage in split(text, kind, 80, 10))


PYTHON = '''@decorator
def function_{i}(argument):
    """Says what it does."""
    value = argument + {i}

    return [
        value,
    ]


'''
C = """/* What it does. */
static int function_{i}(int a)
{{
    int b = a + {i};

    return b;
}}

"""
METHOD = """    def method_{i}(self):
        first = self.value + {i}

        second = first * 2 + {i}
        return first + second

"""


@pytest.mark.parametrize(("piece", "first"), [(PYTHON, "@decorator"), (C, "/* What it does. */")])
def test_code_is_cut_between_functions(piece: str, first: str) -> None:
    passages = split("".join(piece.format(i=i) for i in range(20)), "code", 70, 20)
    assert len(passages) > 10
    assert all(passage.text.startswith(first) for passage in passages)


def test_code_is_cut_between_methods_and_keeps_its_indentation() -> None:
    passages = split("class A:\n" + "".join(METHOD.format(i=i) for i in range(20)), "code", 90)
    assert all(passage.text.startswith("    def method") for passage in passages[1:])


def test_prose_is_cut_after_sentences_where_a_paragraph_is_too_long() -> None:
    passages = split("This is one sentence of a few words. " * 60, max_tokens=50)
    assert all(passage.text.endswith(".") for passage in passages)


def test_rows_of_a_table_stay_whole() -> None:
    rows = [f'{i},"A name. With a stop",{i * i}' for i in range(200)]
    passages = split("\n".join(rows), max_tokens=50)
    assert all(row in rows for passage in passages for row in passage.text.split("\n"))


def test_sections_share_no_passage_and_say_their_page_and_lines() -> None:
    sections = (
        Section("one\n\ntwo", place="page 1"),
        Section("\nthree", place="page 3"),
        Section("a\nb", 7, lines=[7, 12]),
        Section(" "),
    )
    document = Document("source", "pdf", "1", 0.0, lambda: sections)
    places = [(p.text, p.place, p.line, p.end_line) for p in Splitter(count_tokens).split(document)]
    assert places == [("one\n\ntwo", "page 1", 1, 3), ("three", "page 3", 2, 2), ("a\nb", "", 7, 12)]


@given(st.text(st.sampled_from("ab .\n#")), st.sampled_from(KINDS), st.data())
def test_a_border_lies_in_its_window(text: str, kind: Kind, data: st.DataObject) -> None:
    text += "."
    low = data.draw(st.integers(0, len(text) - 1))
    high = data.draw(st.integers(low + 1, len(text)))
    assert low < last_border(text, kind, low, high)[0] <= high


def test_the_stamp_of_a_text_is_its_content() -> None:
    stamps = [Document.of_text(text, "a").stamp for text in ("x", "x", "y")]
    assert stamps[0] == stamps[1] != stamps[2]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a' is 'poem'; it must be one of text, markdown"):
        Document.of_text("x", "a", kind="poem")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"The text of 'a' holds the lone surrogate U\+D800 at character 2"):
        Document.of_text("ab\ud800", "a")
    with pytest.raises(ValueError, match="max_tokens is 15; a passage needs at least 16"):
        Splitter(len, max_tokens=15)
    for overlap in (-1, 9):
        with pytest.raises(ValueError, match=f"overlap is {overlap}; it must be 0 to 8"):
            Splitter(len, max_tokens=16, overlap=overlap)
    with pytest.raises(ValueError, match="count_tokens gives 17 for 'a'"):
        list(Splitter(lambda text: 17, max_tokens=16, overlap=0).split(Document.of_text("a b", "x")))
