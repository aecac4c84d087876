"""tokenizer.json → the vocabulary of a GGUF.

Only Qwen's own byte-level BPE is accepted: llama.cpp's "qwen2" pre-tokenizer is a fixed piece of
code, and a tokenizer that cuts texts elsewhere would silently get other ids than it was trained on.
This file does not know what the ids are used for, apart from the few that a GGUF must name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import listed
from .config import read_json_object
from qsift.errors import ConversionError
from qsift.models import END_OF_TEXT, Task

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""llama.cpp's enum llama_token_type."""

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Qwen2 and Qwen3 cut a text before merging. Source: their tokenizer.json."""
_END_OF_TURN = "<|im_end|>"
_ADVICE = "Use the tokenizer.json of the Qwen3 model that the checkpoint was trained from."


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model, one for each row of its embedding matrix.

    Attributes:
        tokens: texts by id, in the letters of byte-level BPE.
        types: llama.cpp's token type by id.
        merges: the merges by rank, their two parts joined by a space.
        end_token: what the tokenizer puts behind a text, "" for nothing.
    """

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    end_token: str

    @classmethod
    def read(cls, folder: Path, *, rows: int | None = None) -> Vocabulary:
        """Returns the vocabulary in ``folder``/tokenizer.json, filled up to ``rows`` tokens.

        None for ``rows`` takes it as it is.

        Raises:
            ConversionError: missing, damaged, not Qwen's, or larger than the embedding matrix.
        """
        tokenizer = read_json_object(folder / "tokenizer.json")
        end_token, added = _end_token(tokenizer.get("post_processor"))
        problems = _foreign(tokenizer) + added
        if problems:
            raise ConversionError(problems)
        model = tokenizer["model"]
        places, types = _tokens(model, tokenizer.get("added_tokens") or [], rows)
        rows = max(places) + 1 if rows is None else rows
        tokens = [places.get(i, f"[PAD{i}]") for i in range(rows)]
        merges = _merges(model.get("merges"), frozenset(model["vocab"]))
        known = set(tokens)
        needed = dict.fromkeys((END_OF_TEXT, _END_OF_TURN, end_token or END_OF_TEXT, *_BYTE_LETTERS))
        missing = [text for text in needed if text not in known]
        if missing:
            raise ConversionError([f"tokenizer.json has no token {listed(map(repr, missing))}. {_ADVICE}"])
        return cls(tuple(tokens), tuple(types.get(i, UNUSED) for i in range(rows)), tuple(merges), end_token)

    def id_of(self, text: str) -> int:
        """Returns the id of a token; raises ConversionError if there is none with this text."""
        try:
            return self.tokens.index(text)
        except ValueError:
            raise ConversionError([f"tokenizer.json has no token {text!r}. {_ADVICE}"]) from None

    def text_of(self, index: int) -> str:
        """Returns the text of a token."""
        token = self.tokens[index]
        if self.types[index] != NORMAL:
            return token
        return bytes(_BYTE_LETTERS.index(letter) for letter in token).decode("utf-8", errors="replace")

    def keys(self, task: Task) -> dict[str, Any]:
        """Returns the ``tokenizer.`` keys of a GGUF."""
        end_of_text = self.id_of(END_OF_TEXT)
        # The end token of an embedded text; a reranker's turn ends with its own.
        end = (self.end_token or END_OF_TEXT) if task == "embed" else _END_OF_TURN
        return {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "qwen2",
            "tokenizer.ggml.tokens": list(self.tokens),
            "tokenizer.ggml.token_type": list(self.types),
            "tokenizer.ggml.merges": list(self.merges),
            "tokenizer.ggml.eos_token_id": self.id_of(end),
            "tokenizer.ggml.padding_token_id": end_of_text,
            "tokenizer.ggml.bos_token_id": end_of_text,
            "tokenizer.ggml.add_bos_token": False,
            "tokenizer.ggml.add_eos_token": task == "embed" and self.end_token != "",
        }


def _byte_letters() -> tuple[str, ...]:
    """Returns the letter that byte-level BPE writes for each byte: itself if it prints, else the next from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return tuple(chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256))


_BYTE_LETTERS = _byte_letters()


def _foreign(tokenizer: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each part of the tokenizer that is not Qwen's."""
    problems = []
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "BPE" or not isinstance(model.get("vocab"), dict):
        return [f"The model in tokenizer.json is {kind!r}; Qwen's is byte-level BPE. {_ADVICE}"]
    for name in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(name):
            problems.append(f"tokenizer.json sets {name} to {model[name]!r}; Qwen's does not. {_ADVICE}")
    normalizers = _steps(tokenizer.get("normalizer"), "normalizers")
    if [step.get("type") for step in normalizers] != ["NFC"]:
        found = " and ".join(str(step.get("type")) for step in normalizers) or "nothing"
        problems.append(f"The normaliser in tokenizer.json is {found}; Qwen's is NFC. {_ADVICE}")
    if not _is_qwens_pre_tokenizer(_steps(tokenizer.get("pre_tokenizer"), "pretokenizers")):
        problems.append(
            "The pre-tokenizer in tokenizer.json is not Qwen's (its split pattern, then byte level without a space "
            f"in front), so texts would be cut into other tokens than the model was trained on. {_ADVICE}"
        )
    return problems


def _steps(part: object, key: str) -> list[Mapping[str, Any]]:
    if not isinstance(part, dict):
        return []
    steps = part.get(key) if part.get("type") == "Sequence" else [part]
    return [step if isinstance(step, dict) else {} for step in (steps if isinstance(steps, list) else ())]


def _is_qwens_pre_tokenizer(steps: list[Mapping[str, Any]]) -> bool:
    if [step.get("type") for step in steps] != ["Split", "ByteLevel"]:
        return False
    split, letters = steps
    return (
        split.get("pattern") == {"Regex": _PATTERN}
        and split.get("behavior") == "Isolated"
        and not split.get("invert")
        and not letters.get("add_prefix_space")
        and not letters.get("use_regex", True)
    )


def _end_token(post_processor: object) -> tuple[str, list[str]]:
    """Returns the token that stands behind every text, and a sentence where something else is done to texts."""
    steps = [step for step in _steps(post_processor, "processors") if step.get("type") != "ByteLevel"]
    singles = [step.get("single") for step in steps if step.get("type") == "TemplateProcessing"]
    if not steps:
        return "", []
    if len(steps) == len(singles) == 1 and isinstance(singles[0], list):
        parts = [part for part in singles[0] if isinstance(part, dict)]
        names = [part["SpecialToken"].get("id") for part in parts if isinstance(part.get("SpecialToken"), dict)]
        if len(parts) == len(singles[0]) and "Sequence" in parts[0] and len(names) == len(parts) - 1 <= 1:
            return (str(names[0]) if names else ""), []
    return "", [
        "The post-processor in tokenizer.json does something else than to put one token, or none, behind a text, "
        f"which a GGUF cannot carry. {_ADVICE}"
    ]


def _tokens(model: Mapping[str, Any], added: object, rows: int | None) -> tuple[dict[int, str], dict[int, int]]:
    """Returns texts and types by id."""
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise ConversionError(["added_tokens in tokenizer.json is not a list. Download it again."])
    entries = [(text, index, NORMAL) for text, index in model["vocab"].items()]
    entries += [(token.get("content"), token.get("id"), _added_type(token)) for token in added]
    broken = [text for text, index, _ in entries if not text or not isinstance(text, str) or type(index) is not int]
    if broken:
        raise ConversionError([f"tokenizer.json has tokens without a text or an id: {broken[:3]}. Download it again."])
    beyond = [text for text, index, _ in entries if index < 0 or (rows is not None and index >= rows)]
    if beyond:
        raise ConversionError(
            [
                f"{len(beyond)} tokens of tokenizer.json ({listed(beyond)}) have ids beyond vocab_size in config.json, "
                f"{rows}. The tokenizer and the weights are of different models."
            ]
        )
    tokens: dict[int, str] = {}
    types: dict[int, int] = {}
    for text, index, kind in entries:
        if tokens.setdefault(index, text) != text:
            raise ConversionError([f"tokenizer.json gives the id {index} to {tokens[index]!r} and to {text!r}."])
        types[index] = kind
    texts = set(tokens.values())
    if len(texts) != len(tokens) or any(f"[PAD{i}]" in texts for i in range(max(tokens)) if i not in tokens):
        raise ConversionError(["tokenizer.json gives two ids to one token. Download it again."])
    return tokens, types


def _added_type(token: Mapping[str, Any]) -> int:
    # Qwen marks tokens such as <|fim_prefix|> as ordinary; no text of a user should ever become one.
    text = str(token.get("content"))
    return CONTROL if token.get("special") or (text.startswith("<|") and text.endswith("|>")) else USER_DEFINED


def _merges(merges: object, vocab: frozenset[str]) -> list[str]:
    """Returns the merges as "a b"; tokenizers writes them so or, since 0.20, as pairs."""
    if not isinstance(merges, list):
        raise ConversionError([f"tokenizer.json has no merges. {_ADVICE}"])
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    for rank, pair in enumerate(pairs):
        whole = isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        if not whole or pair[0] not in vocab or pair[1] not in vocab or pair[0] + pair[1] not in vocab:
            raise ConversionError(
                [f"Merge {rank} of tokenizer.json, {pair!r}, joins no two tokens. Download it again."]
            )
    return [f"{first} {second}" for first, second in pairs]
