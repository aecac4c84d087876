"""Keyword arguments that are handed on: written once, and shown by help and completion everywhere.

A method that hands them on takes ``**options: Unpack[…]``, which type checkers read; help(), IPython and documentation
read the signature that `shows_keywords_of` gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


def shows_keywords_of(source: Callable[..., Any], *, but: str = "") -> Callable[[Method], Method]:
    """Returns a decorator that shows the keywords of ``source``, one left out, in the place of ``**options``.

    Any other keyword is a TypeError that names the method, before the method begins.
    """
    keywords = [one for one in signature(source).parameters.values() if one.kind is Parameter.KEYWORD_ONLY]

    def show(method: Method) -> Method:
        own = signature(method)
        kept = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        shown = own.replace(parameters=[*kept, *(k for k in keywords if k.name not in (*own.parameters, but))])

        @wraps(method)
        def checked(*arguments: Any, **options: Any) -> Any:
            if unknown := options.keys() - shown.parameters.keys():
                raise TypeError(f"{method.__qualname__}() got an unexpected keyword argument {min(unknown)!r}")
            return method(*arguments, **options)

        checked.__signature__ = shown  # type: ignore[attr-defined]
        types = {
            name: one.annotation for name, one in shown.parameters.items() if one.annotation is not Parameter.empty
        }
        checked.__annotations__ = {**types, "return": shown.return_annotation}
        return cast(Method, checked)

    return show
