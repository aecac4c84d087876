"""Files and folders to documents: what is walked, what is left out, what each file is.

Nothing is read here but the first bytes of each file; `Document.read` opens it again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from .document import CONTROLS, Document, Kind, OnSkip, Section, UnreadableError
from .ignoring import IgnoreRules, Verdict, is_marked, is_wanted_by_nobody, why_generated
from .noise import check_noise, format_of, without_data
from .readers.pdf import check_pdf_extra
from .readers.text import HEAD_BYTES, NotTextError, is_binary, read_blocks
from qsift.errors import DocumentError, MissingExtraError

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


def find_documents(
    paths: Iterable[str | os.PathLike[str]],
    *,
    on_skip: OnSkip,
    on_unread: Callable[[str], None] | None = None,
    ignore: bool = True,
    hidden: bool = False,
    among: Iterable[str] | None = None,
) -> Iterator[Document]:
    """Returns an iterator over the documents of files and folders, found as it goes.

    A given file is always taken. In folders, what ignore files name is left out: .gitignore as git reads it, .ignore
    and .qsiftignore, of which the later ones outdo the earlier. So are hidden files and folders, node_modules,
    __pycache__, the folders of version control, virtual environments, indices, and generated files: lock files,
    source maps, minified code, and text or code with a line of 100,000 characters. What a "!" line of a .ignore or
    .qsiftignore names is taken, whatever it is; one of a .gitignore may be hidden. Links are followed; what two paths
    lead to is found once. The order is that of ``paths``, within a folder that of the names.

    Args:
        paths: files and folders.
        on_skip: called with the name and the reason for each file or folder that cannot be read, is no text or is
            generated. What only reading tells, such as a damaged PDF or a long line, is a DocumentError of
            `Document.read`.
        on_unread: is told the name of each file or folder that is there and could only not be read, also where on_skip
            is not told of every one: for `SearchIndex.update`, which keeps what it has of them.
        ignore: False takes all but hidden files and indices.
        hidden: whether to take hidden files and folders.
        among: sources and folders, as `source_name` gives them; only what is one of them or in one is found, and no
            other folder is looked into. None finds all.

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
    return _Walk(on_skip, on_unread or (lambda name: None), ignore=ignore, hidden=hidden, among=among).documents(given)


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


@dataclass(frozen=True)
class _Place:
    """What is to be looked at.

    Attributes:
        path: as it is opened.
        full: absolute and with "/", as ignore files see it.
        rules: of the folder that it is in; None where it was given.
        wanted: whether it is taken though it looks generated.
    """

    path: str
    full: str
    rules: IgnoreRules | None
    wanted: bool


class _Walk:
    """A walk through files and folders."""

    def __init__(
        self,
        on_skip: OnSkip,
        on_unread: Callable[[str], None],
        *,
        ignore: bool,
        hidden: bool,
        among: Iterable[str] | None,
    ) -> None:
        self._on_skip = on_skip
        self._on_unread = on_unread
        self._ignore = ignore
        self._hidden = hidden
        self._among = None if among is None else {name.rstrip("/") or name[:1] for name in among}
        if self._among and "." in self._among:
            self._among = None
        # The folders that lead there.
        self._ways = {name[:end] for name in self._among or () for end in range(len(name)) if name[end] == "/"}

    def documents(self, given: list[str]) -> Iterator[Document]:
        seen, missing = set(), set[str]()
        stack = [_Place(path, _full(path), None, True) for path in reversed(given)]
        while stack:
            place = stack.pop()
            path, name = place.path, source_name(place.path)
            try:
                status = os.stat(path)
                # Also what ends loops of links.
                if (identity := (status.st_dev, status.st_ino)) in seen:
                    continue
                seen.add(identity)
                if stat.S_ISDIR(status.st_mode):
                    stack.extend(reversed(self._children(place, name)))
                elif self._among is not None and not self._is_meant(name):
                    continue
                elif stat.S_ISREG(status.st_mode):
                    kind = _kind(path)
                    stamp = f"{status.st_size}-{status.st_mtime_ns}"
                    read = partial(_read, path, name, kind, long_lines=place.wanted)
                    yield Document(name, kind, stamp, status.st_mtime, read)
                else:
                    self._on_skip(name, _SPECIAL)
            except OSError as error:
                self._on_skip(name, _reason(error, path))
                if not isinstance(error, FileNotFoundError) or os.path.islink(path):
                    self._on_unread(name)
            except NotTextError as error:
                self._on_skip(name, str(error))
            except MissingExtraError as error:
                self._on_unread(name)
                if error.extra not in missing:
                    missing.add(error.extra)
                    self._on_skip(name, f"{error} Others like it are not named.")

    def _children(self, place: _Place, name: str) -> list[_Place]:
        """Returns what is in a folder and not left out, in the order of the names."""
        with os.scandir(place.path) as found:
            entries = {entry.name: entry.is_dir(follow_symlinks=False) or os.path.isdir(entry.path) for entry in found}
        if place.rules is not None and is_marked(entries, ignore=not place.wanted):
            return []
        rules = IgnoreRules()
        if self._ignore:
            rules = place.rules or IgnoreRules.above(place.full, self._skip_ignore_file)
            rules = rules.inside(place.full, entries, self._skip_ignore_file)
        children = []
        for child in sorted(entries):
            path, full = os.path.join(place.path, child), f"{place.full}/{child}"
            if self._among is not None and not self._leads_to(source_name(path)):
                continue
            said = rules.verdict(full, is_folder=entries[child])
            if said == "wanted" or (said != "ignored" and self._is_taken(path, said, is_folder=entries[child])):
                children.append(_Place(path, full, rules, said == "wanted" or not self._ignore))
        return children

    def _is_taken(self, path: str, said: Verdict | None, *, is_folder: bool) -> bool:
        """Returns whether to take what nobody asked for."""
        name = os.path.basename(path)
        if name.startswith(".") and not self._hidden and said != "kept":
            return False
        if not self._ignore:
            return True
        if is_folder:
            return not is_wanted_by_nobody(name)
        if reason := why_generated(name):
            self._on_skip(source_name(path), reason)
        return reason is None

    def _is_meant(self, name: str) -> bool:
        meant = self._among or set()
        return name in meant or any((name[:end] or "/") in meant for end in range(len(name)) if name[end] == "/")

    def _leads_to(self, name: str) -> bool:
        return name in self._ways or self._is_meant(name)

    def _skip_ignore_file(self, path: str, reason: str) -> None:
        self._on_skip(source_name(path), reason)


def _full(path: str) -> str:
    return os.path.realpath(path).replace(os.sep, "/").rstrip("/")


def _kind(path: str) -> Kind:
    """Returns what a file is, from its name and its first bytes."""
    with open(path, "rb", buffering=0) as file:
        head = file.read(HEAD_BYTES)
    kind = _KINDS.get(_suffix(path)) or _NAMES.get(os.path.basename(path).lower())
    if kind == "pdf":
        check_pdf_extra()
    if kind in _PACKED:
        return kind
    its_format = format_of(head)
    if (its_format or is_binary(head)) and (other := _SAVED_AS.get(_suffix(path))):
        raise NotTextError(f"It is in a format that is not read. Save it as .{other}.")
    if its_format:
        raise NotTextError(f"It is {its_format} by its first bytes, not text.")
    if is_binary(head):
        raise NotTextError("It is binary: it holds zero bytes.")
    if kind:
        return kind
    return "mail" if _MAILBOX.match(head) else "code" if head.startswith(b"#!") else "text"


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1][1:].lower()


def _read(path: str, name: str, kind: Kind, *, long_lines: bool) -> Iterator[Section]:
    """Yields the sections of a file, after a look at all of it where it is text: nothing of a noisy one is found."""
    try:
        if kind not in _PACKED:
            with open(path, "rb") as file:
                check_noise(read_blocks(file), long_lines=long_lines or kind not in _PLAIN)
        with open(path, "rb") as file:
            yield from _sections(file, kind)
    except OSError as error:
        raise DocumentError(name, _reason(error, path)) from error
    except UnreadableError as error:
        raise DocumentError(name, str(error)) from error
    except (ValueError, ArithmeticError, LookupError, RecursionError) as error:  # what no reader foresaw
        raise DocumentError(name, f"It is damaged: {type(error).__name__}.") from error


def _sections(file: BinaryIO, kind: Kind) -> Iterator[Section]:
    if kind not in _PLAIN:
        from .readers.formats import READERS

        yield from READERS[kind](file)
        return
    line = 1
    for block in without_data(read_blocks(file)):
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
