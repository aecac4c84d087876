"""Keyword arguments that are handed on: written once, and shown by help and completion everywhere.

A method that hands them on takes ``**options: Unpack[…]``, which type checkers read; help(), IPython and documentation
read the signature that `shows_keywords_of` gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def shows_keywords_of(source: Callable[..., Any], *, but: str = "") -> Callable[[Method], Method]:
    """Returns a decorator that shows the keywords of ``source``, one left out, in the place of ``**options``."""
    keywords = [one for one in signature(source).parameters.values() if one.kind is Parameter.KEYWORD_ONLY]

    def show(method: Method) -> Method:
        own = signature(method)
        kept = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        shown = [*kept, *(one for one in keywords if one.name not in (*own.parameters, but))]
        method.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        return method

    return show
