"""Subtitles (.srt, .vtt) to sections: what is said, without numbers, times and formatting; lines are the file's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from .numbered import Line, sections
from .text import read_blocks, read_lines
from qsift.documents.document import Section

_TIMES = re.compile(r"\s*[\d:]+[.,]\d+\s+-->\s+[\d:]+[.,]\d+")
_FORMAT = re.compile(r"</?[a-zA-Z][^<>]{0,80}>|\{\\[^{}]{0,80}\}")


def read_srt(file: BinaryIO) -> Iterator[Section]:
    """Yields the text of subtitles.

    Args:
        file: open at its start; must be seekable.

    Raises:
        UnreadableError: no text.
    """
    return sections(_lines(file))


def _lines(file: BinaryIO) -> Iterator[Line]:
    number, held = 0, ""
    for number, line in read_lines(read_blocks(file)):
        if _TIMES.match(line):
            held = ""  # the cue's own number or name
        else:
            if held != "WEBVTT":
                yield Line(held, number - 1)
            held = _FORMAT.sub("", line)
    yield Line(held, number)
