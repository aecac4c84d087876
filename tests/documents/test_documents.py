"""What the walk finds, what it leaves out, what it names and skips; and what reading tells later."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pdf import pdf

from qsift import Document, DocumentError, MissingExtraError, find_documents

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file below an empty working folder, and its folders."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: str | bytes = "text") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return write


def found(*paths: str | os.PathLike[str]) -> tuple[list[str], dict[str, str]]:
    skipped: dict[str, str] = {}
    documents = list(find_documents(paths, on_skip=skipped.__setitem__))
    return [document.source for document in documents], skipped


def only(path: str | os.PathLike[str]) -> Document:
    (document,) = find_documents([path], on_skip=lambda name, reason: pytest.fail(f"{name}: {reason}"))
    return document


def text_of(document: Document) -> str:
    return "".join(section.text for section in document.read())


def test_folders_are_walked_in_the_order_of_names_and_paths_in_the_order_given(write: Write) -> None:
    for name in ("d/b.txt", "d/a/z.md", "d/a/b/c.py", "d/B.txt", "d/c.txt", "e.txt"):
        write(name)
    order = ["e.txt", "d/B.txt", "d/a/b/c.py", "d/a/z.md", "d/b.txt", "d/c.txt"]
    assert found("e.txt", "d") == (order, {})
    assert found("d/") == (order[1:], {})
    assert found(".") == ([*order[1:], order[0]], {})
    assert found("./d//a/.", ".//e.txt") == (["d/a/b/c.py", "d/a/z.md", "e.txt"], {})


def test_hidden_and_generated_folders_are_left_out_unless_they_are_given(write: Write) -> None:
    for name in (".git/config", ".hidden.txt", "node_modules/a.js", "__pycache__/a.py", "x/.venv/a.py", "ok.txt"):
        write("d/" + name)
    write("d/venv/pyvenv.cfg")
    write("d/venv/lib/a.py")
    assert found("d") == (["d/ok.txt"], {})
    assert found("d/.git", "d/.hidden.txt", "d/venv")[0] == [
        "d/.git/config",
        "d/.hidden.txt",
        "d/venv/lib/a.py",
        "d/venv/pyvenv.cfg",
    ]


def test_the_kind_comes_from_the_name_and_a_script_without_suffix_is_code(write: Write) -> None:
    kinds = {
        "a.txt": "text",
        "a.log": "text",
        "a.csv": "csv",
        "a.tsv": "csv",
        "a.rst": "text",
        "a.tex": "tex",
        "a.jsonl": "jsonl",
        "a.srt": "srt",
        "a.eml": "mail",
        "README": "text",
        "a.MD": "markdown",
        "a.py": "code",
        "a.ipynb": "ipynb",
        "Makefile": "code",
        "a.htm": "html",
    }
    for name in kinds:
        write(name)
        assert only(name).kind == kinds[name]
    assert only(write("run", "#!/bin/sh\nls")).kind == "code"
    assert only(write("Inbox", "From a@example.org Mon Jan  5 10:00:00 2026\n\nx")).kind == "mail"
    assert only(write("letter", "From me to you")).kind == "text"
    assert only(write("a.pdf", pdf("x"))).kind == "pdf"
    for name, kind in (
        ("a.docm", "docx"),
        ("a.ODT", "odt"),
        ("a.ppsx", "pptx"),
        ("a.xlsm", "xlsx"),
        ("a.epub", "epub"),
    ):
        assert only(write(name, b"PK\0")).kind == kind


def test_binary_files_are_named_and_skipped(write: Write) -> None:
    write("d/a.txt")
    write("d/b.bin", b"\x7fELF\0\0")
    write("d/c.txt", b"text\0text")
    reason = "It is binary: it holds zero bytes."
    assert found("d") == (["d/a.txt"], {"d/b.bin": reason, "d/c.txt": reason})
    assert found("d/b.bin") == ([], {"d/b.bin": reason})
    write("e/old.doc", b"\xd0\xcf\0")
    assert found("e") == ([], {"e/old.doc": "It is in a format that is not read. Save it as .docx."})


def test_empty_folders_and_files_are_nothing_special(write: Write) -> None:
    write("d/empty.txt", "")
    Path("d/folder").mkdir()
    assert found("d/folder") == ([], {})
    assert found() == ([], {})
    assert list(only("d").read()) == []


def test_links_are_followed_and_loops_end(write: Write) -> None:
    write("d/a.txt")
    write("elsewhere/b.txt")
    os.symlink("..", "d/a-loop")
    os.symlink("self", "d/self")
    os.symlink("nowhere", "d/gone")
    os.symlink("../elsewhere", "d/link")
    sources, skipped = found("d")
    assert sources == ["d/a-loop/elsewhere/b.txt", "d/a.txt"]  # link leads where a-loop has been
    assert skipped == {"d/gone": "It is a link to nothing.", "d/self": skipped["d/self"]}
    assert skipped["d/self"].startswith("It cannot be read: ")


def test_what_two_paths_lead_to_is_found_once(write: Write) -> None:
    write("d/a.txt")
    os.symlink("a.txt", "d/b.txt")
    os.link("d/a.txt", "d/c.txt")
    assert found("d/../d/a.txt", "d", "./d/a.txt") == (["d/../d/a.txt"], {})


@pytest.mark.posix
def test_pipes_sockets_and_devices_are_named_and_skipped_without_waiting(write: Write) -> None:
    write("d/a.txt")
    os.mkfifo("d/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("d/socket")
        os.symlink("/dev/zero", "d/zero")
        sources, skipped = found("d")
    assert sources == ["d/a.txt"] and set(skipped) == {"d/pipe", "d/socket", "d/zero"}
    assert set(skipped.values()) == {"It is a pipe, a socket or a device. Only files and folders can be searched."}
    with pytest.raises(DocumentError, match="'d/pipe': It is a pipe"):
        found("d/pipe")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no /proc/self/mem")
def test_a_file_that_cannot_be_read_is_named_and_skipped(write: Write) -> None:
    write("d/a.txt")
    os.symlink("/proc/self/mem", "d/b.txt")
    sources, skipped = found("d")
    assert sources == ["d/a.txt"] and skipped["d/b.txt"].startswith("It cannot be read: ")


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_what_is_not_permitted_is_named_and_skipped(write: Write) -> None:
    write("d/a.txt").chmod(0)
    write("d/b/c.txt").parent.chmod(0)
    assert found("d") == ([], dict.fromkeys(("d/a.txt", "d/b"), "It cannot be read: Permission denied."))
    Path("d/b").chmod(0o700)


def test_a_file_that_is_deleted_while_the_walk_goes_on_is_named(write: Write) -> None:
    for name in ("d/a.txt", "d/b.txt", "d/c/d.txt"):
        write(name)
    skipped: dict[str, str] = {}
    walk = find_documents(["d"], on_skip=skipped.__setitem__)
    first = next(walk)
    for name in ("d/a.txt", "d/b.txt", "d/c/d.txt"):
        os.unlink(name)
    os.rmdir("d/c")
    assert list(walk) == []
    assert skipped == dict.fromkeys(("d/b.txt", "d/c"), "There is no such file or folder.")
    with pytest.raises(DocumentError) as caught:
        list(first.read())
    assert (caught.value.source, caught.value.reason) == ("d/a.txt", "There is no such file or folder.")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS takes only names in UTF-8")
def test_a_name_that_is_not_utf8_is_shown_with_escapes_and_the_file_is_read(write: Write) -> None:
    Path("d").mkdir()
    for name, content in ((b"d/caf\xe9.txt", b"one"), ("d/中\n\x1b[1m.txt".encode(), b"two")):
        with open(name, "wb") as file:
            file.write(content)
    documents = list(find_documents(["d", os.fsdecode(b"d/caf\xe9.txt")], on_skip=lambda *_: pytest.fail()))
    assert [(document.source, text_of(document)) for document in documents] == [
        (r"d/caf\xe9.txt", "one"),
        (r"d/中\n\x1b[1m.txt", "two"),
    ]


def test_a_path_that_does_not_exist_is_an_error_before_anything_is_read(write: Write) -> None:
    write("a.txt")
    with pytest.raises(DocumentError, match=r"'d/b.txt': There is no such file or folder\."):
        find_documents(["a.txt", "d/b.txt"], on_skip=lambda *_: pytest.fail())


def test_a_single_path_instead_of_a_list_is_refused() -> None:
    for path in ("a.txt", Path("a.txt")):
        with pytest.raises(TypeError, match="pass a list of paths"):
            find_documents(path, on_skip=lambda *_: None)  # type: ignore[arg-type]


def test_a_stamp_changes_with_size_and_time_and_with_nothing_else(write: Write) -> None:
    path = write("a.txt", "one")
    os.utime(path, ns=(5, 7_000_000_001))
    first = only(path)
    assert (first.modified, first.stamp) == (pytest.approx(7.0), "3-7000000001")
    assert only(path).stamp == first.stamp
    os.utime(path, ns=(5, 7_000_000_002))
    assert only(path).stamp != first.stamp


def test_reading_gives_the_lines_of_the_file(write: Write) -> None:
    html = only(write("a.html", "<title>T</title>\n\n<p>one\n"))
    assert [(section.text, section.lines) for section in html.read()] == [("T\n\none", [1, 3, 3])]
    text = only(write("a.txt", "\r\none\r\n"))
    assert [(section.text, section.line) for section in text.read()] == [("\none\n", 1)]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("late.txt", b"text\n" * 9999 + b"\0", "It is binary: it holds zero bytes."),
        ("noise.txt", bytes(range(128, 256)) * 9, "It is binary, or text in an encoding that cannot be told"),
        ("broken.pdf", b"%PDF-1.4 broken", "PDFium cannot read it: "),
        ("broken.docx", b"PK\3\4 broken", "It is damaged: File is not a zip file."),
        ("broken.ipynb", b"{", "It is damaged, or no notebook: "),
    ],
)
def test_what_only_reading_tells_is_an_error_with_name_and_reason(
    write: Write, name: str, content: bytes, reason: str
) -> None:
    document = only(write(name, content))
    with pytest.raises(DocumentError) as caught:
        list(document.read())
    assert caught.value.source.endswith(name) and caught.value.reason.startswith(reason)


def test_without_the_extra_the_first_pdf_of_a_folder_is_named_and_one_that_is_given_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("d/a.pdf", pdf("x"))
    write("d/b.txt")
    write("d/c.pdf", pdf("y"))
    document = only("d/a.pdf")
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    sentence = "Reading PDF files needs pypdfium2. Install it with: pip install 'qsift[pdf]'."
    assert found("d") == (["d/b.txt"], {"d/a.pdf": f"{sentence} Others like it are not named."})
    with pytest.raises(MissingExtraError, match=r"pip install 'qsift\[pdf\]'"):
        found("d/b.txt", "d/a.pdf")
    with pytest.raises(MissingExtraError):
        list(document.read())
