"""The page that a person sees at `/`, and the files it is made of under `/static/`; none comes from outside.

What a page does stands in its own files; the documentation at `/docs` is `api_page`'s. The files are read once, so that
no name from outside is ever turned into a path; what all pages have (`page_parts`) is put into them then.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from upscale_server.errors import NotFound

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page may load and run: our own files, and pictures and films that it has fetched itself."""

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PART = re.compile(rb" *<!-- part: (\w+) -->\n")
"""A line of a page in whose place one of the shared parts is put."""
_LINKS = {"documentation": "/docs", "openapi": "/openapi.json", "health": "/health", "statistics": "/stats"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of the page as it is sent; `etag` changes with its bytes."""

    content: bytes
    kind: str
    etag: str


@cache
def static_files() -> MappingProxyType[str, StaticFile]:
    """Return the files of the package's folder `static` by name; those of kinds that a page has no use for stay out."""
    found = {}
    parts = _parts()
    for one in (resources.files("upscale_server.web") / "static").iterdir():
        kind = _KINDS.get(f".{one.name.rpartition('.')[2]}")
        if kind and one.is_file():
            content = one.read_bytes()
            if one.name.endswith(".html"):
                content = _PART.sub(lambda line: parts[line[1].decode()], content)
            found[one.name] = StaticFile(content, kind, hashlib.sha256(content).hexdigest()[:32])
    return MappingProxyType(found)


def _parts() -> dict[str, bytes]:
    """Return what all pages have, by name: the head, what stands above a page and what stands below it."""
    folder = resources.files("upscale_server.web") / "page_parts"
    return {one.name.removesuffix(".html"): one.read_bytes() for one in folder.iterdir() if one.name.endswith(".html")}


def page_router(name: str) -> APIRouter:
    """Return the routes of a server whose page is the file `name`."""
    router = APIRouter(include_in_schema=False)

    @router.head("/")
    @router.get("/")
    def page(request: Request) -> Response:
        """Show the page; who asks for JSON alone is told where things are."""
        if _wants_json(request):
            return JSONResponse({"name": request.app.title, "links": _LINKS}, headers={"Vary": "Accept"})
        return _sent(request, static_files()[name], {"Content-Security-Policy": POLICY, "Vary": "Accept"})

    @router.head("/static/{file_name}")
    @router.get("/static/{file_name}")
    def static(request: Request, file_name: str) -> Response:
        """Give a file of the page."""
        file = static_files().get(file_name)
        if file is None:
            raise NotFound(f"there is nothing at {request.url.path}", hint="/docs lists what there is")
        return _sent(request, file, {"Content-Security-Policy": POLICY})

    return router


def _sent(request: Request, file: StaticFile, headers: dict[str, str]) -> Response:
    """Return a file, or that the reader has it already: after an update nobody sees half of the older page."""
    all_headers = headers | {
        "ETag": f'"{file.etag}"',
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if f'"{file.etag}"' in known:
        return Response(status_code=304, headers=all_headers)
    return Response(file.content, headers=all_headers, media_type=file.kind)


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted
