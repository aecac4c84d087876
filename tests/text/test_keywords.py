"""Arguments that methods hand on are written once, and shown by each."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

from qsift import Embedder, Hit, Reranker
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


def test_another_keyword_is_refused_in_the_name_of_the_method_that_was_called() -> None:
    embedder, reranker = object.__new__(Embedder), object.__new__(Reranker)
    with pytest.raises(
        TypeError, match=r"Embedder\.encode_document\(\) got an unexpected keyword argument 'instruction'"
    ):
        embedder.encode_document("a text", instruction="no")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Reranker\.rank\(\) got an unexpected keyword argument 'batch_size'"):
        reranker.rank("a query", ["a text"], batch_size=4)  # type: ignore[call-arg]


def test_types_of_what_is_handed_on_resolve() -> None:
    hints = get_type_hints(Reranker.rank)
    assert hints["raw_scores"] is bool and hints["return"] == list[Hit]
    assert get_type_hints(Embedder.encode_document)["normalize_embeddings"] is bool
