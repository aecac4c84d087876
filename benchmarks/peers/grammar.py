"""Cuts code at the nodes of its grammar, by tree-sitter: what qsift's cuts by layout are measured beside.

Functions and classes that fit stay whole, and small neighbours share a passage; what does not fit is cut between its
parts, down to statements. It is the way of LlamaIndex's CodeSplitter and of cAST (https://arxiv.org/abs/2506.15655),
with the model's own tokens as the size, and comments and decorators kept with what follows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import tree_sitter
import tree_sitter_cpp
import tree_sitter_python

from qsift import Document
from qsift.documents import Passage, Splitter

_LANGUAGES = {"python": tree_sitter_python.language, "cpp": tree_sitter_cpp.language}
_DEFINITIONS = {
    "decorated_definition", "function_definition", "class_definition",
    "template_declaration", "class_specifier", "struct_specifier",
}  # fmt: skip
_LEADING = {"comment", "decorator", "template", "template_parameter_list"}
_MAX_CHARS_PER_TOKEN = 16

Span = tuple[int, int]


class GrammarSplitter:
    """Cuts files of one language."""

    def __init__(self, language: str, count_tokens: Callable[[str], int], *, max_tokens: int) -> None:
        """Keeps the limits.

        Args:
            language: "python" or "cpp".
            count_tokens: the length of a text in tokens.
            max_tokens: the most tokens of a passage.
        """
        self._parser = tree_sitter.Parser(tree_sitter.Language(_LANGUAGES[language]()))
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens
        self._rest = Splitter(count_tokens, max_tokens=max_tokens, overlap=0)
        self._data = b""

    def split(self, text: str, source: str) -> Iterator[Passage]:
        """Yields the passages of a file; what has no parts and does not fit, like a long string, is cut by layout."""
        self._data = text.encode()
        for begin, end in self._pieces(self._parser.parse(self._data).root_node, 0, is_whole=True):
            piece = self._text(begin, end)
            line = self._data.count(b"\n", 0, self._data.index(piece.encode(), begin))
            for passage in self._rest.split(Document.of_text(piece, source, kind="code")):
                yield replace(passage, line=line + passage.line, end_line=line + passage.end_line)

    def _pieces(self, node: tree_sitter.Node, begin: int, *, is_whole: bool) -> list[Span]:
        """Returns the pieces from ``begin`` to the end of a node."""
        pieces: list[Span] = []
        is_open = False
        for (start, end), may_share in self._units(node, begin, is_whole=is_whole):
            if is_open and may_share and self._fits(pieces[-1][0], end):
                pieces[-1] = pieces[-1][0], end
            else:
                pieces.append((start, end))
            is_open = may_share
        return pieces

    def _units(self, node: tree_sitter.Node, begin: int, *, is_whole: bool) -> Iterator[tuple[Span, bool]]:
        """Yields what stays together, and whether it may share a passage with a neighbour.

        Definitions are kept apart where ``is_whole``; inside of a function they are statements like others.
        """
        is_whole &= node.type != "function_definition"
        last_row = -1
        for child in node.children:
            trails = child.type == "comment" and child.start_point.row == last_row
            if child.type in _LEADING and child.next_sibling is not None and not trails:
                continue
            if self._fits(begin, child.end_byte) or not child.children:
                yield (begin, child.end_byte), True
            elif is_whole and child.type in _DEFINITIONS:
                yield from ((span, False) for span in self._pieces(child, begin, is_whole=True))
            else:
                yield from self._units(child, begin, is_whole=is_whole)
            begin, last_row = child.end_byte, child.end_point.row
        if begin < node.end_byte:  # a string's text behind its last escape is no node
            yield (begin, node.end_byte), True

    def _text(self, begin: int, end: int) -> str:
        """Returns a span from its first line with text on, as a passage holds it."""
        text = self._data[begin:end].decode()
        return text[text.rfind("\n", 0, len(text) - len(text.lstrip())) + 1 :].rstrip()

    def _fits(self, begin: int, end: int) -> bool:
        if end - begin > self._max_tokens * _MAX_CHARS_PER_TOKEN:
            return False
        return self._count_tokens(self._text(begin, end)) <= self._max_tokens
