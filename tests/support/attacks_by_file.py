"""Hands files to real servers as strangers do, several at once, and says how each ended.

What an end is worth is the tests' business; here a server that answers in no way is an end, too.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import descendants
from tests.support.server import Server

HANG_SECONDS = 300.0
"""Five times the watchdog's limit: what takes so long hangs, however busy the machine is."""
NO_ANSWER = 599
"""In place of a status where there was no answer that HTTP knows, or an end that nobody asked for."""
_ENDED = ("succeeded", "failed", "canceled")
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Attack:
    """A file that is handed in, under a name that says what it is."""

    name: str
    content: bytes
    expect: str = "either"


@dataclass(frozen=True, slots=True)
class End:
    """How it ended: `status` as HTTP has it (200 for a result), and the fault's code, empty for a result."""

    name: str
    status: int
    code: str
    seconds: float
    expect: str = "either"
    detail: str = ""

    @property
    def is_met(self) -> bool:
        """Tell whether that is what was expected: a result, a refusal that is the caller's fault, or any of both."""
        refused = 400 <= self.status < 500
        return {"ok": self.status == 200, "reject": refused}.get(self.expect, self.status == 200 or refused)


@dataclass(slots=True)
class Ends:
    """All of them; `crashes` are the server's lines about deaths, `leftovers` files and processes that stayed."""

    ends: list[End] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    @property
    def unmet(self) -> list[End]:
        """Return those that ended otherwise than expected; server faults and hangs are among them."""
        return [end for end in self.ends if not end.is_met]

    @property
    def figures(self) -> dict[str, object]:
        """Return what is told of a run."""
        hangs = sum(end.code == "hang" for end in self.ends)
        kinds = Counter("result" if end.status == 200 else f"{end.status} {end.code}" for end in self.ends)
        slowest = max(self.ends, key=lambda end: end.seconds)
        return {
            "files": len(self.ends),
            "results": kinds.pop("result", 0),
            "refused": dict(kinds.most_common()),
            "crashes": len(self.crashes),
            "hangs": hangs,
            "unexplained_5xx": sum(end.status >= 500 for end in self.ends) - hangs,
            "leftovers": len(self.leftovers),
            "not_as_expected": [f"{end.name}: {end.status} {end.code} {end.detail}" for end in self.unmet],
            "slowest": f"{slowest.name}: {slowest.seconds:.1f} s",
        }


def attack(attacks: Iterable[Attack], one: Callable[[Attack], End], at_once: int) -> Ends:
    """Hand files in, so many at once, and wait for every end."""
    waiting: queue.SimpleQueue[Attack] = queue.SimpleQueue()
    for each in attacks:
        waiting.put(each)
    found = Ends()

    def work() -> None:
        while True:
            try:
                next_one = waiting.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            try:
                end = one(next_one)
            except (httpx.HTTPError, ValueError) as err:  # a ValueError: what should be JSON is none
                code = "hang" if isinstance(err, httpx.TimeoutException) else type(err).__name__
                end = End(next_one.name, NO_ANSWER, code, time.monotonic() - began, next_one.expect, str(err)[:200])
            found.ends.append(end)

    threads = [threading.Thread(target=work, name=f"attack-{number}") for number in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@dataclass(frozen=True, slots=True)
class VideoDoor:
    """A video server's jobs; each file is first laid where the server fetches it."""

    url: str
    shelf: Path
    shelf_url: str
    words: dict[str, object]

    def one(self, attack: Attack) -> End:
        """Have a video fetched and enlarged, and wait for the job's end."""
        began, path = time.monotonic(), self.shelf / f"{threading.get_ident()}_{attack.name.replace('/', '_')}"
        path.write_bytes(attack.content)
        try:
            with httpx.Client(base_url=self.url, timeout=HANG_SECONDS, trust_env=False) as client:
                status, code, detail = self._ended(client, f"{self.shelf_url}/{path.name}")
        finally:
            path.unlink()
        return End(attack.name, status, code, time.monotonic() - began, attack.expect, detail)

    def _ended(self, client: httpx.Client, source: str) -> tuple[int, str, str]:
        reply = client.post("/v1/jobs", json={"payload_url": source, **self.words})
        if reply.status_code != 202:
            return reply.status_code, *_fault_in(reply)
        until = time.monotonic() + HANG_SECONDS
        while time.monotonic() < until:
            job = client.get(f"/v1/jobs/{reply.json()['id']}").raise_for_status().json()
            if job["state"] in _ENDED:
                return _end_of(job)
            time.sleep(_LOOK_SECONDS)
        return NO_ANSWER, "hang", ""


@dataclass(frozen=True, slots=True)
class ImageDoor:
    """An image server's one route."""

    url: str

    def one(self, attack: Attack) -> End:
        """Have a picture enlarged."""
        began = time.monotonic()
        with httpx.Client(base_url=self.url, timeout=HANG_SECONDS, trust_env=False) as client:
            files = {"file": (Path(attack.name).name, attack.content)}
            reply = client.post("/upscale", files=files, params={"upscale": 2})
        code, detail = ("", "") if reply.status_code == 200 else _fault_in(reply)
        return End(attack.name, reply.status_code, code, time.monotonic() - began, attack.expect, detail)


def _end_of(job: dict[str, Any]) -> tuple[int, str, str]:
    """Return status, code and detail of a job that has ended; without a fault only one that succeeded is a result."""
    if job["state"] == "succeeded":
        return 200, "", ""
    fault = job.get("fault") or {"status": NO_ANSWER, "code": job["state"], "detail": "without a fault"}
    return fault["status"], fault["code"], fault["detail"]


def _fault_in(reply: httpx.Response) -> tuple[str, str]:
    return str(reply.json().get("code")), str(reply.json().get("detail"))


def children_of(server: Server) -> list[int]:
    """Return all processes of a server."""
    return descendants(server.process.pid)


def files_in(folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the files below folders."""
    for folder in folders:
        yield from (path for path in folder.rglob("*") if path.is_file())
