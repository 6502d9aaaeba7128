"""Reads JSON bodies strictly: of a bounded size, of the right type, with no field twice and none that does not exist.

Files are received by `uploads`; the shapes stand in `wire`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from upscale_server.errors import BadRequest, RequestTooLarge, WrongContentType
from upscale_server.web.faults import checked_by, shorten

MAX_JSON_BYTES = 65_536
"""Largest JSON body: a request is a few addresses long, each of 4096 characters at most."""
_READ_AWAY_BYTES = 32 << 20
"""How much of a body that is too large is still read, so that its sender finishes and sees the answer."""

Body = TypeVar("Body", bound=BaseModel)


def body_of(shape: type[Body]) -> Callable[[Request], Coroutine[Any, Any, Body]]:
    """Return a dependency that gives a route its JSON body."""

    async def body(request: Request) -> Body:
        return checked(shape, await json_in(request))

    return body


def documented(*shapes: type[BaseModel], **others: dict[str, Any]) -> dict[str, Any]:  # OpenAPI's own JSON values
    """Return what the documentation says of a route whose body is read here."""
    forms = [shape.model_json_schema() for shape in shapes]
    content: dict[str, Any] = {"application/json": {"schema": forms[0]}}
    examples = forms[0].pop("examples", [])
    if examples:
        named = {f"example {place}": {"value": value} for place, value in enumerate(examples, 1)}
        content["application/json"]["examples"] = named
    return {"requestBody": {"required": True, "content": content | others}}


def checked(shape: type[Body], given: object) -> Body:
    """Return a body in its shape.

    Raises:
        BadRequest: naming the field, its value and what was expected.
    """
    try:
        return shape.model_validate(given)
    except ValidationError as err:
        raise checked_by(err) from err


async def json_in(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request carries.

    Raises:
        WrongContentType, RequestTooLarge: not declared as JSON, or too large.
        BadRequest: no JSON object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WrongContentType(f"the content type is {shorten(kind) if kind else 'missing'}; expected application/json")
    try:
        value = json.loads(await _bounded(request), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as err:
        raise BadRequest(f"the body is no JSON: {_why(err)}") from err
    if not isinstance(value, dict):
        raise BadRequest(f"the body is {shorten(value)}; expected a JSON object")
    return value


async def _bounded(request: Request) -> bytes:
    kept, seen = bytearray(), 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen <= MAX_JSON_BYTES:
            kept += chunk
        if seen > _READ_AWAY_BYTES:
            break
    if seen > MAX_JSON_BYTES:
        raise RequestTooLarge(f"the body has more than {MAX_JSON_BYTES} bytes, the limit for JSON")
    return bytes(kept)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object and refuse a name that comes twice: two readers would disagree about which one counts."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"field {shorten(name)} is there twice")
        found[name] = value
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"there is no number {name} in JSON")


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    text = str(error)
    return text[0].lower() + text[1:] if text else type(error).__name__
