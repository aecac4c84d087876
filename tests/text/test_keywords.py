"""Arguments that methods hand on are written once, and shown by each."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from typing import Any

import pytest

from qsift import Embedder, Reranker
from qsift.embedder import EncodeOptions
from qsift.reranker import PredictOptions


@pytest.mark.parametrize(
    ("method", "source", "options", "own"),
    [
        (Embedder.encode_query, Embedder.encode, EncodeOptions, ["self", "texts", "instruction"]),
        (Embedder.encode_document, Embedder.encode, EncodeOptions, ["self", "texts"]),
        (Reranker.rank, Reranker.predict, PredictOptions, ["self", "query", "documents", "top_k"]),
    ],
)
def test_help_shows_every_keyword_with_its_default(
    method: Callable[..., Any], source: Callable[..., Any], options: type, own: list[str]
) -> None:
    shown, explained = inspect.signature(method).parameters, inspect.signature(source).parameters
    assert [*shown] == [*own, *options.__annotations__]
    for name in options.__annotations__:
        assert shown[name].default == explained[name].default
        assert f"{name}: " in pydoc.plain(pydoc.render_doc(method))
    assert set(options.__annotations__) == set(explained) - {"self", "texts", "pairs"} - {*own, "instruction"} | {
        *options.__annotations__
    } & {"instruction"}


def test_documents_stand_bare() -> None:
    with pytest.raises(TypeError, match="instruction"):
        Embedder.encode_document(object.__new__(Embedder), "a text", instruction="no")  # type: ignore[call-arg]
