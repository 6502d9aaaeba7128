"""The work that a server is given while it is watched for leaks: two good jobs, then a bad one, of all kinds in turn.

It asks over HTTP and removes what it made; whether anything stayed is looked at elsewhere.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import httpx

from tests.support.image_served import picture_file
from tests.support.killing import wait_until
from tests.support.planted import CRASHES
from tests.support.scrape import read

_CROWD = 24
_SECONDS = 300.0
"""Longest wait for an answer on a busy machine; a limit and no expectation."""

_NOT_MEDIA = b"<!doctype html><html><body>no such video</body></html>" * 20


class Work(Protocol):
    """One kind of server's jobs; `bad_ends` is how the bad ones end, in their order."""

    bad_ends: tuple[str, ...]

    def one(self, number: int) -> str:
        """Do one and return how it ended: `succeeded`, or the code of its failure."""

    def crowd(self) -> None:
        """Ask many things at once, so that what a server keeps for so many callers is there from the beginning."""

    def close_connections(self) -> None:
        """Leave the server without clients."""


class Videos:
    """Jobs of a video server: by address and as an upload.

    Args:
        url: of the server.
        source: the address under which clips are served.
        good: a clip of a few frames; `long` one that can be canceled in the middle; `large` one beyond the limits.
    """

    bad_ends = ("not_media", "not_media", "source_forbidden", "too_many_pixels", "canceled", "source_corrupt")

    def __init__(self, url: str, source: str, good: Path, long: Path, large: Path) -> None:
        self._client = _client(url)
        self._source = source
        self._good, self._long, self._large = good.read_bytes(), long.read_bytes(), large.read_bytes()
        self._bad: tuple[Callable[[], str], ...] = (
            lambda: self._sent(_NOT_MEDIA),
            lambda: self._sent(self._good[: len(self._good) // 2]),
            lambda: self._asked("http://169.254.169.254/latest/meta-data/"),
            lambda: self._sent(self._large),
            self._canceled,
            lambda: self._sent(self._good + CRASHES),
        )

    def one(self, number: int) -> str:
        """Do one."""
        if number % 3 == 2:
            return self._bad[number // 3 % len(self._bad)]()
        return self._sent(self._good) if number % 2 else self._asked(f"{self._source}/good.mp4")

    def crowd(self) -> None:
        """Ask many things at once."""
        _crowd(self._client, "/v1/jobs")

    def close_connections(self) -> None:
        """Leave the server without clients."""
        self._client.close()
        self._client = _client(self._client.base_url)

    def _sent(self, content: bytes) -> str:
        fields = {"scale": "2", "codec": "h264"}
        return self._ended(self._client.post("/v1/jobs", files={"file": ("a.mp4", content)}, data=fields))

    def _asked(self, address: str) -> str:
        return self._ended(self._client.post("/v1/jobs", json={"payload_url": address, "scale": 2, "codec": "h264"}))

    def _canceled(self) -> str:
        fields = {"scale": "2", "codec": "h264"}
        reply = self._client.post("/v1/jobs", files={"file": ("a.mp4", self._long)}, data=fields)
        path = f"/v1/jobs/{reply.json()['id']}"
        for job in self._told(path):
            if job.get("progress", {}).get("phase") == "upscale":
                self._client.post(f"{path}/cancel")
                break
        return self._ended(reply)

    def _ended(self, reply: httpx.Response) -> str:
        """Wait for a job's end, remove it, and return how it ended."""
        said = reply.json()
        if reply.status_code >= 400:
            return str(said["code"])
        path = f"/v1/jobs/{said['id']}"
        job = list(self._told(path))[-1]
        self._client.delete(path).raise_for_status()
        return str(job["fault"]["code"]) if job["state"] == "failed" else str(job["state"])

    def _told(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the job as often as something of it changes, up to its end."""
        with self._client.stream("GET", f"{path}/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])


class Pictures:
    """Pictures for an image server; one whose caller is gone before any answer is its canceled job."""

    bad_ends = ("not_media", "source_truncated", "too_many_pixels", "bad_scale", "canceled", "source_corrupt")

    def __init__(self, url: str) -> None:
        self._client = _client(url)
        self._good = picture_file(48, 32)
        self._bad: tuple[Callable[[], str], ...] = (
            lambda: self._sent(_NOT_MEDIA),
            lambda: self._sent(self._good[: len(self._good) // 2]),
            lambda: self._sent(picture_file(400, 8)),
            lambda: self._sent(self._good, upscale=99),
            self._hung_up,
            lambda: self._sent(self._good + CRASHES),
        )

    def one(self, number: int) -> str:
        """Do one."""
        if number % 3 == 2:
            return self._bad[number // 3 % len(self._bad)]()
        return self._sent(self._good)

    def crowd(self) -> None:
        """Ask many things at once."""
        _crowd(self._client, "/stats")

    def close_connections(self) -> None:
        """Leave the server without clients."""
        self._client.close()
        self._client = _client(self._client.base_url)

    def _sent(self, content: bytes, upscale: int = 2) -> str:
        reply = self._client.post("/upscale", files={"file": ("a.png", content)}, params={"upscale": upscale})
        return "succeeded" if reply.status_code == 200 else str(reply.json()["code"])

    def _hung_up(self) -> str:
        """Send a whole picture, be gone, and wait until the server says so.

        A corked socket sends its last bytes together with its end: no answer can come before that (tcp(7), TCP_CORK).
        """
        before = self._hung_up_on()
        files = {"file": ("a.png", picture_file(200, 200))}
        request = self._client.build_request("POST", "/upscale", files=files, params={"upscale": 2})
        lines = [f"POST {request.url.raw_path.decode()} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers.items())]
        with socket.create_connection((request.url.host, request.url.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + request.read())
        wait_until(lambda: self._hung_up_on() > before)
        return "canceled"

    def _hung_up_on(self) -> float:
        """Return how many callers the server had that did not wait for their answer."""
        counted = read(self._client.get("/metrics").text)
        return counted.total("upscale_http_requests_total", route="/upscale", code="499")


def _client(url: httpx.URL | str) -> httpx.Client:
    """Return a client with a connection for each request: one kept may be closed while the next is on its way."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=url, timeout=_SECONDS, trust_env=False, limits=limits)


def _crowd(client: httpx.Client, path: str) -> None:
    with ThreadPoolExecutor(_CROWD) as callers:
        list(callers.map(client.get, [path] * (4 * _CROWD)))
