"""A checkpoint's chat template, and what it makes of messages.

It is rendered as transformers and sentence-transformers render it, in jinja2's sandbox, because a template is a program
of whoever made the checkpoint. This file does not know what a reranker is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox

from .config import read_json_object
from qsift.errors import ConversionError
from qsift.models import END_OF_TEXT

_SPECIAL_TOKENS = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_DEFAULTS = dict.fromkeys(("unk_token", "eos_token", "pad_token"), END_OF_TEXT)
"""What Qwen's tokenizer class in transformers takes where tokenizer_config.json says nothing."""


class TemplateProblem(Exception):
    """A template that was not rendered; its message is the reason, without a full stop."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template in jinja2.

    Attributes:
        compiled: the template.
        variables: what it sees beside the messages.
    """

    compiled: jinja2.Template
    variables: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path, settings: Mapping[str, Any]) -> ChatTemplate | None:
        """Returns the template in ``folder``, or None: chat_template.jinja, or else that of tokenizer_config.json.

        Args:
            folder: the checkpoint.
            settings: variables that the model's settings give to its template.

        Raises:
            ConversionError: a file that cannot be read, or a text that is no template.
        """
        config = read_json_object(folder / "tokenizer_config.json") if _exists(folder, "tokenizer_config.json") else {}
        text = config.get("chat_template")
        if isinstance(text, list):
            named = [entry for entry in text if isinstance(entry, dict) and entry.get("name") == "default"]
            text = named[0].get("template") if named else None
        if _exists(folder, "chat_template.jinja"):
            text = _read_text(folder / "chat_template.jinja")
        if text is None:
            return None
        if not isinstance(text, str):
            raise ConversionError([f"chat_template in tokenizer_config.json is a {type(text).__name__}, not a text."])
        tokens = {name: config.get(name, _DEFAULTS.get(name)) for name in _SPECIAL_TOKENS}
        texts = {name: token.get("content") if isinstance(token, dict) else token for name, token in tokens.items()}
        given = {name: token for name, token in texts.items() if token is not None}
        always = {"tools": None, "documents": None, "add_generation_prompt": False}
        try:
            return cls(_environment().from_string(text), {**always, **given, **settings})
        except jinja2.TemplateSyntaxError as error:
            raise ConversionError(
                [f"The chat template is broken in line {error.lineno} ({error.message}). Download it again."]
            ) from error

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Returns the text of messages.

        Raises:
            TemplateProblem: the template refuses them, or asks for what is no part of a prompt.
        """
        try:
            return self.compiled.render(messages=messages, **self.variables)
        except Exception as error:  # a template is a program, and can fail in every way that one can
            raise TemplateProblem(f"{type(error).__name__}: {error}".rstrip(". \n")) from error


def _environment() -> jinja2.Environment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _raise, "strftime_now": _no_clock}
    return environment


class _Generation(jinja2.ext.Extension):
    """The tag that marks a model's own words for training; it changes no text."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 has it

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    # jinja2's own writes for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _no_clock(_: str) -> NoReturn:
    raise jinja2.TemplateError("it writes today's date into the prompt")


def _exists(folder: Path, name: str) -> bool:
    return (folder / name).exists()


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConversionError([f"{path.name} cannot be read: {error}."]) from error
