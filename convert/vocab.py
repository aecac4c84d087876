"""tokenizer.json to a GGUF vocabulary. A tokenizer that is not Qwen's is refused, not adapted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsift.prompts import END_OF_TEXT, RERANK_HEAD, RERANK_LABELS, RERANK_TAIL

from .checkpoint import read_json
from .config import ModelConfig

# llama.cpp's enum llama_token_type.
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

# The pre-tokenizer that llama.cpp calls qwen2. Source: tokenizer.json of the released models.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE vocabulary.

    Attributes:
        tokens: by id, spelled in byte-level letters; ids that nothing uses are "[PADn]".
        types: llama.cpp's token type of each.
        merges: "left right", in order of priority.
        ids: ids by token.
    """

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    ids: Mapping[str, int]

    @property
    def nbytes(self) -> int:
        """About what it takes in a file."""
        return sum(len(token.encode()) + 12 for token in self.tokens) + sum(len(m.encode()) + 8 for m in self.merges)

    @classmethod
    def read(cls, folder: Path, config: ModelConfig | None, problems: list[str]) -> Vocabulary | None:
        """Returns the vocabulary in tokenizer.json; adds every problem and returns None if there is one."""
        found: list[str] = []
        data = read_json(folder / "tokenizer.json", found)
        vocabulary = None
        if data:
            try:
                _check_kind(data, found)
                vocabulary = cls._assemble(data, config.vocab_size if config else 0, found)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                found.append(f"tokenizer.json is not laid out as Hugging Face's tokenizers write it ({error!r}).")
        problems.extend(found)
        return None if found else vocabulary

    @classmethod
    def _assemble(cls, data: Mapping[str, Any], rows: int, problems: list[str]) -> Vocabulary:
        ids: dict[str, int] = dict(data["model"]["vocab"])
        types = dict.fromkeys(ids.values(), NORMAL)
        for token in data.get("added_tokens", []):
            content, number = str(token["content"]), int(token["id"])
            ids[content] = number
            # Tokens that look like control tokens are treated as such whatever their flag says:
            # no text of a user may produce them.
            control = bool(token["special"]) or (content.startswith("<|") and content.endswith("|>"))
            types[number] = CONTROL if control else USER_DEFINED
        if len(set(ids.values())) != len(ids) or any(not isinstance(n, int) or n < 0 for n in ids.values()):
            problems.append("tokenizer.json gives one id to two tokens.")
        largest = max(ids.values(), default=-1)
        if rows and largest >= rows:
            problems.append(f"tokenizer.json has the id {largest}, but config.json has only {rows} rows (vocab_size).")
        size = max(rows, largest + 1)
        by_id = {number: token for token, number in ids.items()}
        for token in (END_OF_TEXT, *_CONTROL_TOKENS, *RERANK_LABELS):
            if token not in ids:
                problems.append(f"tokenizer.json has no token {token!r}, which Qwen3's has.")
        merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
        return cls(
            tokens=tuple(by_id.get(number, f"[PAD{number}]") for number in range(size)),
            types=tuple(types.get(number, UNUSED) for number in range(size)),
            merges=tuple(merges),
            ids=ids,
        )


def _check_kind(data: Mapping[str, Any], problems: list[str]) -> None:
    model, normalizer = data.get("model") or {}, data.get("normalizer") or {}
    if model.get("type") != "BPE":
        problems.append(f"tokenizer.json: the model is {model.get('type')!r}; Qwen3's is 'BPE'.")
    if normalizer.get("type") != "NFC":
        problems.append(f"tokenizer.json: the normaliser is {normalizer.get('type')!r}; Qwen3's is 'NFC'.")
    steps = _steps(data.get("pre_tokenizer") or {})
    patterns = [(s.get("pattern") or {}).get("Regex") for s in steps if s.get("type") == "Split"]
    kinds = [s.get("type") for s in steps]
    if patterns != [QWEN_PATTERN] or kinds != ["Split", "ByteLevel"] or steps[1].get("add_prefix_space"):
        shown = patterns[0] if len(patterns) == 1 else kinds
        problems.append(f"tokenizer.json: the pre-tokenizer is {shown!r}, not Qwen's; texts would become other tokens.")


def _steps(pre_tokenizer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if pre_tokenizer.get("type") == "Sequence":
        return list(pre_tokenizer.get("pretokenizers") or [])
    return [pre_tokenizer]


def rerank_chat_template(instruction: str) -> str:
    """Returns the template that llama-server fills in for reranking."""
    body = f"<Instruct>: {instruction}\n<Query>: {{query}}\n<Document>: {{document}}"
    return f"{RERANK_HEAD}{body}{RERANK_TAIL}"
