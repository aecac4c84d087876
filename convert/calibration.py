"""From texts to an importance matrix: the model reads them in its own prompts, and its weights' inputs are measured.

The texts are paragraphs. This file does not know how the numbers are used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .gguf_file import replacing, scratch_beside, write_arrays, write_gguf
from .imatrix import CHUNK_TOKENS, LEAST_TOKENS, Imatrix
from .quantize import Plan
from .source import Source
from qsift.engine import MAX_INPUT_TOKENS, InputSquares
from qsift.errors import ConversionError
from qsift.models import Manifest, ModelFile, Prompt
from qsift.text import PromptEncoder

AUTO = "auto"
"""Stands for the texts of the package."""

QUANT = "bf16"
"""What is run: it has the range of float32, in which neither weights nor their inputs overflow."""

_ADVICE = "Pass text files, or auto."
_QUERY_CHARS = 200
_AUTO_FILE = Path(__file__).parent / "calibration.txt"


@dataclass(frozen=True)
class Passage:
    """A paragraph of the texts.

    Attributes:
        query: its first line, without what is too long for a query.
        document: the lines behind that, or the first where there is no other.
    """

    query: str
    document: str


@dataclass(frozen=True)
class Texts:
    """What a model is measured over.

    Attributes:
        names: what the files are called.
        passages: their paragraphs.
    """

    names: tuple[str, ...]
    passages: tuple[Passage, ...]


def read_texts(paths: Sequence[str]) -> Texts:
    """Returns the paragraphs of text files, which blank lines divide; ``AUTO`` stands for those of the package.

    Raises:
        ConversionError: a file is missing, unreadable, no text, or empty; with every problem.
    """
    passages: list[Passage] = []
    problems = []
    for path in paths:
        try:
            text = (_AUTO_FILE if path == AUTO else Path(path)).read_text("utf-8-sig")
        except OSError as error:
            problems.append(f"{path!r} cannot be read: {error.strerror or error}. {_ADVICE}")
            continue
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            problems.append(f"{path!r} is binary, or not in UTF-8. {_ADVICE}")
        elif not text.strip():
            problems.append(f"{path!r} is empty. {_ADVICE}")
        passages += _paragraphs(text)
    if problems:
        raise ConversionError(problems)
    return Texts(tuple("qsift-auto" if path == AUTO else Path(path).name for path in paths), tuple(passages))


def _paragraphs(text: str) -> list[Passage]:
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text)]
    parts = [block.partition("\n") for block in blocks if block]
    return [Passage(first.strip()[:_QUERY_CHARS], rest or first) for first, _, rest in parts]


def prompts(passages: Sequence[Passage], manifest: Manifest, encoder: PromptEncoder) -> Iterator[Prompt]:
    """Yields what the model sees of the passages.

    An embedding model sees each query and each document behind its prompts; a reranker sees a query with its own
    document and the next one with that of another passage, in turns.
    """
    if manifest.prompts:
        query, document = (
            encoder.template(*manifest.prompts.before(name=name), manifest.end_token or "")
            for name in ("query", "document")
        )
        for passage in passages:
            yield query.prompt(passage.query)
            yield document.prompt(passage.document)
        return
    for index, passage in enumerate(passages):
        judged = passages[(index + index % 2) % len(passages)]
        yield manifest.rerank_template.prompt(passage.query, judged.document)


@dataclass(frozen=True, eq=False)
class Measurement:
    """An importance matrix that is to be measured.

    Attributes:
        path: where it will be kept.
        source: the checkpoint.
        keys: of a GGUF of it.
        plan: of a GGUF of it in `QUANT`.
        texts: what the model reads.
    """

    path: Path
    source: Source
    keys: Mapping[str, Any]
    plan: Plan
    texts: Texts

    def run(self, advance: Callable[[int], object]) -> Imatrix:
        """Returns the matrix, which then lies in its file; the GGUF that was run is gone.

        Args:
            advance: called with a number of bytes: of what was written, then of as much again, shared among the texts.

        Raises:
            ConversionError: the texts are too few; the model gives NaN or Inf; the disk is full.
            EngineError: llama.cpp refused or failed.
        """
        with scratch_beside(self.path) as scratch:
            write_gguf(scratch, self.keys, self.plan, advance)
            with InputSquares(ModelFile.open(scratch)) as squares:
                encoder = PromptEncoder(squares.tokenizer)
                shown = list(prompts(self.texts.passages, self.source.manifest(QUANT), encoder))
                share = sum(item.nbytes for item in self.plan) // len(shown)
                # Where the instruction and the query alone are too long, nothing but their beginning is read.
                ids = [encoder.encode(prompt, MAX_INPUT_TOKENS).ids[:MAX_INPUT_TOKENS] for prompt in shown]
                n_tokens = sum(map(len, ids))
                if n_tokens < LEAST_TOKENS:
                    raise ConversionError([self._too_few(n_tokens)])

                def tell(n_texts: int) -> None:
                    advance(n_texts * share)

                squares.add(ids, tell)
        broken = [name for name, values in squares.sums.items() if not np.isfinite(values).all()]
        if broken:
            raise ConversionError([f"{broken[0]} was multiplied with NaN or Inf: the model cannot read these texts."])
        matrix = Imatrix(
            name=self.path.name,
            datasets=self.texts.names,
            sums={name: values.astype(np.float32) for name, values in squares.sums.items()},
            counts=dict(squares.counts),
            n_chunks=n_tokens // CHUNK_TOKENS,
        )
        with replacing(self.path) as scratch:
            write_arrays(scratch, matrix.file_keys(), matrix.file_arrays())
        return matrix

    def _too_few(self, n_tokens: int) -> str:
        return (
            f"{', '.join(self.texts.names)}: the texts have {n_tokens} tokens in the model's prompts; at least "
            f"{LEAST_TOKENS} are needed. Pass more of them, or auto."
        )
