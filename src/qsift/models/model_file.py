"""What a GGUF is good for: its task, its shape, and the reason where it is good for nothing.

A file of ours says its task in its keys. A file that is not ours is judged by evidence: its pooling
type and which output head it carries. Nothing is guessed from names.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Literal

from .gguf_header import Header, read_header
from .gguf_problems import problems
from .manifest import POOLING_LAST, POOLING_RANK, Manifest
from .prompts import END_OF_TEXT, RELEASED_PROMPTS, Prompts
from .specs import MIN_DIM, SPECS, Task
from .weights import HEAD_WEIGHT
from qsift.errors import ModelFileError

ScoreSource = Literal["labels", "logits"]

# Bytes read from the middle of each tensor for a fingerprint: training and quantising change every tensor throughout.
_SAMPLE = 4096
_DECIDING = ("qwen3.", "qsift.prompts", "qsift.default_prompt_name", "qsift.end_token")
_LOADERS = {"embed": "Embedder", "rerank": "Reranker"}


@dataclass(frozen=True)
class ModelFile:
    """A GGUF that was read, checked and found usable.

    Attributes:
        path: the file.
        name: what the file calls itself.
        task: "embed", "rerank", or None where the file does not say (both loaders accept it).
        quant: name of the quantisation, as the file says or as most of its weights are.
        block_types: types of the blocks' matrices, such as ("q4_k", "q6_k").
        width: hidden size, which is the width of the vectors.
        n_layers: number of blocks.
        n_vocab: rows of the embedding matrix.
        max_tokens: the context that the model was trained for.
        score_source: "labels" where the file has a head of two rows, "logits" where the scores come
            from the vocabulary's head, None where it can give no scores.
        labels: names of the head's rows, in order; empty without such a head.
        manifest: qsift's own keys; None in a file that qsift did not make.
        cache_bytes_per_token: size of a token's keys and values in F16.
        nbytes: size of the file.
    """

    path: str
    name: str
    task: Task | None
    quant: str
    block_types: tuple[str, ...]
    width: int
    n_layers: int
    n_vocab: int
    max_tokens: int
    score_source: ScoreSource | None
    labels: tuple[str, ...]
    manifest: Manifest | None
    cache_bytes_per_token: int
    nbytes: int

    @property
    def note(self) -> str | None:
        """What to know before using it; None where there is nothing to say."""
        spec = SPECS.get(self.name.lower())
        return spec.note if spec else None

    @property
    def prompts(self) -> Prompts:
        """What stands before texts to embed; Qwen3-Embedding's own where the file does not say."""
        return self.manifest.prompts if self.manifest and self.manifest.prompts else RELEASED_PROMPTS

    @property
    def end_token(self) -> str:
        """What ends a text to embed, "" for nothing; Qwen3-Embedding's own where the file does not say."""
        own = self.manifest.end_token if self.manifest else None
        return END_OF_TEXT if own is None else own

    @property
    def min_dim(self) -> int:
        """The smallest width that vectors may be cut to."""
        return min((self.manifest.min_dim if self.manifest else None) or MIN_DIM, self.width)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ModelFile:
        """Returns the facts of a GGUF.

        Raises:
            ModelFileError: the file is missing, damaged, of another architecture, or contradicts itself.
        """
        header = read_header(path)
        problem = next(problems(header), None)
        if problem:
            raise ModelFileError(header.path, problem)
        return _describe(header)

    def fingerprint(self) -> str:
        """Returns 64 hexadecimal digits that differ between models, and between quantisations of one.

        They are the SHA-256 over what decides the vectors: the sizes and angles in the keys, the prompts, each
        tensor's name, shape and type, and a sample of its weights; milliseconds whatever the file's size. The file's
        name, path and age are not in it.

        Raises:
            ModelFileError: the file is gone or damaged.
        """
        header = read_header(self.path)
        digest = hashlib.sha256()
        for key in sorted(key for key in header.keys if key.startswith(_DECIDING)):
            digest.update(f"{key}={header.keys[key]!r}\n".encode())
        with open(self.path, "rb") as data:
            for tensor in header.tensors.values():
                digest.update(f"{tensor.name} {tensor.shape} {tensor.type_name}\n".encode())
                data.seek(tensor.offset + max(tensor.nbytes - _SAMPLE, 0) // 2)
                digest.update(data.read(min(_SAMPLE, tensor.nbytes)))
        return digest.hexdigest()

    def require(self, task: Task) -> None:
        """Checks that the file can be used for ``task``.

        Raises:
            ModelFileError: it was made for the other task, or has no head to score with.
        """
        if self.task is not None and self.task != task:
            raise wrong_task(self.path, self.task, task)
        if task == "rerank" and self.score_source is None:
            raise ModelFileError(
                self.path,
                f"It has neither {HEAD_WEIGHT} nor output.weight, and models of its shape do not share their output "
                "head with their input embedding, so its scores would be meaningless. Convert the checkpoint with: "
                "qsift convert FOLDER --task rerank.",
            )


def wrong_task(model: str, found: Task, needed: Task) -> ModelFileError:
    """Returns the error for a model, a path or a name, that was made for the other task."""
    kind = {"embed": "an embedding model", "rerank": "a reranker"}[found]
    return ModelFileError(
        model,
        f"This is {kind}. {_LOADERS[needed]} needs a file converted for the task {needed!r}. "
        f"Use {_LOADERS[found]}.load({os.path.basename(model)!r}).",
    )


def _describe(header: Header) -> ModelFile:
    keys, manifest = header.keys, Manifest.from_keys(header.keys)
    pooling, has_head = keys.get("qwen3.pooling_type", 0), HEAD_WEIGHT in header.tensors
    kv_width = keys["qwen3.attention.head_count_kv"] * keys["qwen3.attention.key_length"]
    task: Task | None = None
    if manifest:
        task = manifest.task
    elif has_head or pooling == POOLING_RANK:
        task = "rerank"
    elif pooling == POOLING_LAST:
        task = "embed"
    return ModelFile(
        path=header.path,
        name=str(keys.get("general.name") or os.path.basename(header.path)),
        task=task,
        quant=manifest.quant if manifest else _commonest_type(header),
        block_types=_block_types(header),
        width=keys["qwen3.embedding_length"],
        n_layers=keys["qwen3.block_count"],
        n_vocab=len(keys["tokenizer.ggml.tokens"]),
        max_tokens=keys["qwen3.context_length"],
        score_source=_score_source(header, has_head),
        labels=tuple(keys["qwen3.classifier.output_labels"]) if has_head else (),
        manifest=manifest,
        cache_bytes_per_token=2 * 2 * kv_width * keys["qwen3.block_count"],
        nbytes=header.size,
    )


def _score_source(header: Header, has_head: bool) -> ScoreSource | None:
    if has_head:
        return "labels"
    shape = header.keys["qwen3.block_count"], header.keys["qwen3.embedding_length"]
    untied = {(s.num_hidden_layers, s.hidden_size) for s in SPECS.values() if not s.tie_word_embeddings}
    return "logits" if "output.weight" in header.tensors or shape not in untied else None


def _block_types(header: Header) -> tuple[str, ...]:
    matrices = (t for name, t in header.tensors.items() if name.startswith("blk.") and len(t.shape) == 2)
    return tuple(sorted({tensor.type_name.lower() for tensor in matrices}))


def _commonest_type(header: Header) -> str:
    sizes: dict[str, int] = {}
    for tensor in header.tensors.values():
        sizes[tensor.type_name] = sizes.get(tensor.type_name, 0) + tensor.nbytes
    return max(sizes, key=lambda name: sizes[name]).lower()
