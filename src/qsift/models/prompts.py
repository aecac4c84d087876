"""The exact texts that the models were trained with.

A prompt has three parts with different rights: ``head`` and ``tail`` are ours, may hold control
tokens and are never cut; ``body`` is the user's, is read as plain text, and only its end gives way.
This file knows no token ids. Sources: the model cards of Qwen3-Embedding and Qwen3-Reranker, and
for the template "evaluation" the authors' evaluation code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

END_OF_TEXT = "<|endoftext|>"
"""The control token that ends every embedded text; its hidden state is the embedding."""

QUERY_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""The model cards' default instruction, for queries and for reranking."""


@dataclass(frozen=True)
class Prompt:
    """A text on its way to a model.

    Attributes:
        head: template text before the user's; control tokens in it count.
        body: the user's text, plain; control tokens in it are letters.
        tail: template text after the user's; control tokens in it count.
        fixed: how many characters at the start of the body must not be cut.
        stems: where, in characters of the body, those beginnings end that other prompts are likely to
            have too: the instruction, then the query that documents are judged by. Ascending.
        controls: where, as (start, stop) in characters of the body, the template's own control tokens stand; these
            count. Ascending.
        end: how many characters of the body there are before what must not be cut at its end; None where its end
            may be cut.
    """

    head: str
    body: str
    tail: str
    fixed: int = 0
    stems: tuple[int, ...] = ()
    controls: tuple[tuple[int, int], ...] = ()
    end: int | None = None


def document_prompt(text: str) -> Prompt:
    """Returns the prompt of a document to embed: the bare text and the end token."""
    return Prompt("", text, END_OF_TEXT)


def query_prompt(query: str, instruction: str = QUERY_INSTRUCTION) -> Prompt:
    """Returns the prompt of a query to embed.

    The instruction stands in the body, not in the head: ``Query:`` and the first word of the
    query share a pre-token (no space follows the colon), so they must be tokenised as one text, and
    the stem ends before the colon.
    """
    opening = f"Instruct: {instruction}\nQuery:"
    return Prompt("", opening + query, END_OF_TEXT, fixed=len(opening), stems=(len(opening) - 1,))


INSTRUCTION, QUERY, DOCUMENT = "{instruction}", "{query}", "{document}"
FIELDS = (INSTRUCTION, QUERY, DOCUMENT)
TRIMMED = "|trim"
"""Ends a field whose text goes in without the white space around it: "{query|trim}"."""


@dataclass(frozen=True)
class RerankTemplate:
    """How instruction, query and document become one prompt.

    Attributes:
        parts: plain text and, at every odd place, a control token or one of `FIELDS`; begins and ends with a text,
            which may be empty. The document stands in it once, the query at least once.
        instruction: the default instruction; None where the template has none.
    """

    parts: tuple[str, ...]
    instruction: str | None

    def prompt(self, query: str, document: str, instruction: str | None = None) -> Prompt:
        """Returns the prompt of one pair; only the end of ``document`` may be cut.

        The instruction is ignored where the template has none.
        """
        sentence = self.instruction if instruction is None else instruction
        values = {INSTRUCTION: sentence or "", QUERY: query, DOCUMENT: document}
        places = [place for place in range(1, len(self.parts), 2) if field_of(self.parts[place])]
        first, last = places[0] - 1, places[-1] + 2
        body, fixed, end = "", 0, 0
        stems: list[int] = []
        controls: list[tuple[int, int]] = []
        for text, slot in zip(self.parts[first:last:2], (*self.parts[first + 1 : last : 2], ""), strict=True):
            body += text
            field = field_of(slot)
            if field is None:
                if slot:
                    controls.append((len(body), len(body) + len(slot)))
                body += slot
                continue
            if field != INSTRUCTION and not end:
                # A space before a field is one token with the field's first word.
                stems.append(len(body.rstrip(" ")))
            body += values[field].strip() if slot.endswith(TRIMMED + "}") else values[field]
            if field == DOCUMENT:
                fixed, end = stems[-1], len(body)
        return Prompt(
            head="".join(self.parts[:first]),
            body=body,
            tail="".join(self.parts[last:]),
            fixed=fixed,
            stems=tuple(stems),
            controls=tuple(controls),
            end=end if end < len(body) else None,
        )


def field_of(slot: str) -> str | None:
    """Returns which of `FIELDS` a slot of a template is; None for a control token."""
    bare = slot.replace(TRIMMED + "}", "}")
    return bare if bare in FIELDS else None


def split_controls(text: str, controls: Iterable[str]) -> tuple[str, ...]:
    """Returns plain text and, at every odd place, one of the control tokens; begins and ends with a text."""
    # The longest first: one may begin with another.
    pattern = "|".join(re.escape(control) for control in sorted(controls, key=len, reverse=True))
    return tuple(re.split(f"({pattern})", text)) if pattern else (text,)


def _released(separator: str, instruction: str) -> RerankTemplate:
    """Returns a template of the authors'; ``separator`` stands between the three fields."""
    *start, before = split_controls(RERANK_HEAD, _TURN)
    after, *end = split_controls(RERANK_TAIL, _TURN)
    query, document = f"{separator}<Query>: ", f"{separator}<Document>: "
    fields = (f"{before}<Instruct>: ", INSTRUCTION, query, QUERY, document, DOCUMENT, after)
    return RerankTemplate((*start, *fields, *end), instruction)


RERANK_HEAD = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
RERANK_TAIL = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_TURN = ("<|im_start|>", "<|im_end|>")

RERANK_LABELS = ("yes", "no")
"""The two words whose logits are the score, in the order of our files' output labels."""

RERANK_TEMPLATES: dict[str, RerankTemplate] = {
    "card": _released("\n", QUERY_INSTRUCTION),
    "evaluation": _released("\n\n", "Given the user query, retrieval the relevant passages"),
}
"""Templates by name: "card" is the model card's and the default."""
