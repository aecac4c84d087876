"""Text, HTML and PDF to sections: encodings, blocks, lines, pages."""

from __future__ import annotations

import codecs
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdf import pdf

from qsift.documents.document import UnreadableError
from qsift.documents.readers.html import read_html
from qsift.documents.readers.pdf import read_pdf
from qsift.documents.readers.text import HEAD_BYTES, NotTextError, read_blocks

CHINESE = "今天我们去了北京的长城，天气非常好。孩子们很高兴，晚上在饭店吃了烤鸭。\n"
RUSSIAN = "Сегодня мы поехали в Москву, погода была хорошая, и дети были рады.\n"
GERMAN = "Die Straße ist schön, über die Größe ließe sich ein bißchen mehr erzählen.\n"


def decoded(data: bytes) -> str:
    return "".join(read_blocks(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("text", "encoding"), [(CHINESE, "gb18030"), (RUSSIAN, "cp1251"), (GERMAN, "cp1252"), (CHINESE, "utf-8")]
)
def test_the_encoding_of_a_text_is_found_out(text: str, encoding: str) -> None:
    for repeat in (1, HEAD_BYTES // 50):  # a part of the head, and more than it
        assert decoded((text * repeat).encode(encoding)) == text * repeat


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_believed_and_left_out(encoding: str) -> None:
    assert decoded(CHINESE.encode(encoding)) == CHINESE
    assert decoded(codecs.BOM_UTF16_BE + "\r\né".encode("utf-16-be")) == "\né"


def test_a_few_broken_bytes_in_utf8_do_not_make_another_encoding_of_it() -> None:
    text = decoded(CHINESE.encode() + b"\xff\n" + CHINESE.encode())
    assert text == f"{CHINESE}\ufffd\n{CHINESE}"
    late = "a" * HEAD_BYTES + "\n"
    assert decoded(late.encode() + b"caf\xe9") == late + "caf\ufffd"


def test_the_head_may_end_inside_of_a_character() -> None:
    for shift in range(4):
        text = "a" * (HEAD_BYTES - 2 - shift) + "中é😀" * 9
        assert decoded(text.encode()) == text


@given(st.text(st.sampled_from("a\r\n é")))
def test_only_carriage_returns_before_newlines_go(text: str) -> None:
    assert decoded(text.encode()) == text.replace("\r\n", "\n")


@pytest.mark.parametrize("border", ["\n\n", "\n", " ", "", "\r\n\r\n"])
def test_blocks_end_where_the_text_allows_it(border: str) -> None:
    text = ("x" * 996 + border) * 1500
    blocks = list(read_blocks(io.BytesIO(text.encode())))
    assert len(blocks) > 3 and max(map(len, blocks)) < 600_000
    wanted = border.replace("\r\n", "\n")
    assert all(block.endswith(wanted) for block in blocks)
    assert "".join(blocks) == text.replace("\r\n", "\n")


def test_a_small_file_is_one_section() -> None:
    text = "a\n\nb c\n\nd &amp e"
    assert list(read_blocks(io.BytesIO(text.encode()))) == [text]
    assert [section.text for section in read_html([text])] == ["a\nb c\nd & e"]


def test_zero_bytes_are_no_text_wherever_they_stand() -> None:
    for data in (b"\0", b"x" * 10**6 + b"\0"):
        with pytest.raises(NotTextError, match="zero bytes"):
            decoded(data)


MEMORY = """
import resource, sys
from qsift import Splitter, find_documents
from pathlib import Path

path, megabytes = Path(sys.argv[1]), int(sys.argv[2])
paragraph = "".join(f"Line {i} of a paragraph says a few words.\\n" for i in range(24)) + "\\n"
with path.open("w") as file:
    for _ in range(megabytes * 2**20 // len(paragraph)):
        file.write(paragraph)
n_lines = megabytes * 2**20 // len(paragraph) * 25
splitter = Splitter(lambda text: text.count(" ") + 1)
peaks = []
for document in find_documents([path], on_skip=print):
    for n_passages, passage in enumerate(splitter.split(document), 1):
        if n_passages in (1000, 2000):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(n_passages, n_lines - passage.end_line, *peaks)
"""


@pytest.mark.posix
def test_a_big_file_is_split_in_bounded_memory_with_the_right_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "big.txt"), "30"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    n_passages, lines_after, _, second, last = map(int, result.stdout.split())
    assert n_passages > 20_000 and lines_after == 1  # the blank one
    growth = (last - second) * (1 if sys.platform == "darwin" else 1024)
    assert growth < 4 * 2**20, f"Memory grew by {growth} bytes after the first tenth of the file."


PAGE = """<!DOCTYPE html><html><head><title>A &amp; B</title>
<style>p { color: red }</style><script>
document.write("<p>never shown</p>")
</script></head><body><h2 class="x">The heading</h2>
<p>One <b>bold</b>ly written
paragraph.<p>Another<br>one<![odd]><!-- no -->
<ul><li>first<li>second</ul><pre>
def f():
    return 1</pre>
<table><tr><td>a</td><td>b</td></tr><tr><th>c<td>d</table> tail
"""
SHOWN = [
    (1, "A & B"),
    (4, ""),
    (4, "## The heading"),
    (5, ""),
    (5, "One boldly written"),
    (6, "paragraph."),
    (6, ""),
    (6, "Another"),
    (6, "one"),
    (7, ""),
    (7, "first"),
    (7, "second"),
    (8, ""),
    (8, "def f():"),
    (9, "    return 1"),
    (10, ""),
    (10, "a b"),
    (10, "c d"),
    (10, ""),
    (10, "tail"),
]


def test_html_is_read_as_it_is_shown_and_every_line_knows_its_own_in_the_source() -> None:
    (section,) = read_html([PAGE])
    assert section.lines is not None
    assert list(zip(section.lines, section.text.split("\n"), strict=True)) == SHOWN


@given(st.integers(1, len(PAGE) - 1))
def test_html_in_two_blocks_has_the_same_words_on_the_same_lines(cut: int) -> None:
    lines: list[tuple[int, str]] = []
    for section in read_html([PAGE[:cut], PAGE[cut:]]):
        assert section.lines is not None
        lines.extend(zip(section.lines, section.text.split("\n"), strict=True))
    words = [(number, word) for number, line in lines for word in line.split()]
    assert "".join(word for _, word in words) == "".join("".join(line.split()) for _, line in SHOWN)
    assert {number for number, _ in words} == {number for number, line in SHOWN if line}


@given(st.lists(st.sampled_from(["<", ">", "!", "[", "-->", "<p", "</", "a", "&", "#1", ";", '"', "\n", "<script>"])))
def test_no_html_is_too_broken_to_be_read(pieces: list[str]) -> None:
    for section in read_html(pieces):
        assert section.lines is not None and len(section.lines) == section.text.count("\n") + 1


@pytest.mark.parametrize("piece", ["<a ", "<!--", "<", "&", "<p>x", '<a "', "<script>a<b", "<![x", "<b>a</b>"])
def test_reading_broken_html_takes_no_longer_than_its_length_allows(piece: str) -> None:
    start = time.process_time()
    list(read_html([piece * 50_000]))
    assert time.process_time() - start < 5  # was minutes, where the parser began again at each "<"


@pytest.mark.parametrize("tag", ["<img src='" + "x" * 5_000_000 + "\n'>", "<a" + " b" * 700_000 + "\n>"])
def test_a_tag_that_seems_to_have_no_end_costs_little_and_what_follows_keeps_its_line(tag: str) -> None:
    html = f"<p>one</p>\n{tag}\nlast"
    start = time.process_time()
    sections = list(read_html(html[i : i + 2**18] for i in range(0, len(html), 2**18)))
    assert time.process_time() - start < 10
    assert [(section.lines, section.text) for section in sections] == [([1], "one"), ([4], "last")]


def test_a_pdf_is_read_page_by_page_and_pages_without_text_are_left_out() -> None:
    sections = list(read_pdf(io.BytesIO(pdf("First page\nsecond line", "", "Third page"))))
    assert [(section.place, section.line, section.text.split("\n")) for section in sections] == [
        ("page 1", 1, ["First page", "second line"]),
        ("page 3", 1, ["Third page"]),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no PDF", "PDFium cannot read it: .*[Dd]ata format"),
        (pdf("")[:200], "PDFium cannot read it"),
        (pdf("", ""), r"holds no text: .* \(OCR\) first"),
        (pdf("secret", trailer=f"/Encrypt<</Filter/Standard/V 1/R 2/O({'o' * 32})/U({'u' * 32})/P -4>>/ID[(i)(i)]"),
         "password"),
    ],
)  # fmt: skip
def test_a_pdf_that_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        list(read_pdf(io.BytesIO(data)))
