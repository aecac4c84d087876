"""What is written into a GGUF about it comes back the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsift.models.manifest import Manifest
from qsift.models.prompts import Prompts
from qsift.models.specs import Task

PROMPTS = st.builds(Prompts.of, st.dictionaries(st.text(max_size=8), st.text(max_size=20)))
PARTS = ("", "{query|trim}", "\n", "{document}", "")
MANIFESTS = st.builds(
    Manifest,
    task=st.just("embed"),
    quant=st.text(max_size=8),
    prompts=PROMPTS | PROMPTS.map(lambda prompts: replace(prompts, default=min(prompts.texts))),
    end_token=st.sampled_from(["", "<|endoftext|>", "<|im_end|>"]),
    min_dim=st.none() | st.integers(1, 4096),
) | st.builds(
    Manifest,
    task=st.just("rerank"),
    quant=st.text(max_size=8),
    instruction=st.text(max_size=20),
    template=st.none() | st.sampled_from(["card", "evaluation"]),
    parts=st.just(()) | st.just(PARTS),
    labels=st.just(()) | st.just(("1",)),
)


@given(MANIFESTS)
def test_keys_come_back_as_they_were_written(manifest: Manifest) -> None:
    assert Manifest.from_keys(manifest.to_keys() | {"general.name": "other"}) == manifest


def test_a_file_of_the_first_format_has_the_released_prompts_and_its_own_instruction() -> None:
    keys = {"qsift.format": 1, "qsift.task": "embed", "qsift.quant": "q8_0", "qsift.min_dim": 32}
    assert Manifest.from_keys(keys) == Manifest.for_task("embed", "q8_0")
    found = Manifest.from_keys(keys | {"qsift.instruction": "Find it"})
    assert found and found.prompts == Prompts({"query": "Instruct: Find it\nQuery:", "document": ""})
    assert found.end_token == "<|endoftext|>"


def test_a_file_without_our_keys_has_none() -> None:
    assert Manifest.from_keys({"general.architecture": "qwen3"}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qsift.format": 3}, "Upgrade qsift"),
        ({"qsift.prompts": "{"}, r"qsift.prompts cannot be read \(Expecting"),
        ({"qsift.prompts": '{"query": 3}'}, "the prompt 'query' is 3"),
        ({"qsift.default_prompt_name": "sts"}, "default_prompt_name is 'sts'"),
        ({"qsift.end_token": 1}, "wrong type"),
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
    task: Task = "rerank" if changes.keys() & {"qsift.labels", "qsift.template", "qsift.template_parts"} else "embed"
    with pytest.raises(ValueError, match=message):
        Manifest.from_keys(Manifest.for_task(task, "q8_0").to_keys() | changes)
