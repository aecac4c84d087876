"""A model's own prompts, held against sentence-transformers: the methods of the same name give the same vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import with_prompts
from sentence_transformers import SentenceTransformer

from qsift import Embedder, EngineOptions
from qsift.convert import convert

TEXTS = ["the quick brown fox", " a space in front", "中文的查询?", "e\u0301t\u00e9"]
RELEASED = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
CONFIGS: dict[str, dict[str, Any]] = {
    "released": {"prompts": {"query": RELEASED, "document": ""}, "default_prompt_name": None},
    "space": {"prompts": {"query": "Instruct: Find what answers\nQuery: "}},
    "bare prefixes": {"prompts": {"query": "query: ", "passage": "passage: "}},
    "document": {"prompts": {"query": "query: ", "document": "title: none | text: "}},
    "several": {"prompts": {"query": "q:", "web": "Instruct: Search the web\nQuery: ", "sts": "同义: ", "none": None}},
    "default": {"prompts": {"query": "q: ", "s2s": "Instruct: Same meaning\nQuery: "}, "default_prompt_name": "s2s"},
    "empty": {"prompts": {"query": "", "document": ""}},
    "no prompts": {"__version__": {"sentence_transformers": "2.2.0"}},
    "control tokens": {"prompts": {"query": "<|im_start|>user\nFind: ", "document": "<think>x</think>e\u0301 "}},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """torch's threads and ggml's, both two, spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def converted(folder: Path) -> Embedder:
    path = convert(folder, folder.parent, quants="f32")[0]
    return Embedder.load(path, options=EngineOptions(threads=1))


def reference(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})


def assert_same(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.min() > 0.99999, f"{what}: {cosines.min():.6f} for {TEXTS[cosines.argmin()]!r}"


@pytest.mark.parametrize(
    ("name", "end_token"), [*((name, True) for name in CONFIGS), ("released", False), ("several", False)]
)
def test_vectors_are_those_of_sentence_transformers(
    name: str, end_token: bool, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = with_prompts(checkpoint("embed-untied-f32"), tmp_path / "m", CONFIGS[name], end_token=end_token)
    theirs = reference(folder)
    with converted(folder) as ours:
        assert ours.prompts.texts == theirs.prompts and ours.prompts.default == theirs.default_prompt_name
        for method in ("encode", "encode_query", "encode_document"):
            assert_same(getattr(ours, method)(TEXTS), getattr(theirs, method)(TEXTS), method)
        for known in theirs.prompts:
            assert_same(ours.encode(TEXTS, prompt_name=known), theirs.encode(TEXTS, prompt_name=known), known)
        ids = ours.token_ids(TEXTS[0], prompt_name="query")
        assert ids.tolist() == theirs.tokenizer(theirs.prompts["query"] + TEXTS[0])["input_ids"]
        for prompt in ("", "any words: ", "<|im_start|>"):
            assert_same(ours.encode(TEXTS, prompt=prompt), theirs.encode(TEXTS, prompt=prompt), repr(prompt))
            assert_same(ours.encode_query(TEXTS, prompt=prompt), theirs.encode_query(TEXTS, prompt=prompt), prompt)


def test_an_instruction_takes_the_place_of_the_prompts_own(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = with_prompts(checkpoint("embed-untied-f32"), tmp_path / "m", CONFIGS["several"], end_token=True)
    with converted(folder) as embedder:
        told = embedder.encode(TEXTS, prompt_name="web", instruction="Find a fox")
        assert np.array_equal(told, embedder.encode(TEXTS, prompt="Instruct: Find a fox\nQuery: "))
        both = "<|im_start|>system\nInstruct: Any\nQuery:"
        assert np.array_equal(
            embedder.encode(TEXTS, prompt=both, instruction="Find a fox"),
            embedder.encode(TEXTS, prompt="<|im_start|>system\nInstruct: Find a fox\nQuery:"),
        )
        for call in (embedder.encode, embedder.encode_query):
            with pytest.raises(ValueError, match=r"The prompt 'query', 'q:', has no place for an instruction"):
                call(TEXTS, instruction="Find a fox")
        with pytest.raises(ValueError, match=r"no prompt 'sys'; this model's are 'query', 'document', 'web', 'sts'"):
            embedder.encode(TEXTS, prompt_name="sys")
        with pytest.warns(UserWarning, match="both given"):
            both_given = embedder.encode(TEXTS, prompt_name="web", prompt="q:")
        assert np.array_equal(both_given, embedder.encode_query(TEXTS))


def test_control_tokens_in_an_instruction_are_letters(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = with_prompts(checkpoint("embed-untied-f32"), tmp_path / "m", CONFIGS["released"], end_token=True)
    with converted(folder) as embedder:
        ids = embedder.token_ids("text", instruction="<|im_end|>")
        assert np.array_equal(ids, embedder.token_ids("Instruct: <|im_end|>\nQuery:text"))
        assert len(ids) > len(embedder.token_ids("text", prompt="Instruct: <|im_end|>\nQuery:"))


def test_an_empty_text_without_an_end_token_is_refused_with_its_index(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = with_prompts(checkpoint("embed-untied-f32"), tmp_path / "m", CONFIGS["bare prefixes"], end_token=False)
    with converted(folder) as embedder:
        with pytest.raises(ValueError, match=r"Text 1 is empty, and this model's tokenizer puts no end token"):
            embedder.encode(["a", ""])
        assert embedder.encode_query(["a", ""]).shape == (2, embedder.width)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"prompts": ["query: "]}, r"prompts is \['query: '\]; an object of names and texts is needed"),
        ({"prompts": {"query": 7}}, "the prompt 'query' is 7; a text is needed"),
        ({"prompts": {"query": "\ud800"}}, "surrogates not allowed"),
        ({"prompts": {"q": "q: "}, "default_prompt_name": "sts"}, "'sts'; the prompts are 'query', 'document', 'q'"),
        ({"prompts": {}, "default_prompt_name": 3}, "default_prompt_name is 3"),
        ([1], "config_sentence_transformers.json"),
    ],
)
def test_malformed_prompts_are_a_sentence_and_nothing_is_written(
    config: object, sentence: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    from qsift import ConversionError

    folder = with_prompts(checkpoint("embed-untied-f32"), tmp_path / "m", config, end_token=True)
    with pytest.raises(ConversionError, match=sentence):
        convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
