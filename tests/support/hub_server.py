"""A model hub on loopback: the few routes that `huggingface_hub` uses to look at a repository and to fetch its files.

It can be gated, forget a file, cut one short and break a download off; it knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(slots=True)
class StandInHub:
    """A running hub; `files` are the contents by repository and name."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    """Hand files out only with the token `hf_good`."""
    others: dict[str, bytes] = field(default_factory=dict)
    """Bytes that are sent for a name in place of what the listing describes."""
    break_off: set[str] = field(default_factory=set)
    """Names whose next download ends in the middle."""
    fetched: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    ranges: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: StandInHub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer()

    def do_GET(self) -> None:
        """Answer."""
        self._answer()

    def _answer(self) -> None:
        self.state.tokens.add(self.headers.get("authorization", ""))
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._listing(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[3])
        else:
            self._send(404, b"{}")

    def _listing(self, repository: str, revision: str) -> None:
        files = self.state.files.get(repository)
        if files is None:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return
        if revision not in ("main", COMMIT):
            self._send(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": name, "size": len(content), **_lfs(name, content)} for name, content in files.items()]
        about = {"_id": "0", "id": repository, "modelId": repository, "sha": COMMIT, "private": False, "tags": []}
        body = about | {"gated": "auto" if self.state.gated else False, "siblings": siblings}
        self._send(200, json.dumps(body).encode())

    def _file(self, repository: str, name: str) -> None:
        if self.state.gated and self.headers.get("authorization") != "Bearer hf_good":
            self._send(401, b"Access to model is restricted", {"X-Error-Code": "GatedRepo"})
            return
        content = self.state.files.get(repository, {}).get(name)
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        tag = hashlib.sha256(content).hexdigest()
        content = self.state.others.get(name, content)
        known = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        asked = self.headers.get("range")
        if self.command == "GET":
            self.state.fetched.append(f"{repository}/{name}")
        begin = int(re.fullmatch(r"bytes=(\d+)-.*", asked)[1]) if asked else 0  # type: ignore[index]
        if begin:
            self.state.ranges.append(asked or "")
            known["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(206 if begin else 200, content[begin:], known, name)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, name: str = "") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if name in self.state.break_off and len(body) > 1:
            self.state.break_off.discard(name)
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(body)


def _lfs(name: str, content: bytes) -> dict[str, object]:
    """Return what the hub tells of a large file; it keeps no SHA-256 of small ones."""
    if not name.endswith((".safetensors", ".pt")):
        return {}
    return {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}


@contextmanager
def hub(**files: dict[str, bytes]) -> Iterator[StandInHub]:
    """Run a hub as long as this lasts; a repository `owner__name` stands for owner/name."""
    state = StandInHub(files={name.replace("__", "/"): content for name, content in files.items()})
    handler = type("Bound", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
