"""Bodies of requests: read within the limits and checked against a shape, off the event loop where they are large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .error_responses import Dialect, ProblemError, documented
from .fields import Shape
from .off_loop import off_loop

S = TypeVar("S", bound=Shape)


async def read(request: Request, shape: type[S], *, check: bool = True) -> S:
    """Returns the body as a shape; without ``check`` fields that the shape does not have are left alone.

    Raises:
        ProblemError: unreadable, too large, too slow, or of another shape; names the field.
    """
    body = await request.body()
    try:
        found: S = await off_loop(len(body), shape.model_validate_json, body)
    except ValidationError as error:
        raise _problem(error.errors(include_url=False, include_input=False), shape) from None
    if check:
        found.check()
    return found


def described(answer: str, schema: dict[str, Any], *dialects: Dialect, body: Any = None) -> dict[str, Any]:
    """Returns what the OpenAPI document says of an endpoint, as arguments of its decorator.

    Args:
        answer: what comes back, in words.
        schema: of that.
        dialects: in whose words it refuses.
        body: the shape of its requests, or shapes joined with ``|``; None for an endpoint without.
    """
    content = {"application/json": {"schema": schema}}
    said: dict[str, Any] = {"responses": {200: {"description": answer, "content": content}, **documented(*dialects)}}
    if body is not None:
        shape = TypeAdapter(body).json_schema()
        content = {"application/json": {"schema": _inlined(shape, shape.pop("$defs", {}))}}
        said["openapi_extra"] = {"requestBody": {"required": True, "content": content}}
    return said


def _inlined(part: Any, definitions: dict[str, Any]) -> Any:
    """Returns a part of a schema with what it refers to in its place: the document has other roots for references."""
    if isinstance(part, list):
        return [_inlined(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(definitions[part["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(item, definitions) for name, item in part.items()}


def _problem(errors: Sequence[ErrorDetails], shape: type[Shape]) -> ProblemError:
    first = errors[0]
    if first["type"] == "json_invalid":
        return ProblemError("unreadable", f"The body is no JSON that can be read: {first['msg']}.")
    if not first["loc"]:
        return ProblemError("invalid", f"The body: {first['msg']}.")
    name = str(first["loc"][0])
    several = sum(error["loc"][:1] == first["loc"][:1] for error in errors) > 1
    field = shape.model_fields.get(name)
    if several and field is not None and field.description:
        return ProblemError("invalid", f"{name!r} is none of what is allowed: {field.description}", param=name)
    place = ".".join(map(str, first["loc"]))
    return ProblemError("invalid", f"{place!r}: {first['msg']}.", param=name)
