"""Texts to vectors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from .engine import Engine, EngineOptions, OnProgress, TokenIds, load_engine
from .models import EmbedTemplate, ModelFile, Prompt
from .text import (
    Encoded,
    LoadedModel,
    Precision,
    Tokenizer,
    as_list,
    check_dim,
    check_precision,
    check_text,
    length_limit,
    normalize,
    quantize,
    shows_keywords_of,
    similarity,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class PromptOptions(TypedDict, total=False):
    """What `Embedder.token_ids` takes beside the text."""

    instruction: str | None
    prompt_name: str | None
    prompt: str | None


class EncodeOptions(TypedDict, total=False):
    """What `Embedder.encode` takes beside texts and instruction, for whatever hands it on."""

    prompt_name: str | None
    prompt: str | None
    truncate_dim: int | None
    normalize_embeddings: bool
    precision: Precision
    max_tokens: int | None
    truncate: bool
    show_progress_bar: bool
    on_progress: OnProgress | None


class Embedder(LoadedModel):
    """An embedding model. Load one with `Embedder.load`; close it or use it in a with statement.

    Calls from several threads are safe and take turns.

    Attributes:
        file: the facts of the model's file.
        engine: what runs it.
        prompts: what stands before queries, documents and other texts, by name.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, file: ModelFile) -> None:
        """Wraps an engine that gives hidden states; `load` makes one."""
        super().__init__(engine, tokenizer, file, n_outputs=file.width)
        self.prompts = file.prompts

    @classmethod
    def load(cls, model: str | os.PathLike[str], *, options: EngineOptions | None = None) -> Embedder:
        """Returns an embedder.

        Args:
            model: path of a .gguf file, or a name: "qwen3-embedding-0.6b", "qwen3-embedding-4b:q4_k_m", a repository
                such as "Qwen/Qwen3-Embedding-8B", the folder of a checkpoint, or "demo-embedding", which is bundled.
                A name is fetched or converted when it is used first, and opens no socket after that.
            options: device, threads and so on; None takes the defaults.

        Raises:
            ModelFileError: missing, damaged, or no embedding model.
            UnknownModelError: neither a file nor a name.
            DownloadError: a name that is not on this machine, and cannot be fetched.
            ConversionError: a name whose checkpoint cannot be converted.
            EngineError: llama.cpp cannot run it as the options demand.
        """
        from .hub import open_model

        file = open_model(model, "embed")
        engine = load_engine(file, "embed", options)
        return cls(engine, engine.tokenizer, file)

    @property
    def width(self) -> int:
        """The full width of the vectors."""
        return self.file.width

    def encode(
        self,
        texts: Any,
        *,
        instruction: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        normalize_embeddings: bool = True,
        precision: Precision = "float32",
        max_tokens: int | None = None,
        truncate: bool = True,
        show_progress_bar: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Returns the vectors of texts, which are queries with an instruction, and stand bare without a prompt.

        Args:
            texts: a str, a list (or another sized collection in order) of str, or an iterator of str.
            instruction: one sentence, which takes the place of that in the prompt; without another, "query".
            prompt_name: which of `prompts` stands before the texts; None takes the model's default, mostly none.
            prompt: what stands before them instead, to the letter; control tokens in it count. Wins over a name.
            truncate_dim: width to cut to, from 32 to the full one (Matryoshka); None keeps it.
            normalize_embeddings: whether rows get length 1, after cutting.
            precision: "float32", "int8", "uint8", "binary" or "ubinary"; see `vectors.quantize`.
            max_tokens: longest text in tokens, instruction and end token included; None means the model's context.
            truncate: whether a longer text is cut at its end, with a warning, or refused.
            show_progress_bar: whether to draw one on stderr.
            on_progress: is told after each decode call how many more texts are done; equal ones are one.

        Returns:
            For a str (dim,), for a list (n, dim) in its order, for an iterator an iterator of (dim,) rows
            that reads ahead a bounded number of texts. The type is float32 unless ``precision`` says
            otherwise. An empty list gives (0, dim); an empty text is embedded like any other.

        Raises:
            TypeError, ValueError: not a text, a lone surrogate, a width out of range, an empty text where the
                model's tokenizer adds no end token; names the index. No such prompt, or no place for an instruction.
            InputTooLongError: too long, and ``truncate`` is False.
            NonFiniteError, EngineError: from the engine.
        """
        limit = length_limit(self.engine, max_tokens, truncate=truncate, kind="Text")
        finish = self._finish(truncate_dim, normalize_embeddings, precision)
        single = isinstance(texts, str)
        items = [texts] if single else texts if isinstance(texts, Iterator) else as_list(texts, "texts")
        to_prompt = self._template(instruction, prompt_name, prompt).prompt
        vectors = self._results(
            items,
            check_text,
            to_prompt,
            finish,
            limit,
            show_progress=show_progress_bar,
            on_progress=on_progress,
        )
        return vectors[0] if single else vectors

    @shows_keywords_of(encode)
    def encode_query(self, texts: Any, *, instruction: str | None = None, **options: Unpack[EncodeOptions]) -> Any:
        """Returns the vectors of queries: `encode` with the prompt "query" where no other is named.

        Args:
            texts: as `encode`.
            instruction: one sentence that says what to search for; None takes the prompt's own.
            **options: as `encode`.
        """
        return self.encode(texts, instruction=instruction, **_named("query", options))

    @shows_keywords_of(encode, but="instruction")
    def encode_document(self, texts: Any, **options: Unpack[EncodeOptions]) -> Any:
        """Returns the vectors of documents: `encode` with the prompt "document", mostly none, if no other is named."""
        return self.encode(texts, **_named("document", options))

    def prepare(
        self,
        texts: Sequence[str | TokenIds],
        *,
        instruction: str | None = None,
        prompt_name: str | None = None,
        max_tokens: int | None = None,
        truncate: bool = True,
    ) -> list[Encoded]:
        """Returns what `encode` gives the engine, for a caller that drives the engine itself.

        The server is one: it decodes the ids of many calls together and passes the rows of each to `finish`.
        Longer texts are cut without a warning: `Encoded.n_tokens` tells.

        Args:
            texts: strs, or (n,) int32 ids of this model's tokenizer; an end token behind them is optional.
            instruction, prompt_name, max_tokens, truncate: as `encode`.

        Raises:
            TypeError, ValueError: as `encode`, or an id outside the vocabulary; names the index.
            InputTooLongError: too long, and ``truncate`` is False.
        """
        limit = length_limit(self.engine, max_tokens, truncate=truncate, kind="Text")
        to_prompt = self._template(instruction, prompt_name).prompt
        encoded = []
        for index, text in enumerate(texts):
            ids = self._text_ids(text, index) if isinstance(text, np.ndarray) else None
            prompt = to_prompt(check_text(text if ids is None else "", index))
            encoded.append(self._fitted(prompt, index, limit, text_ids=ids))
        return encoded

    def finish(
        self,
        rows: NDArray[np.float32],
        *,
        truncate_dim: int | None = None,
        normalize_embeddings: bool = True,
        precision: Precision = "float32",
    ) -> NDArray[Any]:
        """Returns the vectors, (n, dim), that the engine's rows, (n, width) float32, become; arguments as `encode`."""
        return self._finish(truncate_dim, normalize_embeddings, precision)(rows)

    def similarity(self, a: Any, b: Any, *, precision: Precision | None = None) -> NDArray[np.float32]:
        """Returns the (n, m) cosines of the rows of ``a`` with the rows of ``b``; see `vectors.similarity`."""
        return similarity(a, b, precision)

    def token_ids(
        self, text: str, *, instruction: str | None = None, prompt_name: str | None = None, prompt: str | None = None
    ) -> TokenIds:
        """Returns what the model sees of a text: (n,) int32, prompt and end token included; arguments as `encode`."""
        return self._encoder.encode(self._template(instruction, prompt_name, prompt).prompt(check_text(text, 0))).ids

    @shows_keywords_of(token_ids)
    def token_count(self, text: str, **options: Unpack[PromptOptions]) -> int:
        """Returns how many tokens the model sees of a text; arguments as `token_ids`."""
        return len(self.token_ids(text, **options))

    def ends(self, ids: TokenIds) -> bool:
        """Returns whether token ids end with the model's end token; they do where it has none."""
        end = self._encoder.encode(Prompt("", "", self.file.end_token)).ids
        return bool(np.array_equal(ids[len(ids) - len(end) :], end))

    def _template(self, instruction: str | None, prompt_name: str | None, prompt: str | None = None) -> EmbedTemplate:
        """Returns what stands around each text."""
        for kind, text in (("Instruction", instruction), ("Prompt", prompt)):
            if text is not None:
                check_text(text, 0, kind=kind)
        if prompt is not None and prompt_name is not None:
            warnings.warn(f"prompt and prompt_name are both given; the prompt {prompt!r} is taken.", stacklevel=4)
        own, users = self.prompts.before(name=prompt_name, prompt=prompt, instruction=instruction)
        return self._encoder.template(own, users, self.file.end_token)

    def _finish(
        self, truncate_dim: int | None, normalized: bool, precision: Precision
    ) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
        """Returns what makes vectors of hidden states: it cuts, then normalises, then quantises."""
        check_precision(precision)
        dim = check_dim(truncate_dim, width=self.width, min_dim=self.file.min_dim)

        def finish(rows: NDArray[np.float32]) -> NDArray[Any]:
            cut = rows[:, :dim]
            return quantize(normalize(cut) if normalized else cut.copy(), precision)

        return finish

    def _text_ids(self, ids: TokenIds, index: int) -> TokenIds:
        self._check_ids(ids, f"Text {index}")
        return ids[:-1] if self.ends(ids) and self.file.end_token else ids


def _named(name: str, options: EncodeOptions) -> EncodeOptions:
    """Returns the options with the name of a prompt, unless they bring a prompt."""
    if options.get("prompt_name") is None and options.get("prompt") is None:
        return {**options, "prompt_name": name}
    return options
