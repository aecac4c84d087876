"""Tables, JSON lines, subtitles, notebooks and mails to sections: what is read, and where it stands."""

from __future__ import annotations

import base64
import io
import json
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsift import Document, Splitter
from qsift.documents.document import Kind, UnreadableError, place_of
from qsift.documents.readers.formats import READERS


def read(kind: Kind, text: str | bytes) -> list[tuple[int, str]]:
    """Returns the number and the text of each line of a file that counts its own."""
    data = text.encode() if isinstance(text, str) else text
    lines: list[tuple[int, str]] = []
    for section in READERS[kind](io.BytesIO(data)):
        assert section.place == "" and section.lines is not None
        lines += zip(section.lines, section.text.split("\n"), strict=True)
    return lines


@pytest.mark.parametrize("mark", ",;\t|")
def test_rows_have_their_header_and_the_line_where_they_begin(mark: str) -> None:
    rows = ["name*2025*note", 'a*1*"two\r\nlines, ""quoted"""', "", "**", "b*2**more", ""]
    text = "\r\n".join(rows).replace("*", mark)
    assert read("csv", text) == [
        (1, "name; 2025; note"),
        (2, 'name: a; 2025: 1; note: two lines, "quoted"'),
        (6, "name: b; 2025: 2; more"),
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n\n", []),
        ("one column\nof text", [(1, "one column"), (2, "of text")]),
        ("1,2\n3,4", [(1, "1; 2"), (2, "3; 4")]),
        ("a,2026-01-02\nb,3", [(1, "a; 2026-01-02"), (2, "b; 3")]),
        ("A title\n\nname,age\nAda,36", [(1, "A title"), (3, "name; age"), (4, "name: Ada; age: 36")]),
        ("sep=;\nname;age\nAda;36", [(1, "sep="), (2, "name; age"), (3, "name: Ada; age: 36")]),
        ('name,age\nA\rda,36\n"B\rob",7', [(1, "name; age"), (2, "name: A da; age: 36"), (3, "name: B ob; age: 7")]),
        ('name,age\r"Ada",36\r', [(1, "name; age"), (1, "name: Ada; age: 36")]),
        ("a,b\n1," + "x" * 2**19, [(1, "a; b"), (2, "a: 1; b: " + "x" * 2**19)]),
        ('a,b\n1,"' + "x" * 2**19, [(1, "a; b"), (2, "a: 1; b: " + "x" * 2**19)]),
    ],
)
def test_a_table_without_a_header_or_with_a_title_is_read_too(text: str, lines: list[tuple[int, str]]) -> None:
    assert read("csv", text) == lines


@pytest.mark.parametrize("text", ['a,b\n1,"' + "x\n" * 10**6, "a,b\n1,'" + "x" * 2**20, "a,b\n" + "x," * 10**6])
def test_a_row_without_an_end_names_its_line(text: str) -> None:
    with pytest.raises(UnreadableError, match="Line 2 begins a row of more than 1048576 characters: a quote may be"):
        read("csv", text)


def test_json_lines_are_read_as_names_and_values_and_what_is_no_json_as_it_stands() -> None:
    deep = '{"a":' * 100_000
    lines = [
        '{"q": "\\u4f60\\n好", "n": {"x": [1, true, null, "", "y"]}}',
        "",
        "not {json",
        '["a", 2]',
        '"\\ud800"',
        deep,
    ]
    assert read("jsonl", "\n".join(lines)) == [
        (1, "q: 你 好; n.x: 1; n.x: true; n.x: y"),
        (3, "not {json"),
        (4, "a; 2"),
        (5, "\ufffd"),
        (6, deep),
    ]


def test_pictures_are_taken_out_of_values_however_they_are_written() -> None:
    picture = random.Random(0).randbytes(3_000_000)
    line, wrapped = base64.b64encode(picture).decode(), base64.encodebytes(picture[:9_000]).decode()
    small = line[:4_000]
    records = [
        json.dumps({"id": 1, "image": line, "note": "tea"}),
        json.dumps({"id": 2, "image": wrapped, "note": f"see data:image/png;base64,{small} there"}),
        json.dumps({"id": 3, "image": wrapped.replace("\n", "\r\n")}),
        json.dumps({"id": 4, "image": small}).replace("/", "\\/"),
        json.dumps({"id": 5, "note": f"\n{small}", "quote": f'"{small}"', "path": f"\\{small}"}),
        small,
    ]
    assert read("jsonl", "\n".join(records)) == [
        (1, "id: 1; note: tea"),
        (2, "id: 2; note: see data:image/png;base64, there"),
        (3, "id: 3"),
        (4, "id: 4"),
        (5, 'id: 5; quote: ""; path: \\'),
    ]
    table = (
        f'id,image,note\n1,{line},tea\n2,"{wrapped}",rye\n3,"{small}","""{small}"""\n4,"\n{small}","see\n{wrapped}"\n'
    )
    n_lines = wrapped.count("\n")
    assert read("csv", table) == [
        (1, "id; image; note"),
        (2, "id: 1; note: tea"),
        (3, "id: 2; note: rye"),
        (4 + n_lines, 'id: 3; note: ""'),
        (5 + n_lines, "id: 4; note: see"),
    ]


def test_a_long_name_is_not_written_before_each_of_its_values_as_a_whole() -> None:
    (found,) = read("jsonl", json.dumps({"n" * 2000: [1] * 2000}))
    assert len(found[1]) < 2000 * 90 and found[1].startswith("n" * 80 + ": 1; ")


def test_subtitles_are_what_is_said() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n<i>Hello,</i> 5\n{\\an8}you\n\n2\n00:00:03,000 --> 00:00:04,000\n7\n"
    assert read("srt", text) == [(3, "Hello, 5"), (4, "you"), (8, "7")]
    web = "WEBVTT\n\nname of it\n00:01.000 --> 00:02.000 align:left\nHello\n"
    assert read("srt", web) == [(5, "Hello")]


def notebook(*cells: object) -> bytes:
    return json.dumps({"cells": cells, "nbformat": 4}).encode()


def test_cells_come_in_their_order_with_what_they_printed_and_no_picture() -> None:
    outputs = [
        {"output_type": "stream", "text": ["\x1b[31mred\x1b[0m\n", "line"]},
        {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=" * 10**6, "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "data": {"text/plain": ["42"], "text/html": "<b>42</b>"}},
        {"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": ["\x1b[0;31m-----"]},
    ]
    data = notebook(
        {"cell_type": "markdown", "source": "# T ![p](data:image/png;base64,iVBORw0KGgo=)"},
        {"cell_type": "code", "source": ["def f():\n", "    return 42"], "outputs": outputs},
        {"cell_type": "code", "source": "", "outputs": []},
        {"cell_type": "raw", "source": "\ud800"},
    )
    assert [(section.place, section.text) for section in READERS["ipynb"](io.BytesIO(data))] == [
        ("cell 1", "# T ![p]()"),
        ("cell 2", "def f():\n    return 42\nred\nline\n42\nKeyError: 'x'"),
        ("cell 4", "\ufffd"),
    ]
    assert list(READERS["ipynb"](io.BytesIO(b""))) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{}", "It is damaged, or no notebook: KeyError"),
        (b"[[", "It is damaged, or no notebook: JSONDecodeError"),
        (b'{"cells": [5]}', "no notebook: AttributeError"),
        (b'{"cells": [{"source": 5}]}', "no notebook: TypeError"),
        (b'{"cells":' + b"[" * 10**6, "no notebook: RecursionError"),
        (notebook({"source": "x" * 10**7}), r"more than 8,388,608 bytes beside its pictures.*Clear its outputs"),
    ],
)
def test_what_is_no_notebook_or_too_large_a_one_says_so(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        list(READERS["ipynb"](io.BytesIO(data)))


MAIL = b"""From: =?utf-8?q?J=C3=B6rg?= <j@example.org>
To: b@example.org
Subject: =?iso-8859-1?q?Gr=FC=DFe?=
 and more
Date: Mon, 5 Jan 2026 10:00:00 +0100
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/html; charset=utf-8

<p>in <b>HTML</b><script>evil()</script><img src="http://example.org/x.png">
--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

plain =FC
--inner--
--outer
Content-Type: text/html

<h1>Only</h1>
--outer
Content-Type: application/pdf; name=a.pdf
Content-Disposition: attachment; filename="r=?.pdf"
Content-Transfer-Encoding: base64

aGFsbG8=
--outer--
"""
SHOWN = """Subject: Grüße and more
From: Jörg <j@example.org>
To: b@example.org
Date: Mon, 5 Jan 2026 10:00:00 +0100

plain ü

# Only
Attached: r=?.pdf"""


def test_a_mail_is_its_headers_its_text_and_the_names_of_what_is_attached() -> None:
    for data in (MAIL, MAIL.replace(b"\n", b"\r\n")):
        assert [(section.place, section.text) for section in READERS["mail"](io.BytesIO(data))] == [("", SHOWN)]


def test_a_mailbox_has_a_section_for_each_message_and_its_lines_begin_anew() -> None:
    first = b"From a Mon Jan  5 10:00:00 2026\nSubject: one\n\nhello\nFrom here it goes on\n\n"
    box = first + b"From b\nSubject: two\n\n>From x\n"
    document = Document("box", "mail", "", 0.0, lambda: READERS["mail"](io.BytesIO(box)))
    passages = [(p.place, p.line, p.text) for p in Splitter(len, max_tokens=500, overlap=0).split(document)]
    assert passages == [
        ("message 1", 1, "Subject: one\n\nhello\nFrom here it goes on"),
        ("message 2", 1, "Subject: two\n\n>From x"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xff" * 99,
        b"Subject: =?utf-8?b?!!!?=\nContent-Type: text/plain; charset=nonsense\n\nx",
        b"Content-Type: text/plain; charset=zip\nContent-Transfer-Encoding: base64\n\n!!",
        b"Content-Type: multipart/mixed\n\nx",
        b"Content-Type: text/html\n\n" + b"<a " * 500_000,
        b"Content-Type: text/plain; charset=punycode\n\n" + b"a-b9" * 10**6,
        b"Content-Type: text/plain; " + b'a*0*="x";' * 100_000 + b"\n\nx",
        b"Subject: " + b"=?utf-8?q?" * 100_000 + b"\n\nx",
        b"Content-Type: message/rfc822\n\n" * 10_000,
        b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (i, i) for i in range(5000)),
        b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (i, i) for i in range(49)) + b"\n" * 10**6,
    ],
)
def test_no_mail_is_too_broken_or_too_slow_to_be_read(data: bytes) -> None:
    start = time.process_time()
    for section in READERS["mail"](io.BytesIO(data)):
        section.text.encode()
    assert time.process_time() - start < 5


@pytest.mark.parametrize("kind", ["mail", "csv", "jsonl", "srt", "ipynb"])
@given(st.lists(st.sampled_from([
    b"\n", b"\n\n", b"From ", b"Subject: ", b"Content-Type: ", b"multipart/mixed; boundary=a", b"--a", b"text/html",
    b"; charset=", b"utf-7", b"=?utf-8?b?", b"?=", b"\xff", b'"', b",", b"{", b"}", b"[", b"]", b":", b"1", b"-->",
    b'"cells"', b"filename*0*=", b"%ff", b"Content-Disposition: attachment; ", b"\0",
])))  # fmt: skip
def test_whatever_the_bytes_only_a_sentence_comes_of_them(kind: Kind, pieces: list[bytes]) -> None:
    reader: Callable = READERS[kind]
    try:
        for section in reader(io.BytesIO(b"".join(pieces))):
            section.text.encode()
    except UnreadableError as error:
        assert str(error)[0].isupper()


def test_a_place_is_one_line_that_can_be_printed() -> None:
    assert place_of("page", 3) == "page 3"
    assert place_of("sheet", "a\x1b[2J\n\u202eb\ud800") == "sheet a [2J b\ufffd"
    assert place_of("chapter", "x" * 200) == "chapter " + "x" * 79 + "…"
    assert place_of("section", " ") == "section"
