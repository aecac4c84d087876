"""The shape of a SentenceTransformer, for code that calls one: the same names, numpy out, no torch.

Code that insists on the class itself, as BERTopic and KeyBERT do, takes the vectors instead:
``fit_transform(texts, embeddings=model.encode(texts))``.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lazy_models import LazyModel
from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.text import Precision, normalize


class QsiftSentenceTransformer:
    """An embedder with the methods of sentence_transformers.SentenceTransformer.

    Vectors have length 1 whatever ``normalize_embeddings`` says, as those of Qwen3-Embedding in
    sentence-transformers have; cut ones too, which there are not. qsift divides the work itself, so ``batch_size``
    changes nothing.

    Attributes:
        prompts: what stands before a text by the name of the prompt: the model's own. May be added to.
        default_prompt_name: the one that `encode` takes without any; None means bare texts.
        truncate_dim: width that vectors are cut to; None keeps the full one.
        similarity_fn_name: "cosine".
    """

    similarity_fn_name = "cosine"

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] | Embedder,
        *,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        """Loads the model.

        Args:
            model_name_or_path: as `qsift.Embedder.load` takes it, or a loaded `qsift.Embedder`.
            prompts: prompts to add, or to take in the place of the model's.
            default_prompt_name: the one that `encode` takes without any; None takes the model's.
            truncate_dim: width to cut to, from 32; None keeps the full one.
            options: device, threads and so on.

        Raises:
            ValueError: ``default_prompt_name`` is no prompt's name.
            QsiftError: as `qsift.Embedder.load`.
        """
        self._embedder = LazyModel(Embedder, model_name_or_path, options=options)
        own = self._embedder().prompts
        self.prompts = {**own.texts, **(prompts or {})}
        self.default_prompt_name = own.default if default_prompt_name is None else default_prompt_name
        self.truncate_dim = truncate_dim
        self._max_tokens: int | None = None
        self._prompt(None, None)

    @property
    def max_seq_length(self) -> int:
        """The longest text in tokens, prompt and end token included; longer ones are cut. May be set."""
        return self._max_tokens or self._embedder().max_tokens

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        """Sets it; None means the model's context. `encode` refuses what the model cannot take."""
        self._max_tokens = value

    def get_max_seq_length(self) -> int:
        """Returns `max_seq_length`."""
        return self.max_seq_length

    def get_embedding_dimension(self) -> int:
        """Returns the width of the vectors."""
        return self.truncate_dim or self._embedder().width

    def get_sentence_embedding_dimension(self) -> int:
        """Returns the width of the vectors, under the name that most code knows."""
        return self.get_embedding_dimension()

    def encode(
        self,
        sentences: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = True,
        truncate_dim: int | None = None,
    ) -> Any:
        """Returns the vectors of texts.

        Args:
            sentences: a str or a list of str.
            prompt_name: name of one of `prompts`; None takes `default_prompt_name`.
            prompt: what to put before each text; wins over ``prompt_name``.
            batch_size: taken and not needed.
            show_progress_bar: whether to draw one on stderr.
            precision: as `qsift.Embedder.encode`; int8 there scales each row by itself.
            convert_to_numpy: False gives a list of rows instead of a matrix.
            convert_to_tensor: must stay False: torch is not loaded.
            normalize_embeddings: taken; vectors have length 1 in any case.
            truncate_dim: width to cut to; None takes that of the constructor.

        Returns:
            For a str (dim,), for a list (n, dim) in its order, float32 unless ``precision`` says otherwise.

        Raises:
            TypeError, ValueError: not a text (names the index), no such prompt, a width out of range, tensors asked.
            QsiftError: from the engine.
        """
        if convert_to_tensor:
            raise ValueError("convert_to_tensor is True; qsift gives numpy arrays. Use torch.from_numpy on the result.")
        rows = self._embedder().encode(
            list(sentences) if isinstance(sentences, np.ndarray) else sentences,
            prompt=self._prompt(prompt_name, prompt),
            truncate_dim=truncate_dim or self.truncate_dim,
            precision=precision,
            max_tokens=self._max_tokens,
            show_progress_bar=bool(show_progress_bar),
        )
        return rows if convert_to_numpy or isinstance(sentences, str) else list(rows)

    def encode_query(self, sentences: Any, prompt_name: str | None = None, **arguments: Any) -> Any:
        """Returns the vectors of queries: as `encode` with the prompt "query" where none is named."""
        return self.encode(sentences, prompt_name or "query", **arguments)

    def encode_document(self, sentences: Any, prompt_name: str | None = None, **arguments: Any) -> Any:
        """Returns the vectors of documents: as `encode` with the prompt "document" where none is named."""
        return self.encode(sentences, prompt_name or "document", **arguments)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """Returns the (n, m) cosines of the rows of both."""
        return self._embedder().similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """Returns the (n,) cosines of each row with its counterpart.

        Raises:
            ValueError: shapes that differ.
        """
        left, right = (np.atleast_2d(np.asarray(side, np.float32)) for side in (embeddings1, embeddings2))
        if left.shape != right.shape:
            raise ValueError(f"The vectors have the shapes {left.shape} and {right.shape}; pairs need the same.")
        cosines: NDArray[np.float32] = np.einsum("ij,ij->i", normalize(left), normalize(right))
        return cosines

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        name = name if name is not None else self.default_prompt_name
        if prompt is not None or name is None:
            return prompt or ""
        if name not in self.prompts:
            raise ValueError(f"There is no prompt {name!r}; allowed are {', '.join(map(repr, self.prompts))}.")
        return self.prompts[name]
