"""A retrieval set of code that is on every machine: the first sentence of a documentation asks for its function.

The code is that of installed packages, read and not imported: their Python, and the C++ headers that some bring. What
documents a function, a class or a module is taken out of the code, so no question is a string of it; other comments
stay. The set is different in other versions of the packages.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np

Language = Literal["python", "cpp"]

PACKAGES: dict[Language, tuple[str, ...]] = {
    "python": (
        "aiohttp", "anyio", "click", "datasets", "fontTools", "fsspec", "gguf", "httpx", "huggingface_hub",
        "hypothesis", "jinja2", "joblib", "langchain_core", "markdown", "matplotlib", "mypy", "networkx", "nltk",
        "numpy", "onnx", "openpyxl", "packaging", "pandas", "PIL", "pydantic", "pygments", "requests", "rich",
        "scipy", "sentence_transformers", "setuptools", "sklearn", "sqlalchemy", "starlette", "sympy", "torch",
        "transformers", "urllib3", "websockets", "werkzeug",
    ),
    "cpp": ("torch/include/ATen", "torch/include/c10", "torch/include/torch", "pyarrow/include"),
}  # fmt: skip
"""Where code is taken from; what is not installed is left out."""
_SUFFIX: dict[Language, str] = {"python": ".py", "cpp": ".h"}
_LEFT_OUT = {"_vendor", "ops", "test", "tests", "testing", "thirdparty"}
_FILES_OF_A_PACKAGE: dict[Language, int] = {"python": 10, "cpp": 70}
_QUESTIONS_OF_A_FILE = 3
_BYTES = range(2000, 40_000)
_WORDS = range(5, 41)
_MIN_BODY = 3  # lines
_COMMENT = re.compile(r"^\s*(?:/{2,}[!<]?|/?\*+/?)\s?|[\\@]brief\s|\s*\*/\s*$")
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)")


@dataclass(frozen=True)
class Question:
    """A sentence that one function answers.

    Attributes:
        text: the first sentence of its documentation.
        source: the file.
        definition: the line of its name, from 1, in the file without documentation.
        body: the lines of its statements there.
    """

    text: str
    source: str
    definition: int
    body: range


@dataclass(frozen=True)
class Code:
    """Files without documentation, by name, and questions of which each has one answer in them."""

    files: dict[str, str]
    questions: list[Question]


@dataclass(frozen=True)
class _Function:
    """What documents a function, and its lines, from 1: of its name, its first statement, its last line."""

    documentation: str
    definition: int
    body: int
    end: int


# The lines that document something, by number from 1, with what takes their place ("" for most); the functions.
_Read = tuple[dict[int, str], list[_Function]]


def functions(language: Language) -> Code:
    """Returns the code of installed packages and its questions, the same for the same versions of the packages."""
    root = Path(np.__file__).parents[1]
    files: dict[str, str] = {}
    found: list[Question] = []
    for package in PACKAGES[language]:
        paths = {path.relative_to(root).as_posix(): path for path in (root / package).rglob(f"*{_SUFFIX[language]}")}
        taken = 0
        for source in sorted(paths, key=_order):
            if paths[source].stat().st_size in _BYTES and _LEFT_OUT.isdisjoint(source.split("/")):
                text, questions = _undocumented(paths[source].read_text("utf-8"), source, _READERS[language])
                if questions:
                    files[source] = text
                    found += sorted(questions, key=lambda question: _order(question.text))
                    taken += 1
            if taken == _FILES_OF_A_PACKAGE[language]:
                break
    asked = Counter(question.text for question in found)
    kept: Counter[str] = Counter()
    questions = []
    for question in found:
        if asked[question.text] == 1 and kept[question.source] < _QUESTIONS_OF_A_FILE:
            kept[question.source] += 1
            questions.append(question)
    return Code(files, questions)


def _order(text: str) -> bytes:
    """Returns what sorts texts as if by chance, and always the same."""
    return hashlib.sha256(text.encode()).digest()


def _undocumented(text: str, source: str, read: Callable[[str], _Read]) -> tuple[str, list[Question]]:
    """Returns a file without what documents it, and the questions of that."""
    replaced, found = read(text)
    lines = text.split("\n")
    kept = [replaced.get(number, line + "\n") for number, line in enumerate(lines, 1)]
    place = [0, *accumulate(bool(line) for line in kept)]
    questions = []
    for function in found:
        paragraph = " ".join(function.documentation.strip().partition("\n\n")[0].split())
        sentence = _SENTENCE.match(paragraph)
        question = sentence[0] if sentence else paragraph
        if len(question.split()) in _WORDS and function.end - function.body + 1 >= _MIN_BODY:
            body = range(place[function.body], place[function.end] + 1)
            questions.append(Question(question, source, place[function.definition], body))
    return "".join(kept), questions


def _python(text: str) -> _Read:
    replaced: dict[int, str] = {}
    found = []
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring, body = ast.get_docstring(node), node.body
        if docstring is not None:
            first, body = body[0], body[1:]
            if lines[first.lineno - 1][: first.col_offset].strip():  # on the line of its definition
                return {}, []
            replaced |= dict.fromkeys(range(first.lineno, (first.end_lineno or 0) + 1), "")
            if not body and not isinstance(node, ast.Module):
                replaced[first.lineno] = " " * first.col_offset + "pass\n"
        if docstring and body and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(_Function(docstring, node.lineno, body[0].lineno, node.end_lineno or 0))
    return replaced, found


def _cpp(text: str) -> _Read:
    import tree_sitter
    import tree_sitter_cpp

    replaced: dict[int, str] = {}
    found = []
    lines = text.split("\n")
    nodes = [tree_sitter.Parser(tree_sitter.Language(tree_sitter_cpp.language())).parse(text.encode()).root_node]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.type not in ("function_definition", "class_specifier", "struct_specifier"):
            continue
        whole = node
        while whole.parent is not None and whole.parent.type == "template_declaration":
            whole = whole.parent
        end = whole.start_point.row  # from 0; comments stand in the lines above, down to one that is something else
        start = end
        while start and lines[start - 1].lstrip().startswith(("//", "/*", "*")):
            start -= 1
        replaced |= dict.fromkeys(range(start + 1, end + 1), "")
        name, body = (node.child_by_field_name(field) for field in ("declarator", "body"))
        if start < end and body is not None and name is not None and name.type == "function_declarator":
            words = "\n".join(_COMMENT.sub("", line) for line in lines[start:end])
            found.append(_Function(words, name.start_point.row + 1, body.start_point.row + 1, node.end_point.row + 1))
    return replaced, found


_READERS: dict[Language, Callable[[str], _Read]] = {"python": _python, "cpp": _cpp}
