"""From prompts to token ids, and cutting them to a limit.

Template pieces are tokenised with control tokens on, user text with them off, and the ids are
joined: no document can close the turn and write its own answer. This file knows no llama.cpp; a
tokenizer is anything with the one method of `Tokenizer`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from .nfc import nfc, pieces
from qsift.engine import Token, TokenIds, common_prefix
from qsift.models import EmbedTemplate, Prompt

# Texts whose ids are kept, and the longest of them in characters: two batches of an index, a few megabytes.
_RECENT, _RECENT_CHARS = 2048, 2048
# What a control token can look like; the vocabulary says whether it is one.
_ANGLED = re.compile(r"<[^<>\s]+>")


class Tokenizer(Protocol):
    """What turns text into ids."""

    def encode(self, text: str, *, control_tokens: bool) -> TokenIds:
        """Returns the ids of ``text``, nothing added before or after it.

        Args:
            text: any text that UTF-8 can carry, already in the tokenizer's normal form.
            control_tokens: whether ``<|im_end|>`` and its kind are control tokens or just letters.
        """
        ...

    def token(self, token_id: int) -> Token:
        """Returns a token of the vocabulary by its id, which must be in it."""
        ...


@dataclass(frozen=True)
class Encoded:
    """A prompt in token ids.

    Attributes:
        ids: (n,) int32, what the model sees.
        n_tokens: length before cutting; larger than ``len(ids)`` if the body was cut.
        stems: lengths of the beginnings that other prompts are likely to have too, ascending.
    """

    ids: TokenIds
    n_tokens: int
    stems: tuple[int, ...] = ()


class PromptEncoder:
    """Turns prompts into token ids with one model's tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # The templates are few and the same for every text of a call.
        self._template_ids = lru_cache(maxsize=16)(self._encode_template)
        # A splitter counts each passage's tokens just before the passage is embedded.
        self._recent_ids = lru_cache(maxsize=_RECENT)(self._encode_body)

    def encode(self, prompt: Prompt, max_tokens: int | None = None, *, text_ids: TokenIds | None = None) -> Encoded:
        """Returns the ids of a prompt, cut to ``max_tokens`` if that is given and possible.

        Where the limit does not even hold head, tail and the fixed part of the body, the ids come
        back whole: `Encoded.ids` is then longer than the limit, and the caller must refuse it.

        Args:
            prompt: the prompt.
            max_tokens: the limit; None cuts nothing.
            text_ids: the user's text, where that comes as ids; it stands behind the body, whose text ends before it.
        """
        head, tail = self._template_ids(prompt.head), self._template_ids(prompt.tail)
        body = self._body_ids(prompt)
        if text_ids is not None:
            body = np.concatenate((body, text_ids))
        n_tokens = len(head) + len(body) + len(tail)
        if max_tokens is not None and n_tokens > max_tokens >= self.least(prompt):
            after = self._after(prompt)
            cuttable = body if prompt.end is None else self._body_ids(prompt, stop=prompt.end)
            body = np.concatenate((fit(cuttable, max_tokens - len(head) - len(after) - len(tail)), after))
        # A stem's last letters can be one token with what follows, and that token is then not shared.
        stems = (common_prefix(self._body_ids(prompt, stop=end), body) for end in prompt.stems)
        return Encoded(np.concatenate((head, body, tail)), n_tokens, tuple(len(head) + stem for stem in stems))

    def split(self, template: str) -> tuple[str, str]:
        """Returns a template's text up to the end of its last control token, and the rest.

        No token spans both parts, and the rest can be tokenised with control tokens off.
        """
        ends = [match.end() for match in _ANGLED.finditer(template) if self._is_control(match[0])]
        cut = max(ends, default=0)
        return template[:cut], template[cut:]

    def template(self, own: str, users: str, end: str) -> EmbedTemplate:
        """Returns the template of what stands around texts to embed.

        Args:
            own: what comes first, in which control tokens count.
            users: what follows it, in which they are letters.
            end: the end token, or nothing.
        """
        head, rest = self.split(own)
        return EmbedTemplate(head, rest + users, end)

    def _is_control(self, text: str) -> bool:
        on, off = (self._tokenizer.encode(text, control_tokens=switch) for switch in (True, False))
        return len(on) == 1 and not np.array_equal(on, off)

    def least(self, prompt: Prompt) -> int:
        """Returns how many tokens of a prompt are never cut."""
        around = len(self._template_ids(prompt.head)) + len(self._template_ids(prompt.tail))
        return around + len(self._body_ids(prompt, stop=prompt.fixed)) + len(self._after(prompt))

    def _after(self, prompt: Prompt) -> TokenIds:
        return self._body_ids(prompt, start=len(prompt.body) if prompt.end is None else prompt.end)

    def _body_ids(self, prompt: Prompt, start: int = 0, stop: int | None = None) -> TokenIds:
        text = prompt.body[start:stop]
        controls = tuple((a - start, b - start) for a, b in prompt.controls if start <= a and b - start <= len(text))
        if len(text) > _RECENT_CHARS:
            return self._encode_body(text, controls)
        return self._recent_ids(text, controls)

    def _encode_body(self, text: str, controls: tuple[tuple[int, int], ...]) -> TokenIds:
        ids, done = [], 0
        for start, stop in controls:
            ids += [*self._encode_plain(text[done:start]), self._template_ids(text[start:stop])]
            done = stop
        ids += self._encode_plain(text[done:])
        return ids[0] if len(ids) == 1 else np.concatenate(ids)

    def _encode_plain(self, text: str) -> list[TokenIds]:
        # Qwen's tokenizer normalises to NFC; llama.cpp does not, so decomposed text would get other ids.
        return [self._tokenizer.encode(piece, control_tokens=False) for piece in pieces(text)]

    def _encode_template(self, text: str) -> TokenIds:
        return self._tokenizer.encode(nfc(text), control_tokens=True)


def fit(body: TokenIds, keep: int) -> TokenIds:
    """Returns the first ``keep`` ids of the body; a tokenizer's own truncation cuts there too."""
    return body[: max(keep, 0)]


def check_text(text: Any, index: int, *, kind: str = "Text") -> str:
    """Returns ``text`` if it is one that can be tokenised.

    Raises:
        TypeError: not a str; names the index.
        ValueError: holds a lone surrogate, which no encoding can carry; names the index.
    """
    if not isinstance(text, str):
        raise TypeError(f"{kind} {index} is of type {type(text).__name__}; a str is needed.")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{kind} {index} holds the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}. "
                "Decode its bytes with errors='replace' before passing it."
            ) from None
    return text
