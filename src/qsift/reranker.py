"""Pairs of query and document to scores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from .engine import Engine, EngineOptions, TokenIds, load_engine
from .models import RERANK_LABELS, ModelFile, Prompt, named_template
from .text import Encoded, LoadedModel, Tokenizer, as_list, check_text, length_limit, shows_keywords_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


Pair = tuple[str, str]


@dataclass(frozen=True)
class Hit:
    """A document that was ranked.

    Attributes:
        corpus_id: its position in the list that was given, from 0.
        score: P(yes), 0..1; with ``raw_scores`` the difference of the logits of yes and no.
        text: the document.
    """

    corpus_id: int
    score: float
    text: str


class PredictOptions(TypedDict, total=False):
    """What `Reranker.predict` takes beside the pairs, for whatever hands it on."""

    instruction: str | None
    raw_scores: bool
    max_tokens: int | None
    truncate: bool
    show_progress_bar: bool


class Reranker(LoadedModel):
    """A reranker. Load one with `Reranker.load`; close it or use it in a with statement.

    Calls from several threads are safe and take turns.

    Attributes:
        file: the facts of the model's file.
        engine: what runs it.
        template: how query, document and instruction become a prompt.
        instruction: the default instruction; None where the model's template has none.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, file: ModelFile, *, template: str | None = None) -> None:
        """Wraps an engine that gives the logits of yes and no; `load` makes one.

        Args:
            engine: runs the model.
            tokenizer: the model's.
            file: the facts of its file.
            template: "card" or "evaluation"; None takes the file's own.
        """
        own = file.manifest.rerank_template if file.manifest and template is None else None
        super().__init__(engine, tokenizer, file, n_outputs=len(RERANK_LABELS))
        self.template = own or named_template(template or "card")
        self.instruction = self.template.instruction

    @classmethod
    def load(
        cls, model: str | os.PathLike[str], *, template: str | None = None, options: EngineOptions | None = None
    ) -> Reranker:
        """Returns a reranker.

        Args:
            model: path of a .gguf file, or a name: "qwen3-reranker-0.6b", "qwen3-reranker-4b:q4_k_m", a repository
                such as "Qwen/Qwen3-Reranker-8B", the folder of a checkpoint, or "demo-reranker", which is bundled.
                A name is fetched or converted when it is used first, and opens no socket after that.
            template: "card" for the model card's prompt, "evaluation" for that of the authors'
                evaluation code; None takes the file's own, which is "card" unless a fine-tune came with another.
            options: device, threads and so on; None takes the defaults.

        Raises:
            ModelFileError: missing, damaged, no reranker, or no head to score with.
            UnknownModelError: neither a file nor a name.
            DownloadError: a name that is not on this machine, and cannot be fetched.
            ConversionError: a name whose checkpoint cannot be converted.
            EngineError: llama.cpp cannot run it as the options demand.
        """
        from .hub import open_model

        file = open_model(model, "rerank")
        engine = load_engine(file, "rerank", options)
        try:
            return cls(engine, engine.tokenizer, file, template=template)
        except ValueError:
            engine.close()
            raise

    def predict(
        self,
        pairs: Any,
        *,
        instruction: str | None = None,
        raw_scores: bool = False,
        max_tokens: int | None = None,
        truncate: bool = True,
        show_progress_bar: bool = False,
    ) -> Any:
        """Returns the scores of (query, document) pairs, in their order.

        Args:
            pairs: one (query, document) tuple of str, a list of such pairs, or an iterator of them.
            instruction: one sentence that says what makes a document fit; None takes the default. A fine-tune
                whose template has no instruction takes none.
            raw_scores: whether to return l_yes - l_no, which sentence-transformers calls the score,
                instead of P(yes) = sigmoid(l_yes - l_no), which the model card does. A head of a single logit
                gives that logit and its sigmoid.
            max_tokens: longest prompt in tokens, template included; None means the model's context.
            truncate: whether a longer document is cut at its end, with a warning, or refused.
            show_progress_bar: whether to draw one on stderr.

        Returns:
            (n,) float32; for one pair a float; for an iterator an iterator of floats. An empty list
            gives (0,).

        Raises:
            TypeError, ValueError: not a pair of texts, a lone surrogate; names the index. An instruction for a
                template that has none.
            InputTooLongError: too long and not to be cut; or query and instruction alone are too long.
            NonFiniteError, EngineError: from the engine.
        """
        limit = length_limit(self.engine, max_tokens, truncate=truncate, kind="Document")
        sentence = self._sentence(instruction)
        single = isinstance(pairs, tuple) and len(pairs) == 2 and all(isinstance(side, str) for side in pairs)
        items = [pairs] if single else pairs if isinstance(pairs, Iterator) else as_list(pairs, "pairs")

        def to_prompt(pair: Pair) -> Prompt:
            return self.template.prompt(*pair, sentence)

        finish = partial(_scores, raw=raw_scores)
        scores = self._results(items, check_pair, to_prompt, finish, limit, show_progress=show_progress_bar)
        if isinstance(items, Iterator):
            return (float(score) for score in scores)
        return float(scores[0]) if single else scores

    @shows_keywords_of(predict)
    def rank(
        self,
        query: str,
        documents: Any,
        *,
        top_k: int | None = None,
        **options: Unpack[PredictOptions],
    ) -> list[Hit]:
        """Returns the documents, the best first; equal scores keep their order.

        Args:
            query: what is searched for.
            documents: the texts to judge, a list or an iterator of str.
            top_k: how many to return; None means all.
            **options: as `predict`.

        Raises:
            TypeError, ValueError: not a text, a lone surrogate, ``top_k`` below 1; names the index.
            InputTooLongError, NonFiniteError, EngineError: as `predict`.
        """
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int | np.integer)):
            raise TypeError(f"top_k is {top_k!r}; a whole number or None is needed.")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}; the smallest allowed is 1, and None means all.")
        if isinstance(documents, str):
            raise TypeError("documents is one str; a list of str is needed.")
        checked_query = check_text(query, 0, kind="Query")
        texts = [check_text(text, i, kind="Document") for i, text in enumerate(as_list(documents, "documents"))]
        scores = self.predict([(checked_query, text) for text in texts], **options)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [Hit(int(i), float(scores[i]), texts[i]) for i in order]

    def prepare(
        self,
        query: str | Sequence[str],
        documents: Sequence[str],
        *,
        instruction: str | None = None,
        max_tokens: int | None = None,
        max_document_tokens: int | None = None,
        truncate: bool = True,
    ) -> list[Encoded]:
        """Returns what `rank` gives the engine, for a caller that drives the engine itself.

        The server is one: it decodes the ids of many calls together and passes the rows of each to `finish`.
        Longer documents are cut without a warning: `Encoded.n_tokens` tells.

        Args:
            query: one for all documents, or as many as there are documents.
            documents: texts.
            instruction, max_tokens, truncate: as `predict`.
            max_document_tokens: longest document in tokens, at least 1, the rest of the prompt not counted;
                a longer one is cut, or refused. None means what ``max_tokens`` leaves.

        Raises:
            TypeError, ValueError: not a text, a lone surrogate; names the index. Or other queries than documents.
            InputTooLongError: as `predict`.
        """
        limit = length_limit(self.engine, max_tokens, truncate=truncate, kind="Document")
        sentence = self._sentence(instruction)
        texts = [check_text(text, index, kind="Document") for index, text in enumerate(documents)]
        queries = [query] if isinstance(query, str) else query
        queries = [check_text(text, index, kind="Query") for index, text in enumerate(queries)]
        if len(queries) not in (1, len(texts)):
            raise ValueError(f"There are {len(queries)} queries for {len(texts)} documents; one is needed, or as many.")
        if max_document_tokens is not None and max_document_tokens < 1:
            raise ValueError(f"max_document_tokens is {max_document_tokens}; the smallest allowed is 1.")

        @cache
        def longest(query: str) -> int:
            if max_document_tokens is None:
                return limit.max_tokens
            rest = self._encoder.least(self.template.prompt(query, "", sentence))
            return min(limit.max_tokens, rest + max_document_tokens)

        pairs = zip(queries * len(texts) if len(queries) == 1 else queries, texts, strict=True)
        return [
            self._fitted(self.template.prompt(query, text, sentence), index, replace(limit, max_tokens=longest(query)))
            for index, (query, text) in enumerate(pairs)
        ]

    def finish(self, rows: NDArray[np.float32], *, raw_scores: bool = False) -> NDArray[np.float32]:
        """Returns the scores, (n,) float32, that the engine's rows, (n, 2) float32, become; see `predict`."""
        return _scores(rows, raw=raw_scores)

    def token_ids(self, query: str, document: str, *, instruction: str | None = None) -> TokenIds:
        """Returns what the model sees of a pair: (n,) int32, template included."""
        query, document = check_pair((query, document), 0)
        return self._encoder.encode(self.template.prompt(query, document, self._sentence(instruction))).ids

    def token_count(self, query: str, document: str, *, instruction: str | None = None) -> int:
        """Returns how many tokens the model sees of a pair, template included."""
        return len(self.token_ids(query, document, instruction=instruction))

    def _sentence(self, instruction: str | None) -> str | None:
        if instruction is None:
            return self.instruction
        if self.instruction is None:
            raise ValueError(
                f"instruction is {instruction!r}, but the template of {self.file.name!r} has no place for one. "
                "Leave it out, or load the model with template='card' if it was trained with that prompt."
            )
        return check_text(instruction, 0, kind="Instruction")


def check_pair(pair: Any, index: int) -> Pair:
    """Returns a (query, document) pair of checked texts.

    Raises:
        TypeError, ValueError: anything else; names the index.
    """
    if isinstance(pair, str | bytes) or not hasattr(pair, "__len__") or not hasattr(pair, "__getitem__"):
        raise TypeError(f"Pair {index} is of type {type(pair).__name__}; a (query, document) tuple is needed.")
    if len(pair) != 2:
        raise ValueError(f"Pair {index} has {len(pair)} parts; query and document are needed.")
    return check_text(pair[0], index, kind="The query of pair"), check_text(pair[1], index, kind="The document of pair")


def _scores(logits: NDArray[np.float32], *, raw: bool) -> NDArray[np.float32]:
    """Returns l_yes - l_no, or its sigmoid, for rows of (l_yes, l_no)."""
    difference: NDArray[np.float32] = logits[:, 0] - logits[:, 1]
    if raw:
        return difference
    # The sigmoid by the half that cannot overflow.
    small = np.exp(-np.abs(difference))
    return np.where(difference >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
