"""HTML to readable text that knows its lines.

The parser is the standard library's: it takes any input, a block at a time, and tells the line of
every piece of text. Headings become "# …", blocks stand apart by a blank line; scripts and styles go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

from qsift.documents.document import Section

# As much of an open tag is kept; the parser reads it again with every block, in memory that grows with it.
_MAX_TAG = 1 << 20
_HIDDEN = {"script", "style"}
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BLOCKS = """
    address article aside blockquote body details dialog div dl fieldset figcaption figure footer form h1 h2 h3 h4 h5
    h6 head header hr main nav ol p pre search section table title ul
"""
# What each tag puts between the texts around it: a blank line, the end of the line, a space.
_BORDERS = {
    **dict.fromkeys(_BLOCKS.split(), "\n\n"),
    **dict.fromkeys(("br", "dd", "dt", "li", "option", "summary", "tr"), "\n"),
    **dict.fromkeys(("td", "th"), " "),
}


def read_html(blocks: Iterable[str]) -> Iterator[Section]:
    """Yields the readable text of an HTML file, a section for each block of its source.

    Args:
        blocks: the source in pieces, in order.
    """
    reader = _Reader()
    for number, block in enumerate(blocks):
        if number:
            yield from reader.take()
        reader.feed(block)
        reader.forget_long_tag()
    # What is left is text that a "&" held back, or a tag or comment that never ends: browsers drop that,
    # and Python's parser would try to read it again from each "<" in it.
    if not reader.rawdata.startswith("<"):
        reader.close()
    yield from reader.take()


class _Reader(HTMLParser):
    """Collects lines of text, each with the line of the source where it begins."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._numbers: list[int] = []
        self._line = ""  # the line that is being collected
        self._number = 1
        self._prefix = ""
        self._apart = False  # whether a blank line comes before the next one
        self._hidden = False
        self._preformatted = False

    def take(self) -> Iterator[Section]:
        """Yields what was read since the last call as one section, if it is anything."""
        self._end_line()
        if self._lines:
            yield Section("\n".join(self._lines), self._numbers[0], lines=self._numbers)
        self._lines, self._numbers = [], []

    def forget_long_tag(self) -> None:
        """Leaves of a tag without an end its start and its lines: it may hold a picture, or millions of attributes."""
        if len(self.rawdata) > _MAX_TAG:
            self.rawdata = self.rawdata[:4] + "\n" * self.rawdata.count("\n", 4)

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Skips ``<![…>`` as browsers do; the parser itself raises on names that it does not know."""
        return self.parse_bogus_comment(i, report)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begins what the tag begins."""
        self._hidden = tag in _HIDDEN
        self._preformatted = self._preformatted or tag == "pre"
        self._border(tag)
        self._prefix = _HEADINGS.get(tag, self._prefix)

    def handle_endtag(self, tag: str) -> None:
        """Ends what the tag ends."""
        self._hidden = False
        self._border(tag)
        if tag == "pre":
            self._preformatted = False
        if tag in _HEADINGS:
            self._prefix = ""

    def handle_data(self, data: str) -> None:
        """Takes text between tags; the lines of the source stay lines."""
        if self._hidden:
            return
        for number, piece in enumerate(data.split("\n"), self.getpos()[0]):
            if number > self.getpos()[0]:
                self._end_line()
            if not self._line.strip():
                self._number = number
            self._line += piece

    def _border(self, tag: str) -> None:
        border = _BORDERS.get(tag, "")
        if "\n" in border:
            self._end_line()
            self._apart = self._apart or border == "\n\n"
        else:
            self._line += border

    def _end_line(self) -> None:
        text = self._line.rstrip() if self._preformatted else " ".join(self._line.split())
        self._line = ""
        if not text.strip():
            return
        if self._apart and self._lines:
            self._lines.append("")
            self._numbers.append(self._number)
        self._lines.append(self._prefix + text)
        self._numbers.append(self._number)
        self._apart, self._prefix = False, ""
