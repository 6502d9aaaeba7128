"""The documentation at /docs: one page made from the OpenAPI description, which loads nothing from anywhere.

A server without internet shows it too. The description itself is at /openapi.json.
"""

from __future__ import annotations

import html
import json
from functools import lru_cache
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h2{margin-top:2.5rem;font-size:1.1rem;font-family:ui-monospace,monospace}pre{background:#f4f4f4;padding:.8rem;"
    "overflow:auto;font-size:.85rem}td,th{text-align:left;vertical-align:top;padding:.15rem 1rem .15rem 0}"
    "code{font-size:.9em}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#252525}"
    "a{color:#8ab4f8}}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"

Json = dict[str, Any]  # OpenAPI's own JSON values


@router.get("/openapi.json")
def description(request: Request) -> Response:  # not async: it is written in a thread
    """Give the OpenAPI description."""
    return Response(_written(request.app), media_type="application/json")


@lru_cache(maxsize=1)
def _written(app: FastAPI) -> bytes:
    """Return the description, which stays as it is: to write it anew held all others up for 2 ms each time."""
    return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> HTMLResponse:  # not async: the page is made in a thread
    """Show what can be asked, with examples."""
    return HTMLResponse(
        page_of(request.app.openapi(), str(request.base_url).rstrip("/")), headers={"Content-Security-Policy": _POLICY}
    )


def page_of(description: Json, address: str) -> str:
    """Return the page of an OpenAPI description, for a server at this address."""
    about = description["info"]
    routes = "".join(
        _route(method, path, route, address)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
        if method != "head"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(about['title'])}</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
        f"<h1>{_text(about['title'])} {_text(about['version'])}</h1><p>{_text(about['description'])}</p>"
        f"<p><a href=/openapi.json>OpenAPI description</a></p>{routes}</html>"
    )


def _route(method: str, path: str, route: Json, address: str) -> str:
    content = route.get("requestBody", {}).get("content", {})
    taken = content.get("application/json", {})
    parts = [f"<h2>{method.upper()} {_text(path)}</h2><p>{_text(route.get('description', ''))}</p>"]
    parts.append(_table([_parameter(one) for one in route.get("parameters", [])]))
    parts.append(_table([_field(name, one) for name, one in taken.get("schema", {}).get("properties", {}).items()]))
    if len(content) > 1:
        parts.append(f"<p>Also taken: {_text(', '.join(kind for kind in content if kind != 'application/json'))}</p>")
    parts += [_example(method, f"{address}{path}", one["value"]) for one in taken.get("examples", {}).values()]
    parts += [f"<pre>{_text(one.replace('{address}', address))}</pre>" for one in route.get("x-commands", [])]
    return "".join(parts)


def _parameter(one: Json) -> tuple[str, str]:
    return f"{one['name']} (in {one['in']})", one.get("description", "")


def _field(name: str, one: Json) -> tuple[str, str]:
    default = f" Default: {json.dumps(one['default'])}." if one.get("default") is not None else ""
    return name, f"{one.get('description', '')}{default}"


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td><code>{_text(name)}</code><td>{_text(about)}" for name, about in rows)
    return f"<table>{cells}</table>" if cells else ""


def _example(method: str, url: str, body: Json) -> str:
    call = f"curl -X {method.upper()} {url} -H 'Content-Type: application/json' -d '"
    return f"<pre>{_text(call + json.dumps(body, indent=2))}'</pre>"


def _text(text: str) -> str:
    return html.escape(text).replace("\n\n", "<br><br>")
