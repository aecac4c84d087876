"""MTEB: its encoder and its cross-encoder, for ``mteb.evaluate``.

Each task's own instruction stands before the queries, and before all texts of tasks that know no
sides; documents stand behind the model's prompt for them, mostly none. A model whose prompt for queries has no place
for an instruction gets that prompt instead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lazy_models import LazyModel
from qsift.embedder import Embedder
from qsift.engine import EngineOptions
from qsift.errors import MissingExtraError
from qsift.models import ModelFile
from qsift.reranker import Reranker

try:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ScoringFunction
    from mteb.types import PromptType
except ImportError as error:
    raise MissingExtraError("The integration of MTEB", error.name or "mteb", "mteb") from error


class QsiftEncoder(AbsEncoder):
    """An encoder for MTEB."""

    def __init__(
        self,
        model_name: str | Embedder,
        revision: str | None = None,
        *,
        device: str | None = None,
        truncate_dim: int | None = None,
        prompts: dict[str, str] | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        """Loads the model.

        Args:
            model_name: a path or a name, as `qsift.Embedder.load` takes it, or a loaded `qsift.Embedder`.
            revision: what the results are filed under.
            device: "cpu", or anything else that means the GPU; None leaves it to ``options``.
            truncate_dim: width to cut to, from 32; None keeps the full one.
            prompts: instructions by the name of a task, of a kind of tasks, or of a side ("query"); they win over
                the task's own.
            options: threads and so on.

        Raises:
            QsiftError: as `qsift.Embedder.load`.
        """
        self.prompts_dict = prompts
        self._truncate_dim = truncate_dim
        self._embedder = LazyModel(Embedder, model_name, options=_options(device, options))
        embedder = self._embedder()
        self.mteb_model_meta = _meta(
            embedder.file,
            revision,
            max_tokens=embedder.max_tokens,
            embed_dim=truncate_dim or embedder.width,
            similarity_fn_name=ScoringFunction.COSINE,
            model_type=["dense"],
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = False,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Returns the vectors of all texts of a DataLoader, (n, dim) float32 of length 1, in their order."""
        embedder, is_document = self._embedder(), prompt_type == PromptType.document
        instruction = None if is_document else self.get_instruction(task_metadata, prompt_type) or None
        if embedder.prompts.instruction is None:
            instruction = None  # a model with another prompt for queries was trained without the tasks' sentences
        rows: NDArray[np.float32] = embedder.encode(
            _column(inputs, "text"),
            instruction=instruction,
            prompt_name=None if instruction or prompt_type is None else prompt_type.value,
            truncate_dim=self._truncate_dim,
            show_progress_bar=show_progress_bar,
        )
        return rows


class QsiftCrossEncoder:
    """A cross-encoder for MTEB."""

    def __init__(
        self,
        model_name: str | Reranker,
        revision: str | None = None,
        device: str | None = None,
        *,
        template: str | None = None,
        prompts: dict[str, str] | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        """Loads the model.

        Args:
            model_name: a path or a name, as `qsift.Reranker.load` takes it, or a loaded `qsift.Reranker`.
            revision, device, options: as `QsiftEncoder`.
            template: "card" or "evaluation", as `qsift.Reranker.load`.
            prompts: instructions by the name of a task or of a kind of tasks; they win over the task's own. A task
                without one gets the model's default, and a query that brings its own keeps that.

        Raises:
            QsiftError: as `qsift.Reranker.load`.
        """
        self._prompts = prompts or {}
        self._reranker = LazyModel(Reranker, model_name, template=template, options=_options(device, options))
        reranker = self._reranker()
        self.mteb_model_meta = _meta(
            reranker.file, revision, max_tokens=reranker.max_tokens, model_type=["cross-encoder"]
        )

    def predict(
        self,
        inputs1: Any,
        inputs2: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = False,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Returns P(yes) for each query of the first with its document of the second DataLoader, (n,) float32."""
        queries, documents = _column(inputs1, "query", "text"), _column(inputs2, "text")
        of_task = self._instruction(task_metadata)
        told = [own or of_task for own in _column(inputs1, "instruction")] or [of_task] * len(queries)
        scores = np.empty(len(queries), np.float32)
        for instruction in dict.fromkeys(told):
            rows = [i for i, one in enumerate(told) if one == instruction]
            scores[rows] = self._reranker().predict(
                [(queries[i], documents[i]) for i in rows],
                instruction=instruction,
                show_progress_bar=show_progress_bar,
            )
        return scores

    def _instruction(self, task: Any) -> str | None:
        for name in (task.name, task.type):
            if name in self._prompts:
                return self._prompts[name]
        own = task.prompt.get("query") if isinstance(task.prompt, dict) else task.prompt
        return own or None


def _column(inputs: Any, *names: str) -> list[str]:
    """Returns the first of the named columns that a DataLoader's batches have, [] where they have none of them."""
    found = ((batch, next((name for name in names if name in batch), None)) for batch in inputs)
    return [text for batch, name in found if name is not None for text in batch[name]]


def _options(device: str | None, options: EngineOptions | None) -> EngineOptions | None:
    if device is None:
        return options
    return replace(options or EngineOptions(), device="cpu" if device == "cpu" else "gpu")


def _meta(file: ModelFile, revision: str | None, **facts: Any) -> ModelMeta:
    """Returns what MTEB files results under: qsift, the model and its quantisation."""
    known = {"name": f"qsift/{file.name}-{file.quant}", "revision": revision, "framework": ["GGUF"]}
    return ModelMeta.create_empty({**known, "open_weights": True, "use_instructions": True, **facts})
