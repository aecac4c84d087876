"""Bytes of files to text: encodings, line ends, blocks of bounded size.

The only door to charset-normalizer. A line ends at a newline and nowhere else, so that line numbers
are those of editors and of grep. This file knows no formats.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from qsift.documents.document import UnreadableError

HEAD_BYTES = 1 << 14
"""As much of a file's start decides whether it is text, and in which encoding."""

# Characters read at once; what is cut there shares no passage, so a block holds hundreds of them.
_BLOCK_CHARS = 1 << 18
_LINE_CHARS = 1 << 20
# UTF-32's little-endian mark begins with UTF-16's.
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ASCII = re.compile(r"[\x00-\x7f]+")


class NotTextError(UnreadableError):
    """Bytes that are no text; the message is the reason."""


def is_binary(head: bytes) -> bool:
    """Returns whether a file that starts so is no text: it holds a zero byte and no mark of UTF-16 or UTF-32."""
    return b"\0" in head and not head.startswith(tuple(_BOMS))


def read_blocks(file: BinaryIO) -> Iterator[str]:
    """Yields the text of a file in blocks that end at a paragraph, else at a line, else at a word.

    Together they are the whole text, less a byte-order mark and with "\\n" for "\\r\\n". Where a byte does
    not belong to the encoding that the file's start has, U+FFFD stands for it.

    Args:
        file: open at its start; must be seekable.

    Raises:
        NotTextError: zero bytes, or an encoding that cannot be told.
        OSError: from reading.
    """
    head = file.read(HEAD_BYTES)
    encoding = _encoding(head)
    file.seek(0)
    rest = ""
    # newline="" leaves line ends as they are: a lone "\r" ends no line.
    with io.TextIOWrapper(file, encoding, errors="replace", newline="") as text:
        while chunk := text.read(_BLOCK_CHARS):
            if "\0" in chunk:
                raise NotTextError("It is binary: it holds zero bytes.")
            rest = (rest + chunk).replace("\r\n", "\n")
            if len(chunk) == _BLOCK_CHARS:
                end = _end_of_block(rest)
                yield rest[:end]
                rest = rest[end:]
    if rest:
        yield rest


def read_lines(blocks: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yields the number and the text of each line of blocks; one of more than 2**20 characters comes in pieces."""
    number, rest = 1, ""
    for block in blocks:
        *lines, rest = (rest + block).split("\n")
        for line in lines:
            yield number, line
            number += 1
        if len(rest) > _LINE_CHARS:
            yield number, rest
            rest = ""
    if rest:
        yield number, rest


def _encoding(head: bytes) -> str:
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            return name
    if is_binary(head):
        raise NotTextError("It is binary: it holds zero bytes.")
    # The decoder keeps back a character that the end of the head cuts.
    foreign = _ASCII.sub("", codecs.getincrementaldecoder("utf-8")("replace").decode(head))
    # UTF-8 with a few broken bytes is still UTF-8; in other encodings hardly a byte above 127 fits.
    if foreign.count("\ufffd") <= len(foreign) // 10:
        return "utf-8"
    import charset_normalizer

    # A cut character would rule out the right encoding; no encoding has a newline inside of one.
    end = head.rfind(b"\n") + 1 if len(head) == HEAD_BYTES else 0
    best = charset_normalizer.from_bytes(head[: end or None]).best()
    if best is None:
        raise NotTextError("It is binary, or text in an encoding that cannot be told. Convert it to UTF-8.")
    return best.encoding


def _end_of_block(text: str) -> int:
    for border in ("\n\n", "\n", " "):
        end = text.rfind(border, len(text) // 2)
        if end >= 0:
            return end + len(border)
    return len(text)
