"""Text that is none: what is refused, what is taken out, and what stays."""

from __future__ import annotations

import base64
import io
import random
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsift import DocumentError, find_documents
from qsift.documents.noise import MAX_LINE, check_noise, without_data
from qsift.documents.readers.text import NotTextError, read_blocks

NOISE = random.Random(0).randbytes(300_000)
PROSE = "Knead the dough for ten minutes.\nBake it for an hour at 220 degrees.\n"


def text_of(path: Path, *, given: bool = False) -> str:
    reasons: dict[str, str] = {}
    documents = list(find_documents([path if given else path.parent], on_skip=reasons.__setitem__))
    if reasons:
        raise DocumentError(*reasons.popitem())
    return "".join(section.text for document in documents for section in document.read())


def clean(text: str) -> str:
    return "".join(without_data(read_blocks(io.BytesIO(text.encode()))))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("photo.txt", b"\xff\xd8\xff" + NOISE.replace(b"\0", b"\1"), "It is binary"),
        ("late.md", (PROSE * 9000).encode() + bytes(byte for byte in NOISE if byte) + PROSE.encode(), "It is binary"),
        ("controls.txt", "".join(chr(1 + i % 31) + "text" for i in range(500)).encode(), "It is binary: of "),
        ("c1.txt", ("a\u0080b\u0099" * 99).encode(), "It is binary: of 396 characters 198 are controls."),
        ("paper.txt", b"%PDF-1.4 words", "It is a PDF file by its first bytes, not text."),
        ("letter.txt", rb"{\rtf1\ansi words}", "It is RTF by its first bytes, not text."),
        ("letter.doc", rb"{\rtf1\ansi words}", "It is in a format that is not read. Save it as .docx."),
        ("notes.md", zlib.compress(NOISE[:99], wbits=31), "It is compressed (gzip) by its first bytes, not text."),
        ("key.txt", base64.encodebytes(NOISE), "It is binary data written as text (base64)."),
        ("blob.json", b'{"a": "' + base64.b64encode(NOISE) + b'"}', "It is binary data written as text (base64)."),
        (
            "app.js",
            b"var a;\n" + b"a=b;" * (MAX_LINE // 4),
            "It is minified or generated: line 2 has 100000 characters",
        ),
        ("data.xml", b"<a>x</a>" * 100_000, "It is minified or generated: line 1 has 100000 characters"),
    ],
)
def test_noise_is_no_passage_and_the_reason_is_said(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        text_of(tmp_path / name)
    assert caught.value.reason.startswith(reason)


def test_long_lines_are_read_where_they_are_asked_for_and_in_html(tmp_path: Path) -> None:
    line = "a=b; " * (MAX_LINE // 4)
    (tmp_path / "app.js").write_text(line)
    assert text_of(tmp_path / "app.js", given=True) == line
    (tmp_path / "app.js").rename(tmp_path / "app.html")
    assert text_of(tmp_path / "app.html").startswith("a=b; a=b;")


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "\x1b[32mok\x1b[0m\n" * 99,  # a terminal's log
        "N\bNA\bAM\bME\bE\n" * 99,  # a page of man
        "a\x01b\n",
        "=" * 300 + "\n" + "-" * 300 + "\n",
        "/usr/share/" * 50 + "\n",
        "ACGT" * 20 + "\n" + "ACGT" * 20 + "\n" + "ACGT" * 20 + "\n",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  a.bin\n" * 9,
        "MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n" * 2,
        "今天我们去了北京的长城" * 99,
    ],
)
def test_text_stays_as_it_is(text: str) -> None:
    check_noise([text], long_lines=False)
    assert clean(text) == text


def test_a_picture_in_a_note_is_taken_out_and_the_lines_stay() -> None:
    picture = base64.b64encode(NOISE).decode()
    assert clean(f"{PROSE}![x](data:image/png;base64,{picture})\n{PROSE}") == (
        f"{PROSE}![x](data:image/png;base64,)\n{PROSE}"
    )
    wrapped = base64.encodebytes(NOISE).decode()
    cleaned = clean(f"{PROSE}\n{wrapped}\n{PROSE}")
    assert cleaned == PROSE + "\n" + "\n" * wrapped.count("\n") + "\n" + PROSE
    quoted = "".join(f'  "{line}"\n' for line in wrapped.splitlines())
    assert clean(quoted + PROSE) == "\n" * quoted.count("\n") + PROSE


def test_what_is_taken_out_between_quotes_ends_with_its_line_and_takes_no_quote_along() -> None:
    data = "A1" * 100
    for blocks, left in (
        ([f"x,{data}\n", "word,1\n"], "x,\nword,1\n"),
        ([f"x,{data}", f"{data},y\n"], "x,,y\n"),
        ([f"x,{data}", data, f"{data}\n", "word,1\n"], "x,\nword,1\n"),
        ([f'"{data}",{data}\n', f'"\\n{data}"\n'], f'"",\n"\\n{data}"\n'),
        ([f'"{data[:64]}"\n' * 5], f'"{data[:64]}"\n' * 5),
    ):
        assert "".join(without_data(blocks, in_quotes=True)) == left


@given(st.lists(st.sampled_from((" word ", "\n", "x1" * 99, "x1" * 100, "x1" * 40 + "\n", "==", '"')), max_size=60))
def test_no_line_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert clean(text).count("\n") == text.count("\n") and clean(text).count("word") == text.count("word")


@pytest.mark.parametrize(
    "text",
    [
        "A1" * 500_000,
        "a" * 199 + " ",
        "A1" * 40 + "\n",
        " \n",
        "=",
        ">" * 60,
        "A1 ",
        "\x01 ",
        '"' + "+" * 250_000 + "!\n",
    ],
)
def test_looking_for_noise_takes_no_longer_than_the_length_allows(text: str) -> None:
    started = time.process_time()
    text *= 1_000_000 // len(text)
    with suppress(NotTextError):
        check_noise(read_blocks(io.BytesIO(text.encode())), long_lines=False)
    assert time.process_time() - started < 2


def test_nothing_of_a_large_noisy_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    path.write_text(PROSE * 20_000 + "x" * MAX_LINE)
    (document,) = find_documents([tmp_path], on_skip=lambda *_: pytest.fail())
    with pytest.raises(DocumentError, match="line 40001 has 100000"):
        next(iter(document.read()))
