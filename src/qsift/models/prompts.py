"""The exact texts that the models were trained with.

A prompt has three parts with different rights: ``head`` and ``tail`` are ours, may hold control
tokens and are never cut; ``body`` is the user's, is read as plain text, and only its end gives way.
This file knows no token ids. Sources: the model cards of Qwen3-Embedding and Qwen3-Reranker, and
for the template "evaluation" the authors' evaluation code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True)
class EmbedTemplate:
    """What stands around a text to embed.

    Attributes:
        head: what stands before it, up to the last control token.
        start: the rest of what stands before it; tokenised together with the text, because ``Query:`` and the first
            word of a query share a pre-token.
        end: the end token, or nothing.
    """

    head: str = ""
    start: str = ""
    end: str = END_OF_TEXT

    def prompt(self, text: str) -> Prompt:
        """Returns the prompt of one text, of which only its end may be cut."""
        word = _LAST_WORD.match(self.start)
        stems = (word.end(),) if word else ()
        return Prompt(self.head, self.start + text, self.end, fixed=len(self.start), stems=stems)


_LAST_WORD = re.compile(r".*\w", re.DOTALL)
_INSTRUCTED = re.compile(r"(.*?<?Instruct(?:ion)?>?: ?)(.*?)(\s*\n\s*<?Query>?:\s*)", re.DOTALL)


@dataclass(frozen=True)
class Prompts:
    """What a model wants before its texts, by name, as sentence-transformers keeps it beside the model.

    Attributes:
        texts: what stands before a text, to the letter. "query" and "document" are always there, "" without one.
        default: name of the prompt that a text gets where none is named; None leaves it bare.
    """

    texts: Mapping[str, str]
    default: str | None = None

    @classmethod
    def of(cls, texts: object, default: object = None) -> Prompts:
        """Returns the prompts that a config_sentence_transformers.json has: its ``prompts``, ``default_prompt_name``.

        Raises:
            ValueError: not an object of texts, or a default that is not among them.
        """
        if not isinstance(texts, Mapping):
            raise ValueError(f"prompts is {texts!r}; an object of names and texts is needed.")
        for name, text in texts.items():
            if not isinstance(text, str | None):
                raise ValueError(f"the prompt {name!r} is {text!r}; a text is needed.")
        known = {"query": "", "document": ""} | {name: text or "" for name, text in texts.items()}
        if not isinstance(default, str | None) or default not in (None, *known):
            raise ValueError(
                f"default_prompt_name is {default!r}; the prompts are {', '.join(map(repr, known))}, or null for none."
            )
        return cls(known, default)

    @classmethod
    def instructed(cls, instruction: str) -> Prompts:
        """Returns Qwen3-Embedding's own prompts with an instruction for queries."""
        return cls({"query": f"Instruct: {instruction}\nQuery:", "document": ""})

    @property
    def instruction(self) -> str | None:
        """The instruction of the prompt "query"; None where that has no place for one."""
        match = _INSTRUCTED.fullmatch(self.texts["query"])
        return match[2] if match else None

    def before(
        self, *, name: str | None = None, prompt: str | None = None, instruction: str | None = None
    ) -> tuple[str, str]:
        """Returns what stands before a text: the model's words, in which control tokens count, then the user's.

        Args:
            name: of a prompt; None takes `default`, and with an instruction "query".
            prompt: what to take instead of a named one.
            instruction: what to put in the place of the prompt's own instruction; None leaves that.

        Raises:
            ValueError: no such name, or an instruction for a prompt that has no place for one.
        """
        if name is None and prompt is None:
            name = self.default if instruction is None else "query"
        if prompt is None and name not in (None, *self.texts):
            raise ValueError(f"There is no prompt {name!r}; this model's are {', '.join(map(repr, self.texts))}.")
        text = prompt if prompt is not None else self.texts[name] if name is not None else ""
        if instruction is None:
            return text, ""
        match = _INSTRUCTED.fullmatch(text)
        if match is None:
            which = f"The prompt {name!r}, {text!r}," if prompt is None else f"The prompt {prompt!r}"
            raise ValueError(
                f"{which} has no place for an instruction, which stands between 'Instruct:' and 'Query:'. "
                "Leave the instruction out, or give the whole text that stands before yours as the prompt."
            )
        return match[1], instruction + match[3]


RELEASED_PROMPTS = Prompts.instructed(QUERY_INSTRUCTION)
"""The prompts of Qwen3-Embedding. Source: its config_sentence_transformers.json."""


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
