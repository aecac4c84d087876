"""Packages: ZIP files of XML parts, as Office, OpenDocument and EPUB write them, read in bounded memory and time.

Only what is asked for is unpacked, a block at a time, and never written anywhere. A package may unpack to so many
times its size and no more; its XML may not be nested, and no tag be long, without end; entities are refused, so that
nothing expands, and nothing outside of the file is ever opened. Macros, pictures and fonts are parts that nobody asks
for. The parser is the standard library's expat.
"""

from __future__ import annotations

import posixpath
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Literal, NamedTuple
from urllib.parse import unquote
from xml.parsers import expat

from qsift.documents.document import UnreadableError

_BLOCK = 1 << 16
# Sheets, the most repetitive of these formats, unpack to 5 to 50 times their size; a bomb of zeros to 1,032 times.
_MAX_RATIO = 100
_ALWAYS_ALLOWED = 1 << 25
_MAX_DEPTH = 1000
_MAX_TAG = 1 << 20
_MAX_NAMES = 1 << 12
# zipfile reads the whole list of parts, some 60 bytes each, before it says how many there are.
_MAX_LIST = 1 << 23
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class Event(NamedTuple):
    """What the parser met: a tag that opens or closes, or text; names are without their namespace.

    Attributes:
        what: "start", "end" or "text".
        name: of the tag; of a text, the text.
        attributes: of a tag that opens; the id of a relationship is "r:id".
    """

    what: Literal["start", "end", "text"]
    name: str
    attributes: Mapping[str, str] = {}

    def is_start(self, name: str) -> bool:
        """Returns whether this opens a tag of that name."""
        return self.what == "start" and self.name == name


class Package:
    """An open package; close it, or use `contextlib.closing`."""

    def __init__(self, file: BinaryIO) -> None:
        """Reads the list of its parts.

        Args:
            file: open at its start; must be seekable, and stays the caller's.

        Raises:
            UnreadableError: it is no ZIP file, is encrypted, or unpacks to far more than its size.
        """
        if file.read(len(_OLE)) == _OLE:
            raise UnreadableError(
                "It is encrypted with a password, or in an Office format from before 2007. Save it again without a "
                "password, as .docx, .pptx or .xlsx."
            )
        size = file.seek(0, 2)
        try:
            self._zip = zipfile.ZipFile(_Bounded(file))
        except UnreadableError:
            raise
        except _BROKEN as error:
            raise _damaged(error) from error
        self._left = self._allowed = max(_MAX_RATIO * size, _ALWAYS_ALLOWED)
        if sum(part.file_size for part in self._zip.infolist()) > self._allowed:
            raise self._too_much()

    def close(self) -> None:
        """Forgets the list of parts."""
        self._zip.close()

    def __contains__(self, part: str) -> bool:
        return part in self._zip.NameToInfo

    def blocks(self, part: str) -> Iterator[bytes]:
        """Yields the bytes of a part.

        Raises:
            UnreadableError: it is missing, damaged, encrypted or too large.
        """
        if part not in self:
            raise UnreadableError(f"It is damaged: its part {part!r} is missing.")
        info = self._zip.getinfo(part)
        if info.flag_bits & 1:
            raise UnreadableError("It is encrypted with a password. Save it again without one.")
        # The only methods that these formats allow; of the others, Python unpacks blocks of any size at once.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnreadableError(f"It is damaged: {part!r} is compressed by method {info.compress_type}.")
        try:
            with self._zip.open(info) as file:
                while block := file.read(_BLOCK):
                    self.spend(len(block))
                    yield block
        except UnreadableError:
            raise
        except _BROKEN as error:
            raise _damaged(error) from error

    def spend(self, n: int) -> None:
        """Counts ``n`` bytes or characters that came out of the package.

        Raises:
            UnreadableError: they are too many.
        """
        self._left -= n
        if self._left < 0:
            raise self._too_much()

    def events(self, part: str) -> Iterator[Event]:
        """Yields what stands in a part of XML, in its order.

        Raises:
            UnreadableError: as `blocks`; or no XML, or XML that declares entities or is nested without end.
        """
        events: list[Event] = []
        parser, given = _parser(events), 0
        try:
            for block in self.blocks(part):
                parser.Parse(block)
                given += len(block)
                # Where a tag has no end, older parsers begin again at its start with every block.
                if given - parser.CurrentByteIndex > _MAX_TAG:
                    raise UnreadableError(f"It is damaged: a tag in {part!r} has no end.")
                yield from events
                events.clear()
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise UnreadableError(f"It is damaged: its part {part!r} is no XML ({error}).") from error
        yield from events

    def related(self, part: str) -> dict[str, tuple[str, str]]:
        """Returns (kind, part) by id of what a part of an Office package is related to; links elsewhere are left out.

        Args:
            part: its name; "" for the package itself.
        """
        folder, name = posixpath.split(part)
        listed = posixpath.join(folder, "_rels", f"{name}.rels")
        found: dict[str, tuple[str, str]] = {}
        if listed in self:
            for event in self.events(listed):
                item = event.attributes
                if event.name == "Relationship" and item.get("TargetMode") != "External" and "Id" in item:
                    kind = item.get("Type", "").rpartition("/")[2]
                    found[item["Id"]] = kind, resolve(part, item.get("Target", ""))
        return found

    def only_related(self, part: str, kind: str) -> str | None:
        """Returns the part of a kind that a part is related to; None if there is none."""
        return next((target for found, target in self.related(part).values() if found == kind), None)

    def main(self) -> str:
        """Returns the part that an Office package begins with.

        Raises:
            UnreadableError: it has none.
        """
        part = self.only_related("", "officeDocument")
        if part is None:
            raise UnreadableError("It is damaged, or no Office file: it names no document.")
        return part

    def _too_much(self) -> UnreadableError:
        return UnreadableError(
            f"It unpacks to more than {self._allowed:,} bytes, far more than its size allows: it is damaged or made "
            "to fill a memory."
        )


def resolve(part: str, target: str) -> str:
    """Returns the name of the part that a reference in another one means."""
    path = unquote(target.partition("#")[0])
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(part), path)).lstrip("/")


def _damaged(error: Exception) -> UnreadableError:
    return UnreadableError(f"It is damaged: {str(error).rstrip('.') or type(error).__name__}.")


# What zipfile raises on bytes that are no ZIP file, or a broken one.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, ValueError)


class _Bounded:
    """A file whose calls read no more than a list of parts may be long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_LIST:
            raise UnreadableError(f"It is damaged: the list of its parts has more than {_MAX_LIST:,} bytes.")
        return self._file.read(size)


def _parser(events: list[Event]) -> expat.XMLParserType:
    """Returns a parser that adds what it meets to ``events``."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    depth, local = 0, _LocalNames()

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise UnreadableError(f"It is damaged: its XML is nested more than {_MAX_DEPTH} deep.")
        events.append(Event("start", local[name], {local[key]: attributes[key] for key in attributes}))

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        events.append(Event("end", local[name]))

    def refuse(*declared: object) -> None:
        raise UnreadableError("Its XML declares entities, which no such file needs and which can be made to harm.")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    text: Callable[[str], None] = lambda data: events.append(Event("text", data))  # noqa: E731
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = refuse
    return parser


class _LocalNames(dict[str, str]):
    """Names without their namespace, by the names that the parser gives; "r:" stays of that of relationships."""

    def __missing__(self, name: str) -> str:
        namespace, _, local = name.rpartition(" ")
        local = f"r:{local}" if namespace.endswith("/relationships") and local == "id" else local
        return self.setdefault(name, local) if len(self) < _MAX_NAMES else local
