"""Is a GGUF the model that it should be? Its header is compared with the small files of the model's own checkpoint.

Due is what `convert` would write. A difference changes numbers where qsift would compute something else from the
file. What qsift does by itself, whatever a file says (the special tokens, the pooling), is harmless and named all the
same, because other programs go by it. Weights are not compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from itertools import zip_longest
from os import PathLike
from pathlib import Path

import numpy as np

from .config import Config
from .evidence import find_prompts, stated_task
from .metadata import model_keys
from .rerank_template import find_rerank_template
from .vocab import CONTROL, UNUSED, USER_DEFINED, Vocabulary
from qsift.errors import ConversionError, ModelFileError
from qsift.models import (
    HEAD_WEIGHT,
    POOLING_LAST,
    RERANK_TEMPLATES,
    Header,
    ModelFile,
    Prompts,
    RerankTemplate,
    Task,
    read_header,
)

# What llama.cpp takes where a file leaves a key out. Source: its load_hparams and its vocabulary of type gpt2.
_LEFT_OUT = {
    "qwen3.rope.freq_base": 10_000.0,
    "tokenizer.ggml.eos_token_id": 11,
    "tokenizer.ggml.bos_token_id": 11,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.add_eos_token": False,
}
# `models` has refused a file in which these are not the key length.
_HEAD_DIM_TOO = ("qwen3.attention.value_length", "qwen3.rope.dimension_count")
# What llama.cpp makes of a token's text by its type: a control token counts in templates alone, and with a byte (6) it
# loads no vocabulary of this kind; 2 is "unknown". Source: tokenizer_st_partition, and runs with each type. Some builds
# mend control tokens that a file types as letters; that is not relied on.
_USE = defaultdict(
    lambda: "letters",
    {2: "a control token", CONTROL: "a control token", USER_DEFINED: "one token anywhere", 6: "a byte"},
)


@dataclass(frozen=True)
class Difference:
    """One way in which a file is not its model.

    Attributes:
        sentence: what the file has, what the model has, and what that does.
        changes_numbers: whether qsift gives other vectors or scores for it, for some text at least.
    """

    sentence: str
    changes_numbers: bool = True


def differences(file: ModelFile, checkpoint: str | PathLike[str], *, task: Task | None = None) -> list[Difference]:
    """Returns how a GGUF differs from a checkpoint, what changes numbers first; nothing where it does not.

    Compared are the vocabulary entry by entry (padding behind it may differ), token types, merges, special tokens,
    sizes, rotary base and scaling, epsilon, context, pooling or head, prompts and end token. A vocabulary of 151,669
    takes a second.

    Args:
        file: the file.
        checkpoint: the folder with the model's config.json, tokenizer.json and, where there are such, modules.json with
            its folders and config_sentence_transformers.json. No weights are needed.
        task: what the model is for where the folder does not say; None leaves what depends on it uncompared, unless the
            file says it.

    Raises:
        ModelFileError: the file is damaged, or the folder lacks files, holds damaged ones, or those of a model that
            qsift does not run.
    """
    folder = Path(checkpoint)
    try:
        config = Config.read(folder)
        vocabulary = Vocabulary.read(folder, rows=config.vocab_size)
        task = stated_task(folder, config) or task or file.task
        prompts = find_prompts(folder) if task == "embed" else None
        template = find_rerank_template(folder, config, vocabulary) if task == "rerank" else None
    except ConversionError as error:
        raise ModelFileError(
            file.path, f"It cannot be compared with {str(folder)!r}. {' '.join(error.problems)}"
        ) from error
    header = read_header(file.path)
    found = [*_sizes(header, config), *_tokens(header, vocabulary), *_merges(header, vocabulary)]
    if task:
        found += [*_purpose(file, header, config, task), *_special_tokens(header, vocabulary, task)]
    if prompts:
        found += _prompts(file, prompts, vocabulary.end_token)
    if task == "rerank":
        found += _template(file, template or RERANK_TEMPLATES["card"])
    return sorted(found, key=lambda difference: not difference.changes_numbers)


def _sizes(header: Header, config: Config) -> Iterator[Difference]:
    keys = header.keys
    for key, due in model_keys(config, "embed").items():
        found = keys.get(key, _LEFT_OUT.get(key))
        if key == "qwen3.pooling_type" or key in _HEAD_DIM_TOO:
            continue
        if key == "qwen3.context_length" and found > due:
            sentence = f"Its context is {found} tokens and the model's {due}, so longer texts are not cut."
            yield Difference(sentence, changes_numbers=False)
        elif key == "qwen3.context_length" and found < due:
            yield Difference(f"Its context is {found} tokens and the model's {due}, so long texts are cut too early.")
        elif np.float32(found) != np.float32(due):
            how = "" if key in keys else ", llama.cpp's own where a file gives none"
            yield Difference(f"Its {key} is {_number(found)}{how}; the model's is {_number(due)}.")
    if keys.get("qwen3.attention.causal") is False:
        yield Difference("It asks for attention in both directions; the model attends to what stands before.")
    for key in ("factor", "attn_factor"):
        value = keys.get(f"qwen3.rope.scaling.{key}", 1.0)
        if value not in (0.0, 1.0) and keys.get("qwen3.rope.scaling.type") != "none":
            yield Difference(f"Its qwen3.rope.scaling.{key} is {_number(value)}; the model's positions are not scaled.")


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tokens(header: Header, vocabulary: Vocabulary) -> Iterator[Difference]:
    found, types = header.strings("tokenizer.ggml.tokens"), header.integers("tokenizer.ggml.token_type").tolist()
    # Rows behind the vocabulary are padding: no text becomes one, and a file may have more or less of them.
    due = [
        None if kind == UNUSED else text.encode()
        for text, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)
    ]
    others = [
        (row, text, real)
        for row, (text, kind, real) in enumerate(zip_longest(found, types, due))
        if text != real and (real is not None or not (kind == UNUSED or text == b"[PAD%d]" % row))
    ]
    if others:
        row, text, real = others[0]
        yield Difference(
            f"{_count(others, 'token')} from the model's, so texts are read in another way; the first is token "
            f"{row}, {_shown(text)} instead of {_shown(real)}."
        )
    elif len(found) != len(due):
        sentence = f"It has {len(found)} rows of tokens and the model {len(due)}; the last ones are padding."
        yield Difference(sentence, changes_numbers=False)
    pairs = enumerate(zip(found, due, types, vocabulary.types, strict=False))
    mistyped = [
        (row, kind, other) for row, (text, real, kind, other) in pairs if text == real and _USE[kind] != _USE[other]
    ]
    if mistyped:
        row, kind, other = mistyped[0]
        yield Difference(
            f"{_count(mistyped, 'token')} in type from the model's; the first is token {row}, "
            f"{_shown(found[row])}, which is {_USE[kind]} instead of {_USE[other]}."
        )


def _merges(header: Header, vocabulary: Vocabulary) -> Iterator[Difference]:
    pairs = zip_longest(header.strings("tokenizer.ggml.merges"), [merge.encode() for merge in vocabulary.merges])
    others = [(rank, found, due) for rank, (found, due) in enumerate(pairs) if found != due]
    if others:
        rank, found, due = others[0]
        yield Difference(
            f"{_count(others, 'merge')} from the model's, so texts become other tokens; the first is merge "
            f"{rank}, {_shown(found)} instead of {_shown(due)}."
        )


def _count(items: Sized, noun: str) -> str:
    return f"1 {noun} differs" if len(items) == 1 else f"{len(items)} {noun}s differ"


def _shown(text: bytes | None) -> str:
    return "none" if text is None else repr(text.decode("utf-8", "replace"))


def _purpose(file: ModelFile, header: Header, config: Config, task: Task) -> Iterator[Difference]:
    if file.task not in (None, task):
        yield Difference(f"It was made for the task {file.task!r}; the model's is {task!r}.")
    elif task == "embed" and header.keys.get("qwen3.pooling_type") != POOLING_LAST:
        sentence = "It names no pooling; qsift takes the last token, other programs may not."
        yield Difference(sentence, changes_numbers=False)
    elif task == "rerank" and HEAD_WEIGHT not in header.tensors:
        if config.tie_word_embeddings or "output.weight" in header.tensors:
            sentence = f"It has no {HEAD_WEIGHT}; qsift reads yes and no among the logits, other programs may not."
            yield Difference(sentence, changes_numbers=False)
        else:
            yield Difference(f"It has no {HEAD_WEIGHT} and no output.weight, and the model has a head of its own.")


def _special_tokens(header: Header, vocabulary: Vocabulary, task: Task) -> Iterator[Difference]:
    wrong = []
    for key, due in vocabulary.keys(task).items():
        found = header.keys.get(key, _LEFT_OUT.get(key, due))
        if type(due) in (int, bool) and found != due:
            wrong.append(f"{key.removeprefix('tokenizer.ggml.')} is {found} instead of {due}")
    if wrong:
        sentence = (
            f"It asks for other special tokens ({', '.join(wrong)}); qsift puts the model's, other programs may not."
        )
        yield Difference(sentence, changes_numbers=False)


def _prompts(file: ModelFile, prompts: Prompts, end_token: str) -> Iterator[Difference]:
    found = file.prompts
    for name in dict.fromkeys((*found.texts, *prompts.texts)):
        ours, due = found.texts.get(name), prompts.texts.get(name)
        if ours != due:
            yield Difference(f"Its prompt {name!r} is {ours!r}; the model's is {due!r}.")
    if found.default != prompts.default:
        yield Difference(f"Its default prompt is {found.default!r}; the model's is {prompts.default!r}.")
    if file.end_token != end_token:
        ours, due = (repr(text) if text else "no token" for text in (file.end_token, end_token))
        yield Difference(f"Its texts end with {ours}; the model's end with {due}.")


def _template(file: ModelFile, due: RerankTemplate) -> Iterator[Difference]:
    manifest = file.manifest
    found = manifest.rerank_template if manifest and manifest.task == "rerank" else RERANK_TEMPLATES["card"]
    for what, ours, theirs in (
        ("prompt", " ".join(map(repr, found.parts)), " ".join(map(repr, due.parts))),
        ("default instruction", repr(found.instruction), repr(due.instruction)),
    ):
        if ours != theirs:
            yield Difference(f"Its {what} is {ours}; the model's is {theirs}.")
