"""What the fields of requests mean: one table for every dialect.

An endpoint's shape takes its fields from here and adds what its own dialect calls the texts. A field that nobody here
knows is refused by its name, for it may change results; one that changes none is taken and has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .error_responses import ProblemError
from .lanes import EmbeddingLane
from qsift.text import quantize

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = list[TokenId] | list[list[TokenId]]
VectorType = Literal["float", "int8", "uint8", "binary", "ubinary"]


def _truth(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_truth)]
"""A truth, which some clients write as a string."""
Truncate = bool | Literal["NONE", "START", "END"]

HARMLESS = frozenset(
    {"user", "options", "keep_alive", "priority", "request_id", "drop_params", "return_len", "verbose"}
)
"""Fields of others that change no vector and no score."""

ONLY: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "late_chunking": ((False,), "each text is embedded for itself"),
    "truncation_direction": (("Right", "right"), "texts are cut at their end"),
    "truncation_side": (("right",), "texts are cut at their end"),
    "embd_normalize": ((2,), "vectors have length 1"),
    "add_special_tokens": ((True,), "the model's end token is always there"),
    "embed_dtype": (("float32",), "numbers are float32"),
    "endianness": (("native", "little"), "numbers in base64 are little-endian"),
    "encoding_type": (("float",), "vectors are lists of numbers"),
    "modality": (("text",), "the models read text"),
    "kwargs": (("{}",), "each setting has a field of its own"),
    "max_chunks_per_doc": ((), "a document is judged in one piece, which max_tokens_per_doc cuts"),
    "images": (([],), "the models read text"),
}
"""Fields of others of which some values change nothing here: those values, and the reason."""

PROMPTS: Mapping[str, str] = {
    "search_query": "query",
    "search_document": "document",
    "passage": "document",
    **{f"{task}.query": "query" for task in ("retrieval", "code", "nl2code", "code2code", "code2nl", "qa")},
    **{f"{task}.passage": "document" for task in ("retrieval", "code", "nl2code", "code2code", "code2nl", "qa")},
}
"""What dialects call the model's prompts. Any other word is looked for among the model's own names."""


class Shape(BaseModel):
    """A JSON object of a request. Types are exact, and null is silence."""

    model_config = ConfigDict(strict=True, extra="allow")

    def check(self) -> None:
        """Refuses a field that is no part of the shape, unless it changes nothing.

        Raises:
            ProblemError: names the field.
        """
        for name, value in (self.model_extra or {}).items():
            if value is None or name in HARMLESS:
                continue
            name = name[:100]
            if name not in ONLY:
                known = ", ".join(type(self).model_fields)
                sentence = (
                    f"There is no field {name!r} here, and it may change results. Leave it out; there are {known}."
                )
                raise ProblemError("invalid", sentence, param=name)
            allowed, reason = ONLY[name]
            if not any(value == one and type(value) is type(one) for one in allowed):
                raise ProblemError("invalid", f"{name!r} cannot be {str(value)[:100]!r}: {reason}.", param=name)

    def one_of(self, *names: str, words: Mapping[Any, Any] | None = None) -> Any:
        """Returns the value of fields that mean the same; None where none is given.

        Args:
            names: of the fields.
            words: what certain values stand for, None for silence; without it each stands for itself.

        Raises:
            ProblemError: they contradict each other.
        """
        words, values = words or {}, {name: getattr(self, name) for name in names}
        given = {name: said for name, value in values.items() if (said := words.get(value, value)) is not None}
        if len(set(given.values())) > 1:
            told = " and ".join(map(repr, given))
            raise ProblemError("invalid", f"{told} say different things. Give one of them.", param=next(iter(given)))
        return next(iter(given.values()), None)


class ModelField(Shape):
    """Which model is asked."""

    model: str | None = Field(None, description="A name that /v1/models lists; without it the one that there is.")


class EmbeddingFields(ModelField):
    """The fields of every endpoint that embeds."""

    dimensions: int | None = Field(None, description="Width to cut the vectors to.")
    output_dimension: int | None = Field(None, description="As dimensions.")
    input_type: str | None = Field(None, description="What the texts are: query, document, search_query, passage …")
    task: str | None = Field(None, description="As input_type: retrieval.query, retrieval.passage …")
    prompt_name: str | None = Field(None, description="Which of the model's prompts stands before them.")
    instruction: str | None = Field(
        None, description="One sentence that says what a query searches for; with it the texts are queries."
    )
    truncate: Truncate | None = Field(None, description="Whether texts that are too long are cut, or refused.")
    truncation: bool | None = Field(None, description="As truncate.")
    truncate_prompt_tokens: Literal[-1] | Annotated[int, Field(ge=1)] | None = Field(
        None, description="Tokens to cut longer texts to, -1 for as many as are taken."
    )
    normalize: bool | None = Field(None, description="Whether vectors get length 1; without it they do.")
    normalized: bool | None = Field(None, description="As normalize.")

    def asked(self, lane: EmbeddingLane, *, cut_by_default: bool = False) -> dict[str, Any]:
        """Returns the arguments of `EmbeddingLane.embed`.

        Args:
            lane: the model.
            cut_by_default: whether texts that are too long are cut where the request does not say.

        Raises:
            ProblemError: fields contradict each other, or ask for what the model has not.
        """
        given = {name: getattr(self, name) for name in ("input_type", "task", "prompt_name")}
        names = {name: PROMPTS.get(word, word) for name, word in given.items() if word is not None}
        return {
            **lane.prompt(names, self.instruction),
            "dimensions": self.one_of("dimensions", "output_dimension"),
            "normalize": self.one_of("normalize", "normalized") is not False,
            "max_tokens": self._cut_to(lane.max_tokens, cut_by_default),
        }

    def _cut_to(self, most: int, default: bool) -> int | None:
        if self.truncate == "START":
            sentence = "'truncate' is 'START', and texts are cut at their end. Say END or NONE."
            raise ProblemError("invalid", sentence, param="truncate")
        is_cut = self.one_of("truncate", "truncation", words={"NONE": False, "END": True})
        if self.truncate_prompt_tokens is None:
            return most if (default if is_cut is None else is_cut) else None
        if is_cut is False:
            sentence = "'truncate_prompt_tokens' cuts texts, and the request says that they are not to be cut."
            raise ProblemError("invalid", sentence, param="truncate_prompt_tokens")
        return self.truncate_prompt_tokens if self.truncate_prompt_tokens > 0 else most


class ScoreFields(ModelField):
    """The fields of every endpoint that scores documents for a query."""

    instruction: str | None = Field(None, description="One sentence that says what the query searches for.")
    max_tokens_per_doc: int | None = Field(None, ge=1, description="Tokens to cut longer documents to.")
    raw_scores: bool | None = Field(None, description="Whether scores are log-odds instead of P(yes).")
    truncate: bool | None = Field(None, description="Whether documents that are too long are cut, or refused.")
    truncation: bool | None = Field(None, description="As truncate.")

    def asked(self, *, cut_by_default: bool = True) -> dict[str, Any]:
        """Returns the arguments of `RerankLane.score`; ``cut_by_default`` as in `EmbeddingFields.asked`."""
        is_cut = self.one_of("truncate", "truncation")
        return {
            "instruction": self.instruction,
            "max_document_tokens": self.max_tokens_per_doc,
            "raw_scores": bool(self.raw_scores),
            "truncate": cut_by_default if is_cut is None else is_cut,
        }


def as_texts(given: str | list[Any], field: str) -> list[Any]:
    """Returns one text or many, or token ids, as a list of them.

    Raises:
        ProblemError: an empty list; names the field.
    """
    if given == []:
        raise ProblemError("invalid", f"{field!r} is an empty list; one text at least is needed.", param=field)
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def in_type(vectors: NDArray[np.float32], kind: VectorType) -> NDArray[Any]:
    """Returns vectors as a dialect's word has it, (n, dim), or (n, dim / 8) for bits."""
    return quantize(vectors, "float32" if kind == "float" else kind)
