"""What is written into a GGUF about it comes back the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsift.models.manifest import Manifest

PARTS = ("", "{query|trim}", "\n", "{document}", "")
MANIFESTS = st.builds(
    Manifest,
    task=st.sampled_from(["embed", "rerank"]),
    quant=st.text(max_size=8),
    instruction=st.text(max_size=20),
    template=st.none() | st.sampled_from(["card", "evaluation"]),
    min_dim=st.none() | st.integers(1, 4096),
    parts=st.just(()) | st.just(PARTS),
    labels=st.just(()) | st.just(("1",)),
)


@given(MANIFESTS)
def test_keys_come_back_as_they_were_written(manifest: Manifest) -> None:
    assert Manifest.from_keys(manifest.to_keys() | {"general.name": "other"}) == manifest


def test_a_file_without_our_keys_has_none() -> None:
    assert Manifest.from_keys({"general.architecture": "qwen3"}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qsift.format": 2}, "Upgrade qsift"),
        ({"qsift.task": "chat"}, "allowed are embed, rerank"),
        ({"qsift.task": None}, "allowed are embed, rerank"),
        ({"qsift.quant": 8}, "wrong type"),
        ({"qsift.min_dim": "32"}, "wrong type"),
        ({"qsift.labels": 3}, "wrong type"),
        ({"qsift.template_parts": ["", 3, ""]}, "wrong type"),
        ({"qsift.template": "own"}, "no place for query and document"),
        ({"qsift.template": "own", "qsift.template_parts": ["", "{query}", ""]}, "no place for query and document"),
        ({"qsift.template": "own", "qsift.template_parts": list(PARTS[:-1])}, "no place for query and document"),
    ],
)
def test_keys_that_make_no_sense_are_a_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Manifest.from_keys(Manifest.for_task("embed", "q8_0").to_keys() | changes)
