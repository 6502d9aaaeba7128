"""A validator's request as jobs of our own service, and their results in the order of the request.

It knows no Bittensor: payloads come in as values, answers leave as texts.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from upscale_server.errors import NotFound, UpscaleError
from upscale_server.logs import get_logger
from upscale_server.subnet.ledger import Ledger

_FOUR_TIMES = "SD24K"
"""The one task of four times the size; the others are of twice."""
_UNFINISHED = ("queued", "running", "paused")

Answer = Mapping[str, Any]  # a JSON object


class Service(Protocol):
    """What is asked of our own server; `client.Client` is one."""

    def submit(self, asked: Mapping[str, object], idempotency_key: str | None = None) -> Answer:
        """Hand in a job."""

    def job(self, job_id: str) -> Answer:
        """Return a job as it is."""

    def wait(self, job_id: str, seconds: float | None = None) -> Answer:
        """Return a job when it is finished, or as it is when the time is over; raise how it failed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One video of a request."""

    url: str
    task: str
    maximum_mb: int

    def as_asked(self) -> dict[str, object]:
        """Return the body of a job for it."""
        scale = 4 if self.task.upper() == _FOUR_TIMES else 2
        asked: dict[str, object] = {"payload_url": self.url, "scale": scale, "profile": "subnet"}
        return asked | ({"maximum_optimized_size_mb": self.maximum_mb} if self.maximum_mb > 0 else {})


@dataclass(frozen=True, slots=True)
class Looked:
    """How far a validator's job is, with its results once it is completed."""

    status: Literal["processing", "completed", "failed", "unknown"]
    urls: tuple[str, ...] = ()


def wanted_of(urls: Sequence[str], tasks: Sequence[str], maximum_mb: int) -> tuple[Wanted, ...]:
    """Return the videos of a request; where there are fewer tasks than addresses, the last one counts on."""
    last = tasks[-1] if tasks else "HD24K"
    return tuple(
        Wanted(url, tasks[place] if place < len(tasks) else last, maximum_mb) for place, url in enumerate(urls)
    )


class Work:
    """Carries validators' requests to the service; safe to use from several threads."""

    def __init__(self, service: Service, ledger: Ledger) -> None:
        self._service = service
        self._ledger = ledger

    def do(self, wanted: Sequence[Wanted], name: str | None, seconds: float) -> list[str]:
        """Upscale all and wait; an empty text stands for each that failed or was not ready in time.

        Args:
            wanted: what to upscale.
            name: of the request; the same name again meets the same jobs. None always makes new ones.
            seconds: longest wait in all.
        """
        end = time.monotonic() + seconds
        jobs = [self._submitted(one, _key(name, place)) for place, one in enumerate(wanted)]
        return [self._result(job, end) if job else "" for job in jobs]

    def begin(self, their_id: str, wanted: Sequence[Wanted]) -> bool:
        """Take a validator's job; False where the service does not take each part of it."""
        if not their_id or not wanted:
            return False
        jobs = [self._submitted(one, _key(their_id, place)) for place, one in enumerate(wanted)]
        if not all(jobs):
            return False
        self._ledger.keep(their_id, [job for job in jobs if job])
        return True

    def look(self, their_id: str) -> Looked:
        """Say how far a validator's job is; a service that does not answer now is still working on it."""
        ours = self._ledger.find(their_id)
        if ours is None:
            return Looked("unknown")
        try:
            jobs = [self._service.job(one) for one in ours]
        except NotFound:
            return Looked("unknown")
        except UpscaleError as err:
            get_logger().warning("miner_look_failed", job=their_id, code=err.code, detail=err.detail)
            return Looked("processing")
        if any(job["state"] in _UNFINISHED for job in jobs):
            return Looked("processing")
        urls = tuple(_url_of(job) for job in jobs)
        return Looked("completed", urls) if any(urls) else Looked("failed", urls)

    def _submitted(self, one: Wanted, key: str | None) -> str:
        """Hand in one job and return its id; empty where it was not taken."""
        try:
            return str(self._service.submit(one.as_asked(), key)["id"])
        except UpscaleError as err:
            get_logger().warning("miner_job_refused", code=err.code, detail=err.detail)
            return ""

    def _result(self, job_id: str, end: float) -> str:
        try:
            return _url_of(self._service.wait(job_id, max(0.0, end - time.monotonic())))
        except UpscaleError as err:
            get_logger().warning("miner_job_failed", job=job_id, code=err.code, detail=err.detail)
            return ""


def _key(name: str | None, place: int) -> str | None:
    """Return the idempotency key of one part of a request, of a form and length that a header takes."""
    if name is None:
        return None
    return f"subnet-{hashlib.sha256(name.encode()).hexdigest()[:32]}-{place}"


def _url_of(job: Answer) -> str:
    result = job.get("result") or {}
    return str(result.get("url") or "") if job["state"] == "succeeded" else ""
