"""The README.md of a repository of GGUFs: what they are, how large and how exact, and the prompts they need.

Everything in it is read from the files or measured; this file writes text and touches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .parity import DOCUMENTS, QUERIES
from qsift.models import RERANK_LABELS, Manifest, Task

_PIPELINES: dict[Task, str] = {"embed": "feature-extraction", "rerank": "text-ranking"}
_LOADERS: dict[Task, str] = {"embed": "Embedder", "rerank": "Reranker"}


@dataclass(frozen=True)
class CardFile:
    """A file in the card's table.

    Attributes:
        name: the file's name.
        quant: such as "q8_0".
        nbytes: its size.
        parity: smallest cosine or largest change of P(yes); None for the file that the others are compared with.
    """

    name: str
    quant: str
    nbytes: int
    parity: float | None


def card_fields(keys: Mapping[str, Any], task: Task, checkpoint_repo: str | None) -> dict[str, Any]:
    """Returns the fields of the front matter.

    Args:
        keys: a file's metadata; the licence comes from the checkpoint's card, and without one there is none.
        task: what the model is for.
        checkpoint_repo: repository of the checkpoint; None takes the base models that its card named.
    """
    fields: dict[str, Any] = {
        "license": keys.get("general.license"),
        "license_name": keys.get("general.license.name"),
        "license_link": keys.get("general.license.link"),
        "library_name": "gguf",
        "pipeline_tag": _PIPELINES[task],
        "tags": ["gguf", "qwen3", "qsift", "embedding" if task == "embed" else "reranker"],
    }
    if checkpoint_repo:
        fields |= {"base_model": checkpoint_repo, "base_model_relation": "quantized"}
    elif bases := _bases(keys):
        fields["base_model"] = bases
    return {name: value for name, value in fields.items() if value is not None}


def card_text(
    name: str, manifest: Manifest, files: Sequence[CardFile], reference: str, checkpoint_repo: str | None
) -> str:
    """Returns the card below its front matter.

    Args:
        name: of the repository.
        manifest: what the files say about themselves.
        files: the table's rows.
        reference: the quant that the parity figures compare with.
        checkpoint_repo: repository of the checkpoint, if it is known.
    """
    origin = f"[{checkpoint_repo}](https://huggingface.co/{checkpoint_repo})" if checkpoint_repo else "a checkpoint"
    task, first = manifest.task, files[0].name
    call = (
        f'qsift embed {first} "a question" --query'
        if task == "embed"
        else f'qsift rerank {first} "a question" "a text"'
    )
    rows = "\n".join(
        f"| {file.name} | {file.quant} | {file.nbytes / 1e6:,.0f} MB | {_figure(file.parity, task)} |" for file in files
    )
    figure = "smallest cosine" if task == "embed" else "largest change of P(yes)"
    return f"""
# {name}

GGUF files of {origin}, made and checked weight by weight by qsift, for llama.cpp and what is built on it.

| file | quant | size | {figure} |
|---|---|--:|--:|
{rows}

The last column compares each file's results with those of the {reference} file of the same conversion, over
{_sample(task)}. It says what quantising costs, not how good the model is.

## Use

```sh
{call}
```

```python
from qsift import {_LOADERS[task]}

model = {_LOADERS[task]}.load("{first}")
```

## Prompts

{_prompts(manifest)}

## Checksums

```sh
sha256sum -c SHA256SUMS
```
"""


def _bases(keys: Mapping[str, Any]) -> list[str]:
    prefix = "general.base_model."
    pairs = [
        (keys.get(f"{prefix}{index}.organization"), keys.get(f"{prefix}{index}.name"))
        for index in range(keys.get(f"{prefix}count", 0))
    ]
    return [f"{organisation}/{name}" for organisation, name in pairs if organisation and name]


def _figure(parity: float | None, task: Task) -> str:
    if parity is None:
        return "reference"
    return f"{parity:.5f}" if task == "embed" else f"{parity:.4f}"


def _sample(task: Task) -> str:
    if task == "embed":
        return f"{len(QUERIES) + len(DOCUMENTS)} texts in several scripts"
    return f"{len(QUERIES)} queries with {len(DOCUMENTS)} documents each, in several scripts"


def _prompts(manifest: Manifest) -> str:
    if manifest.prompts:
        shown = {name: text.replace("\n", "\\n") for name, text in manifest.prompts.texts.items()}
        rows = "\n".join(f"| {name} | `{text}{{text}}` |" for name, text in shown.items())
        end = f"the token `{manifest.end_token}` stands" if manifest.end_token else "nothing stands"
        return (
            f"| prompt | what the model sees |\n|---|---|\n{rows}\n\n`\\n` is a line break, and behind each text "
            f"{end}. The hidden state of the last token, normalised, is the embedding."
        )
    prompt = manifest.rerank_template.prompt("{query}", "{document}")
    score = " against ".join(f"P({label})" for label in manifest.labels or RERANK_LABELS)
    if len(manifest.labels) == 1:
        score = f"the sigmoid of the logit {manifest.labels[0]}"
    return (
        f"The score is {score} for the token after this text; the file's head holds these rows.\n\n"
        f"````\n{prompt.head}{prompt.body}{prompt.tail}````"
    )
