"""The exact texts that the models were trained with.

A prompt has three parts with different rights: ``head`` and ``tail`` are ours, may hold control
tokens and are never cut; ``body`` is the user's, is read as plain text, and only its end gives way.
This file knows no token ids. Sources: the model cards of Qwen3-Embedding and Qwen3-Reranker, and
for the template "evaluation" the authors' evaluation code.
"""

from __future__ import annotations

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
    """

    head: str
    body: str
    tail: str
    fixed: int = 0
    stems: tuple[int, ...] = ()


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


@dataclass(frozen=True)
class RerankTemplate:
    """How instruction, query and document become one prompt.

    Attributes:
        separator: what stands between the three fields.
        instruction: the default instruction.
    """

    separator: str
    instruction: str

    def prompt(self, query: str, document: str, instruction: str | None = None) -> Prompt:
        """Returns the prompt of one pair; only the end of ``document`` may be cut."""
        sentence = self.instruction if instruction is None else instruction
        instructed = f"<Instruct>: {sentence}{self.separator}<Query>:"
        opening = f"{instructed} {query}{self.separator}<Document>:"
        stems = (len(instructed), len(opening))
        return Prompt(RERANK_HEAD, f"{opening} {document}", RERANK_TAIL, fixed=len(opening), stems=stems)


RERANK_HEAD = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
RERANK_TAIL = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

RERANK_LABELS = ("yes", "no")
"""The two words whose logits are the score, in the order of our files' output labels."""

RERANK_TEMPLATES: dict[str, RerankTemplate] = {
    "card": RerankTemplate("\n", QUERY_INSTRUCTION),
    "evaluation": RerankTemplate("\n\n", "Given the user query, retrieval the relevant passages"),
}
"""Templates by name: "card" is the model card's and the default."""
