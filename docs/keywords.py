"""An extension of griffe: methods show the keywords that they hand on, as help() does.

`shows_keywords_of` in src/qsift/text/keywords.py gives them their signatures at run time; the API reference is made
from the source, where nothing runs.
"""

from __future__ import annotations

from typing import Any

from griffe import Class, Extension, Function, Object, ParameterKind, Parameters


class ShownKeywords(Extension):
    """Puts the keywords of a decorator's function in the place of ``**options``."""

    def on_package(self, *, pkg: Object, **_: Any) -> None:
        """Goes through all classes of a package."""
        for member in list(pkg.members.values()):
            if isinstance(member, Class):
                for method in member.members.values():
                    if isinstance(method, Function):
                        _show(method, member)
            elif isinstance(member, Object) and member.is_module:
                self.on_package(pkg=member)


def _show(method: Function, owner: Class) -> None:
    for decorator in method.decorators:
        call = str(decorator.value)
        if call.startswith("shows_keywords_of("):
            name, _, but = call.removeprefix("shows_keywords_of(").rstrip(")").partition(", but=")
            source = owner.members[name]
            assert isinstance(source, Function)
            own = [one for one in method.parameters if one.kind is not ParameterKind.var_keyword]
            hidden = {one.name for one in own} | {but.strip("'\"")}
            shown = [one for one in source.parameters if one.kind is ParameterKind.keyword_only]
            method.parameters = Parameters(*own, *(one for one in shown if one.name not in hidden))
