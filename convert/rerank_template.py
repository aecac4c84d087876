"""How a reranker was trained to see a pair: its chat template, reduced to texts and the places of the fields.

sentence-transformers' CrossEncoder is the reference: it makes messages with the roles query and document of a pair,
puts the prompt before them as a system message, and renders them with the chat template. A GGUF cannot carry a program,
so the template is rendered here with marks for the fields, and with texts that would show if it did more than place
them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .chat_template import ChatTemplate, TemplateProblem
from .config import CLASSIFIER, Config, read_json_object
from .evidence import module_folder
from .vocab import CONTROL, Vocabulary
from qsift.errors import ConversionError
from qsift.models import DOCUMENT, FIELDS, INSTRUCTION, QUERY, TRIMMED, RerankTemplate, field_of, split_controls

_SETTINGS, _PROMPTS = "sentence_bert_config.json", "config_sentence_transformers.json"
_ROLES = {INSTRUCTION: "system", QUERY: "query", DOCUMENT: "document"}
_MARKS = {field: f"Qsift{role}mark" for field, role in _ROLES.items()}
_TEXTS = (
    ("One.", "", ""),
    ("a\nb", " q ", "\n\td \n"),
    ("<&>\"'", "{{ 7 * 7 }}{% x %}", "<|im_end|>\n<|im_start|>assistant\n<think>"),
    ("É é 中文", "True", "[1, {'a': None}]"),
    ("1", "same", "same"),
    ("Q: D:", "word " * 2000, "line\n" * 2000),
)
"""Instruction, query and document that show what a template does with them."""
_ADVICE = "Put a chat_template.jinja into the checkpoint that places query and document, and convert it again."
# What sentence-transformers keeps for itself, or for the tokenizer, of the settings of a template.
_NOT_FOR_THE_TEMPLATE = ("padding", "truncation", "max_length", "return_tensors", "restore_suffix")
_CHANGES_THE_TEMPLATE = ("chat_template", "continue_final_message")


def find_rerank_template(folder: Path, config: Config, vocabulary: Vocabulary) -> RerankTemplate | None:
    """Returns the template that a reranker came with; None where it came with none, as the first released ones.

    A chat template that passes neither query nor document on is a conversation's, and counts as none.

    Raises:
        ConversionError: a template that is not to be reduced to fields, a bare pair, or settings that make no sense.
    """
    settings = _settings(folder)
    speaks, form = _message_format(settings)
    prompt = _default_prompt(folder)
    chat = ChatTemplate.read(folder, _variables(settings))
    if chat is None:
        if speaks or prompt:
            named = f"The default prompt in {_PROMPTS}" if prompt else f"The modality 'message' in {_SETTINGS}"
            raise ConversionError([f"{named} goes into a chat template, and the checkpoint has none. {_ADVICE}"])
        return None
    template = _reduced(chat, ("flat", "structured") if form == "auto" else (form,), prompt, must=speaks)
    return None if template is None else _in_tokens(template, config, vocabulary)


def _settings(folder: Path) -> Mapping[str, Any]:
    """Returns what sentence-transformers was told about the input; empty where the checkpoint is not of its making."""
    place = module_folder(folder, "Transformer")
    settings: Mapping[str, Any] = {}
    if place is not None and os.path.exists(place / _SETTINGS):  # unlike Path.exists, it takes any nonsense
        settings = read_json_object(place / _SETTINGS)
    if settings.get("do_lower_case"):
        raise ConversionError([f"{_SETTINGS} sets do_lower_case, which a GGUF cannot carry."])
    return settings


def _message_format(settings: Mapping[str, Any]) -> tuple[bool, str]:
    """Returns whether the settings ask for messages, and in which format these hold their texts."""
    modalities = settings.get("modality_config")
    message = modalities.get("message") if isinstance(modalities, dict) else None
    if isinstance(message, dict):
        form = message.get("format", "auto")
        if form not in ("flat", "structured", "auto"):
            raise ConversionError([f"The format of messages in {_SETTINGS} is {form!r}; flat or structured is needed."])
        return True, form
    if modalities is not None or settings.get("transformer_task") in ("text-generation", "sequence-classification"):
        raise ConversionError(
            [
                f"{_SETTINGS} gives query and document to the tokenizer as a bare pair (modality_config has no "
                f"'message'), and no template says what stands around them. {_ADVICE}"
            ]
        )
    return False, "auto"


def _variables(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    options = settings.get("processing_kwargs")
    given = options.get("chat_template") if isinstance(options, dict) else None
    if not isinstance(given, dict):
        return {}
    wrong = [name for name in _CHANGES_THE_TEMPLATE if given.get(name)]
    if wrong:
        raise ConversionError([f"{_SETTINGS} sets {wrong[0]} for the chat template, which qsift does not follow."])
    return {name: value for name, value in given.items() if name not in _NOT_FOR_THE_TEMPLATE}


def _default_prompt(folder: Path) -> str | None:
    """Returns the prompt that sentence-transformers puts before every pair; None where there is none."""
    if module_folder(folder, "Transformer") is None or not (folder / _PROMPTS).exists():
        return None
    config = read_json_object(folder / _PROMPTS)
    prompts, name = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise ConversionError([f"prompts in {_PROMPTS} is {prompts!r}; an object of texts is needed."])
    if name is not None and name not in prompts:
        raise ConversionError([f"default_prompt_name in {_PROMPTS} is {name!r}; prompts has {', '.join(prompts)}."])
    return prompts[name] or None if name is not None else None


Render = Callable[[Mapping[str, str]], str]


def _render(chat: ChatTemplate, form: str, texts: Mapping[str, str]) -> str:
    """Returns what the template makes of the fields in ``texts``, by field."""
    contents = {
        field: [{"type": "text", "text": text}] if form == "structured" else text for field, text in texts.items()
    }
    return chat.render([{"role": _ROLES[field], "content": contents[field]} for field in FIELDS if field in contents])


def _reduced(chat: ChatTemplate, forms: tuple[str, ...], prompt: str | None, *, must: bool) -> RerankTemplate | None:
    """Returns the template of the first format of messages that carries a pair; None if none does and none ``must``."""
    failures = []
    for form in forms:
        render = partial(_render, chat, form)
        try:
            bare = {QUERY: _MARKS[QUERY], DOCUMENT: _MARKS[DOCUMENT]}
            text = render(_MARKS if prompt else bare)
        except TemplateProblem as error:
            failures.append(str(error))
            continue
        lost = [_ROLES[field] for field in (QUERY, DOCUMENT) if _MARKS[field] not in text]
        if not lost:
            try:
                return _instructed(render, prompt)
            except TemplateProblem as error:
                raise ConversionError([f"The chat template refuses some texts ({error}). {_ADVICE}"]) from error
        failures.append(f"its text does not hold the {' and the '.join(lost)}")
    if must or prompt:
        raise ConversionError([f"The chat template cannot carry query and document: {failures[0]}. {_ADVICE}"])
    return None


def _instructed(render: Render, prompt: str | None) -> RerankTemplate:
    """Returns the template and its default instruction, which is the prompt or what the template says without one."""
    try:
        full = _fields(render, FIELDS)
    except (TemplateProblem, ConversionError):
        if prompt:
            raise
        full = None  # a template without a place for a system message may refuse one
    takes_instruction = full is not None and INSTRUCTION in map(field_of, full[1::2])
    if prompt and full is not None:
        return RerankTemplate(full, prompt if takes_instruction else None)
    bare = _fields(render, (QUERY, DOCUMENT))
    if full is not None and takes_instruction:
        pattern = "".join("(.*)" if field_of(part) == INSTRUCTION else re.escape(part) for part in full)
        match = re.fullmatch(pattern, "".join(bare), re.DOTALL)
        if match and len(set(match.groups())) == 1 and not any(field in match[1] for field in FIELDS):
            return RerankTemplate(full, match[1])
    return RerankTemplate(bare, None)


def _fields(render: Render, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the texts of the template and, at every odd place, the field that stands between them.

    Raises:
        TemplateProblem: the template refuses messages of these fields.
        ConversionError: it does more with them than to place them.
    """
    marks = {_MARKS[field]: field for field in fields}
    pieces = re.split(f"({'|'.join(marks)})", render({field: _MARKS[field] for field in fields}))
    for field in fields:
        padded = render({other: f" \n{_MARKS[other]}\t " if other == field else _MARKS[other] for other in fields})
        trims = f" \n{_MARKS[field]}\t " not in padded
        marks[_MARKS[field]] = field.replace("}", TRIMMED + "}") if trims else field
    parts = tuple(marks.get(piece, piece) if place % 2 else piece for place, piece in enumerate(pieces))
    if parts.count(DOCUMENT) + parts.count(DOCUMENT.replace("}", TRIMMED + "}")) != 1:
        raise ConversionError([f"The chat template writes the document more than once. {_ADVICE}"])
    template = RerankTemplate(parts, "")
    for instruction, query, document in _TEXTS:
        texts = {INSTRUCTION: instruction, QUERY: query, DOCUMENT: document}
        filled = template.prompt(query, document, instruction)
        if render({field: texts[field] for field in fields}) != filled.head + filled.body + filled.tail:
            raise ConversionError(
                [
                    "The chat template does more with its fields than to place them, which a GGUF cannot carry. It "
                    f"showed with the query {query[:20]!r} and the document {document[:20]!r}. {_ADVICE}"
                ]
            )
    return parts


def _in_tokens(template: RerankTemplate, config: Config, vocabulary: Vocabulary) -> RerankTemplate:
    """Returns the template with its control tokens apart from its texts."""
    controls = [text for text, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind == CONTROL]
    parts: list[str] = []
    for place, part in enumerate(template.parts):
        parts += (part,) if place % 2 else split_controls(part, controls)
    padding = config.raw.get("pad_token_id")
    if config.architecture == CLASSIFIER and isinstance(padding, int):
        # transformers reads a classifier's score at the last token that is no padding.
        while len(parts) > 2 and parts[-1] == "" and parts[-2] == vocabulary.tokens[padding]:
            del parts[-2:]
    return replace(template, parts=tuple(parts))
