"""Prompts become ids piece by piece, and cutting takes from the body alone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub import CONTROL, StubTokenizer

from qsift.engine.protocol import TokenIds
from qsift.models.prompts import RELEASED_PROMPTS, RERANK_TEMPLATES, EmbedTemplate, Prompt
from qsift.text.tokenization import PromptEncoder, check_text, fit

PIECES = st.text("ab<|im_end|>", max_size=20)


@given(PIECES, st.integers(0, 60))
def test_cutting_keeps_head_tail_and_the_start_of_the_body(body: str, max_tokens: int) -> None:
    prompt = Prompt("<|im_start|>h", body, "<|im_end|>t", fixed=2)
    encoder = PromptEncoder(StubTokenizer())
    whole, cut = encoder.encode(prompt), encoder.encode(prompt, max_tokens)
    assert cut.n_tokens == whole.n_tokens == len(whole.ids)
    assert cut.ids[:2].tolist() == [CONTROL["<|im_start|>"], ord("h")]
    assert cut.ids[-2:].tolist() == [CONTROL["<|im_end|>"], ord("t")]
    if len(cut.ids) < len(whole.ids):
        assert len(cut.ids) == max_tokens and len(cut.ids) >= 4 + min(2, len(body))
    kept = cut.ids[2:-2]
    assert np.array_equal(kept, whole.ids[2 : 2 + len(kept)])


@given(PIECES)
def test_control_tokens_in_a_body_are_letters(body: str) -> None:
    ids = PromptEncoder(StubTokenizer()).encode(Prompt("", body, "")).ids
    assert bytes(ids.tolist()).decode() == body


def test_bodies_are_normalised_to_nfc() -> None:
    encoder = PromptEncoder(StubTokenizer())
    decomposed, composed = (encoder.encode(Prompt("", text, "")).ids.tolist() for text in ("e\u0301", "é"))
    assert decomposed == composed


def test_a_text_that_was_counted_is_not_tokenised_again() -> None:
    class Counting(StubTokenizer):
        calls: ClassVar[list[str]] = []

        def encode(self, text: str, *, control_tokens: bool) -> TokenIds:
            self.calls.append(text)
            return super().encode(text, control_tokens=control_tokens)

    encoder, prompt, long = PromptEncoder(Counting()), Prompt("", "a text", ""), Prompt("", "a" * 10_000, "")
    first = encoder.encode(prompt).ids
    first[:] = 0
    assert encoder.encode(prompt).ids.tolist() == list(b"a text") and Counting.calls.count("a text") == 1
    encoder.encode(long), encoder.encode(long)
    assert Counting.calls.count(long.body) == 2, "texts of any length must not fill the memory"


@given(st.text(max_size=20), st.text(max_size=20), st.none() | st.integers(1, 400))
def test_prompts_of_one_instruction_have_the_same_stems(first: str, second: str, limit: int | None) -> None:
    encoder = PromptEncoder(StubTokenizer())
    before = RELEASED_PROMPTS.texts["query"]
    queries = [encoder.encode(EmbedTemplate(start=before).prompt(text), limit) for text in (first, second)]
    card = RERANK_TEMPLATES["card"]
    documents = [encoder.encode(card.prompt("a query", text), limit) for text in (first, second)]
    for a, b in (queries, documents):
        assert a.stems == b.stems == tuple(sorted(a.stems))
        assert all((a.ids[:stem] == b.ids[:stem]).all() for stem in a.stems)
    assert queries[0].ids[: queries[0].stems[0]].tolist() == list(before.removesuffix(":").encode())
    assert len(documents[0].stems) == 2 and encoder.encode(EmbedTemplate().prompt(first)).stems == ()


@given(st.lists(st.sampled_from(["a", " ", ":", "<|im_start|>", "<|im_end|>", "<b>", "<"])).map("".join))
def test_a_template_is_split_behind_its_last_control_token(template: str) -> None:
    encoder = PromptEncoder(StubTokenizer())
    head, rest = encoder.split(template)
    assert head + rest == template and not any(token in rest for token in CONTROL)
    assert not head or head.endswith(tuple(CONTROL))


@given(st.lists(st.integers(0, 9)), st.integers(-3, 12))
def test_fit_keeps_the_start(ids: list[int], keep: int) -> None:
    assert fit(np.array(ids, np.int32), keep).tolist() == ids[: max(keep, 0)]


def test_a_lone_surrogate_is_named_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"Text 7 holds the lone surrogate U\+D800 at character 2"):
        check_text("ab\ud800", 7)
