"""Write docs/reference/http.md from the OpenAPI descriptions of the two servers, so that it cannot say anything else.

The same descriptions make the page at /docs, which also has examples to copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from upscale_server.metrics import Metrics
from upscale_server.service import VideoService
from upscale_server.service.image import ImageService
from upscale_server.settings import Settings
from upscale_server.web import image_app, video_app

Json = dict[str, Any]  # OpenAPI's own JSON values


@dataclass(frozen=True, slots=True)
class _Unstarted:
    """What an application is made with where it only tells what it would answer."""

    settings: Settings
    metrics: Metrics


def http_page() -> str:
    """Return docs/reference/http.md."""
    unstarted = _Unstarted(Settings(), Metrics("none", tuple))
    video = video_app.create_app(cast("VideoService", unstarted)).openapi()
    image = image_app.create_app(cast("ImageService", unstarted)).openapi()
    rows = [
        "# HTTP",
        "",
        "Every route of both servers. Where keys are set, send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
        "Failures are problem objects with a `code` ([errors](errors.md)); every reply carries `X-Request-ID`. The",
        "same with examples to copy is at `/docs` of a running server, the OpenAPI description at `/openapi.json`.",
        "Written by `make docs` from the routes themselves.",
        "",
    ]
    for title, description in (("Video server (port 29115)", video), ("Image server (port 8090)", image)):
        rows += [f"## {title}", ""]
        for path, methods in description["paths"].items():
            for method, route in methods.items():
                if method != "head":
                    rows += _route(f"{method.upper()} {path}", route, description)
    return "\n".join(rows)


def _route(name: str, route: Json, description: Json) -> list[str]:
    rows = [f"### `{name}`", "", _one_line(route.get("description", "")), ""]
    rows += _table("parameter", [_parameter(one) for one in route.get("parameters", [])])
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        rows += _table(f"{kind}", _fields(content.get("schema", {}), description))
    for status, reply in route.get("responses", {}).items():
        schema = reply.get("content", {}).get("application/json", {}).get("schema", {})
        if status.startswith("2"):
            rows += _table(f"{status}: field", _fields(schema, description))
    return rows


def _table(head: str, rows: list[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    return [f"| {head} | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows), ""]


def _parameter(one: Json) -> tuple[str, str]:
    return one["name"], _one_line(f"in the {one['in']}. {one.get('description', '')}")


def _fields(schema: Json, description: Json) -> list[tuple[str, str]]:
    schema = _resolved(schema, description)
    rows = []
    for name, one in schema.get("properties", {}).items():
        words = [_kind(one, description), one.get("description", "")]
        if one.get("default") is not None:
            words.append(f"Default: `{one['default']}`.")
        rows.append((name, _one_line(" ".join(word for word in words if word))))
    return rows


def _kind(one: Json, description: Json) -> str:
    """Return a field's type in a word, in italics; what may be null is said."""
    kinds = one.get("anyOf", [one])
    names = [_name_of(kind, description) for kind in kinds]
    return f"*{' or '.join(dict.fromkeys(names))}.*"


def _name_of(kind: Json, description: Json) -> str:
    if "$ref" in kind:
        return _name_of(_resolved(kind, description), description)
    if kind.get("type") == "array":
        return f"list of {_name_of(kind.get('items', {}), description)}"
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if "const" in kind:
        return f"`{kind['const']}`"
    if kind.get("type") == "object" and kind.get("title") and "properties" in kind:
        return f"{kind['title']} ({', '.join(kind['properties'])})"
    return {"integer": "whole number", "string": "text", "boolean": "true or false"}.get(
        str(kind.get("type", "any")), str(kind.get("type", "any"))
    )


def _resolved(schema: Json, description: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Json = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
