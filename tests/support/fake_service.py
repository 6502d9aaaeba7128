"""The part of our own server that the subnet face uses, in memory: for tests of that face alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upscale_server.errors import NotFound, SourceCorrupt, UpscaleError


class FakeService:
    """Jobs that succeed at once, unless their address is held back or failing."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.asked: list[Mapping[str, object]] = []
        self._failing: set[str] = set()
        self._held: set[str] = set()
        self._refusal: UpscaleError | None = None
        self._broken: UpscaleError | None = None

    def fail_url(self, url: str) -> None:
        """Let jobs for this address fail from now on."""
        self._failing.add(url)

    def hold_url(self, url: str) -> None:
        """Let jobs for this address stay in the queue until `release`."""
        self._held.add(url)

    def release(self) -> None:
        """Finish everything that was held."""
        self._held.clear()
        for job in self.jobs.values():
            if job["state"] == "queued":
                self._settle(job)

    def refuse(self, error: UpscaleError) -> None:
        """Take no further job."""
        self._refusal = error

    def break_with(self, error: UpscaleError) -> None:
        """Answer no question any more."""
        self._broken = error

    def submit(self, asked: Mapping[str, object], idempotency_key: str | None = None) -> Mapping[str, Any]:
        """Take a job, or return the one that has the key."""
        if self._refusal:
            raise self._refusal
        if idempotency_key in self.keys:
            return self.jobs[self.keys[str(idempotency_key)]]
        job: dict[str, Any] = {"id": f"{len(self.jobs) + 1:032x}", "url": asked["payload_url"], "state": "queued"}
        self.jobs[job["id"]] = job
        self.asked.append(asked)
        if idempotency_key:
            self.keys[idempotency_key] = job["id"]
        if asked["payload_url"] not in self._held:
            self._settle(job)
        return job

    def job(self, job_id: str) -> Mapping[str, Any]:
        """Return a job."""
        if self._broken:
            raise self._broken
        if job_id not in self.jobs:
            raise NotFound(f"job {job_id} does not exist")
        return self.jobs[job_id]

    def wait(self, job_id: str, seconds: float | None = None) -> Mapping[str, Any]:
        """Return a job as it is, or raise its failure."""
        assert seconds is None or seconds >= 0
        job = self.job(job_id)
        if job["state"] == "failed":
            raise SourceCorrupt("the source does not decode")
        return job

    def _settle(self, job: dict[str, Any]) -> None:
        failed = job["url"] in self._failing
        job["state"] = "failed" if failed else "succeeded"
        job["result"] = None if failed else {"url": f"http://results/{str(job['url']).rsplit('/', 1)[-1]}"}
