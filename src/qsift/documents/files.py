"""Files and folders to documents: what is walked, what is left out, what each file is.

Nothing is read here but the first bytes of each file; `Document.read` opens it again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from typing import BinaryIO

from .document import CONTROLS, Document, Kind, OnSkip, Section, UnreadableError
from .readers.pdf import check_pdf_extra
from .readers.text import HEAD_BYTES, NotTextError, is_binary, read_blocks
from qsift.errors import DocumentError, MissingExtraError

# Hidden ones are left out as well.
_LEFT_OUT = {"node_modules", "__pycache__"}
# What is in a virtual environment, and in an index.
_MARKS = {"pyvenv.cfg", "passages.lance"}
_CODE_SUFFIXES = """
    ada asm awk bash bat c cc cfg clj cmake conf cpp cs css cu cxx d dart diff el elm erl ex exs f f90 fs fish gd
    glsl go gradle graphql groovy h hcl hh hpp hs hxx ini java jl js json json5 jsx kt kts less lisp lua m makefile
    mjs ml mm nim nix pas patch php pl pm proto ps1 py pyi pyx r rb rs s sass scala scm scss sh sql sv svelte
    swift tcl tf toml ts tsx v vb vhd vim vue xml xsd yaml yml zig zsh
"""
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(_CODE_SUFFIXES.split(), "code"),
    **dict.fromkeys(("htm", "html", "xhtml"), "html"),
    **dict.fromkeys(("markdown", "md", "mdown", "mdx", "mkd", "qmd", "rmd"), "markdown"),
    **dict.fromkeys(("tex", "ltx"), "tex"),
    **dict.fromkeys(("docx", "docm", "dotx", "dotm"), "docx"),
    **dict.fromkeys(("odt", "ott"), "odt"),
    **dict.fromkeys(("pptx", "pptm", "ppsx", "ppsm", "potx", "potm"), "pptx"),
    **dict.fromkeys(("xlsx", "xlsm", "xltx", "xltm"), "xlsx"),
    **dict.fromkeys(("eml", "mbox"), "mail"),
    **dict.fromkeys(("csv", "tsv"), "csv"),
    **dict.fromkeys(("jsonl", "ndjson"), "jsonl"),
    **dict.fromkeys(("srt", "vtt"), "srt"),
    **{kind: kind for kind in ("pdf", "epub", "ipynb")},
}
# What is searched as it stands.
_PLAIN: set[Kind] = {"text", "markdown", "code", "tex"}
# What may hold zero bytes.
_PACKED: set[Kind] = {"pdf", "docx", "odt", "pptx", "xlsx", "epub", "mail"}
# What else is written where such files are, and what its program can save it as.
_SAVED_AS = {"doc": "docx", "ppt": "pptx", "xls": "xlsx", "xlsb": "xlsx", "odp": "pptx", "ods": "xlsx", "mobi": "epub"}
# How a mailbox begins; many have no suffix.
_MAILBOX = re.compile(rb"From \S+ +\w{3} \w{3} +\d+ \d\d:\d\d")
_NAMES: dict[str, Kind] = dict.fromkeys(("makefile", "dockerfile", "rakefile", "gemfile", "jenkinsfile"), "code")


def find_documents(paths: Iterable[str | os.PathLike[str]], *, on_skip: OnSkip) -> Iterator[Document]:
    """Returns an iterator over the documents of files and folders, found as it goes.

    A given file is always taken. In folders, hidden files and folders, node_modules, __pycache__,
    virtual environments and indices are left out. Links are followed; what two paths lead to is found once. The order
    is that of ``paths``, within a folder that of the names.

    Args:
        paths: files and folders.
        on_skip: called with the name and the reason for each file or folder that cannot be read or is
            no text. What only reading tells, such as a damaged PDF, is a DocumentError of `Document.read`.

    Raises:
        DocumentError: a given path does not exist or is neither file nor folder; before anything is read.
        MissingExtraError: a given file is a PDF and pypdfium2 is missing; in a folder the first one is named.
        TypeError: ``paths`` is a single path.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(f"paths is the single path {paths!r}; pass a list of paths.")
    given = [os.fspath(path) for path in paths]
    for path in given:
        _check_given(path)
    return _walk(given, on_skip)


def source_name(path: str) -> str:
    """Returns the source of the document at a path: the same for "a/b", "./a/b" and "a//b/".

    A path with ".." stays as it is: behind a link that leads elsewhere.
    """
    plain = path if not path or os.pardir in path.split(os.sep) else os.path.normpath(path)
    return _printable(plain)


def _check_given(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise DocumentError(_printable(path), _reason(error, path)) from error
    if stat.S_ISREG(mode):
        if _suffix(path) == "pdf":
            check_pdf_extra()
    elif not stat.S_ISDIR(mode):
        raise DocumentError(_printable(path), _SPECIAL)


_SPECIAL = "It is a pipe, a socket or a device. Only files and folders can be searched."


def _walk(given: list[str], on_skip: OnSkip) -> Iterator[Document]:
    seen, told = set(), set[str]()
    stack = [(path, True) for path in reversed(given)]
    while stack:
        path, is_given = stack.pop()
        name = source_name(path)
        try:
            status = os.stat(path)
            # Also what ends loops of links.
            if (identity := (status.st_dev, status.st_ino)) in seen:
                continue
            seen.add(identity)
            if stat.S_ISDIR(status.st_mode):
                children = reversed(_children(path, is_given=is_given))
                stack.extend((os.path.join(path, child), False) for child in children)
            elif stat.S_ISREG(status.st_mode):
                kind = _kind(path)
                stamp = f"{status.st_size}-{status.st_mtime_ns}"
                yield Document(name, kind, stamp, status.st_mtime, partial(_read, path, name, kind))
            else:
                on_skip(name, _SPECIAL)
        except OSError as error:
            on_skip(name, _reason(error, path))
        except NotTextError as error:
            on_skip(name, str(error))
        except MissingExtraError as error:
            if error.extra not in told:
                told.add(error.extra)
                on_skip(name, f"{error} Others like it are not named.")


def _children(folder: str, *, is_given: bool) -> list[str]:
    names = os.listdir(folder)
    if not is_given and not _MARKS.isdisjoint(names):
        return []
    return sorted(name for name in names if not name.startswith(".") and name not in _LEFT_OUT)


def _kind(path: str) -> Kind:
    """Returns what a file is, from its name and its first bytes."""
    with open(path, "rb", buffering=0) as file:
        head = file.read(HEAD_BYTES)
    kind = _KINDS.get(_suffix(path)) or _NAMES.get(os.path.basename(path).lower())
    if kind == "pdf":
        check_pdf_extra()
    if kind in _PACKED:
        return kind
    if is_binary(head):
        if other := _SAVED_AS.get(_suffix(path)):
            raise NotTextError(f"It is in a format that is not read. Save it as .{other}.")
        raise NotTextError("It is binary: it holds zero bytes.")
    if kind:
        return kind
    return "mail" if _MAILBOX.match(head) else "code" if head.startswith(b"#!") else "text"


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1][1:].lower()


def _read(path: str, name: str, kind: Kind) -> Iterator[Section]:
    """Yields the sections of a file."""
    try:
        with open(path, "rb") as file:
            yield from _sections(file, kind)
    except OSError as error:
        raise DocumentError(name, _reason(error, path)) from error
    except UnreadableError as error:
        raise DocumentError(name, str(error)) from error


def _sections(file: BinaryIO, kind: Kind) -> Iterator[Section]:
    if kind not in _PLAIN:
        from .readers.formats import READERS

        yield from READERS[kind](file)
        return
    line = 1
    for block in read_blocks(file):
        yield Section(block, line)
        line += block.count("\n")


def _printable(path: str) -> str:
    """Returns a path as valid UTF-8 with "/", bytes and characters that cannot be shown as escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _reason(error: OSError, path: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "It is a link to nothing." if os.path.islink(path) else "There is no such file or folder."
    return f"It cannot be read: {error.strerror or error}."
