"""Mails to sections: a message (.eml), or a section for each message of a mailbox (.mbox).

The parser is the standard library's. It takes any bytes, but what a header says may raise almost anything when it is
asked for; then the message is read without it.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import Compat32
from typing import Any, BinaryIO

from .html import read_html
from .text import NotTextError, read_blocks
from qsift.documents.document import Section, place_of, scrubbed

# The text of a message stands before what is attached, so what is cut off is of an attachment.
_MAX_BYTES = 1 << 23
_MAX_LINE, _BLOCK = 1 << 16, 1 << 18
_MAX_HEADER, _MAX_SHOWN = 10_000, 1000
# The parser compares every line with the border of every part that is open.
_MAX_COMPARED = 1 << 24
_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_FROM = b"From "
_LEAKS = (LookupError, ValueError, TypeError, AttributeError, MessageError)
# Python decodes these, which are for names of hosts, in quadratic time.
_SLOW = {"idna", "punycode"}


def read_mail(file: BinaryIO) -> Iterator[Section]:
    """Yields each message: its subject, people and date, its text, and the names of what is attached.

    Attachments are not opened, and nothing that HTML refers to is fetched. Lines count from the message's top as it
    is read here. Of each message the first 8 MiB are read.

    Args:
        file: open at its start, seekable; a mailbox begins with "From ".
    """
    is_mailbox = file.read(len(_FROM)) == _FROM
    file.seek(0)
    if not is_mailbox:
        yield from _section(file.read(_MAX_BYTES), "")
        return
    for number, message in enumerate(_messages(file), 1):
        yield from _section(message, place_of("message", number))


def _messages(file: BinaryIO) -> Iterator[bytes]:
    """Yields the messages of a mailbox; a line "From " at its start or after a blank line begins one."""
    message, blank, begins = bytearray(), True, True
    while line := file.readline(_MAX_LINE):
        if blank and begins and line.startswith(_FROM):
            if message:
                yield bytes(message)
            message = bytearray()
        elif len(message) < _MAX_BYTES:
            message += line
        blank, begins = begins and line in (b"\n", b"\r\n"), line.endswith(b"\n")
    if message:
        yield bytes(message)


class _Policy(Compat32):
    """Cuts headers, whose parameters Python reads in quadratic time."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:_MAX_HEADER]


def _section(data: bytes, place: str) -> Iterator[Section]:
    text = scrubbed("\n".join(_lines(data)).replace("\r\n", "\n"))
    if text.strip():
        yield Section(text, place=place)


def _lines(data: bytes) -> Iterator[str]:
    """Yields what is shown of a message: headers, a blank line, text, names of attachments."""
    message, parts, names = _parsed(data)
    for name in _SHOWN:
        if value := _header(message, name):
            yield f"{name}: {value}"
    for part in parts:
        yield ""
        yield _text(part)
    yield from (f"Attached: {name}" for name in names)


def _parsed(data: bytes) -> tuple[Message[Any, Any], list[Message[Any, Any]], list[str]]:
    """Returns a message, the parts of it that are its text, and the names of those that are attached."""
    if data.lower().count(b"boundary") * data.count(b"\n") <= _MAX_COMPARED:
        try:
            message = message_from_bytes(data, policy=_Policy())
            names = [name for part in message.walk() if (name := part.get_filename())]
            return message, list(_texts(message)), names
        except (*_LEAKS, RecursionError):
            pass
    return BytesHeaderParser(policy=_Policy()).parsebytes(data), [], []


def _texts(part: Any) -> Iterator[Message[Any, Any]]:
    """Yields the parts that are shown: of alternatives the one in plain text, else the first that has any text."""
    if part.is_multipart():
        shown = [list(_texts(child)) for child in part.get_payload()]
        if part.get_content_type() == "multipart/alternative":
            plain = (texts for texts in shown if any(text.get_content_subtype() == "plain" for text in texts))
            shown = [next(plain, next(filter(None, shown), []))]
        for texts in shown:
            yield from texts
    elif part.get_content_maintype() == "text" and part.get_content_disposition() != "attachment":
        yield part


def _text(part: Message[Any, Any]) -> str:
    payload = part.get_payload(decode=True)
    text = _decoded(payload if isinstance(payload, bytes) else b"", part)
    if part.get_content_subtype() == "html":
        blocks = (text[start : start + _BLOCK] for start in range(0, len(text), _BLOCK))
        return "\n\n".join(section.text for section in read_html(blocks))
    return text.strip("\r\n")


def _decoded(data: bytes, part: Message[Any, Any]) -> str:
    try:
        codec = codecs.lookup(part.get_content_charset() or "")
        if codec.name not in _SLOW:
            return data.decode(codec.name, "replace")
    except _LEAKS:
        pass
    try:
        return "".join(read_blocks(io.BytesIO(data)))
    except NotTextError:
        return ""


def _header(message: Message[Any, Any], name: str) -> str:
    try:
        value = str(message.get(name, ""))[:_MAX_SHOWN]
        return " ".join(str(make_header(decode_header(value))).split())
    except _LEAKS:
        return ""
