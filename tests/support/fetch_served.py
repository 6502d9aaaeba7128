"""A video server that fetches in this process, for attacks on what it fetches: quick to give up, and watched.

Its desk opens files here, so that what got as far as that can be counted; its lanes upscale here, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.killing import wait_until
from tests.support.preview_pool import PreviewPool
from tests.support.served import Served, serving
from upscale_server.media.look import Looked
from upscale_server.server_settings import Fetch, Jobs, Webhooks
from upscale_server.service import VideoService
from upscale_server.settings import Settings
from upscale_server.stopping import Stop
from upscale_server.storage.fetch import FetchRules

HASTY_SECONDS = 1.5
"""In place of twenty: how long a source may be slower than the least rate, where waiting is in vain."""
CLIENT_SECONDS = 600.0
"""Longest wait for an answer: no expectation, only the end of what hangs."""
FINISHED = ("succeeded", "failed", "canceled")
PADDING_BYTES = 1 << 20


@dataclass(slots=True)
class NotingPool(PreviewPool):
    """Notes the first bytes of each file that its desk was given: what is there got through every guard before."""

    hands_off: bool = False
    reached: list[bytes] = field(default_factory=list)

    def look(self, source: Path, stop: Stop) -> Looked:
        """Note a file and look at it."""
        self.reached.append(source.read_bytes()[:64])
        return PreviewPool.look(self, source, stop)


@dataclass(frozen=True, slots=True)
class Attacked:
    """A running server and what its desk has seen."""

    served: Served
    pool: NotingPool

    def fetched(self, url: str) -> tuple[int, str]:
        """Bring a source and return status and code; an empty code for one that was taken, which is removed again."""
        answer = self.served.client.post("/v1/sources", json={"payload_url": url})
        if answer.status_code == 201:
            self.served.client.delete(f"/v1/sources/{answer.json()['id']}").raise_for_status()
            return 201, ""
        return answer.status_code, str(answer.json()["code"])

    def job(self, url: str, **more: object) -> tuple[str, str]:
        """Hand a job in; return its id, or the code that it is refused with."""
        asked = {"payload_url": url, "scale": 2, "model": "lanczos", **more}
        answer = self.served.client.post("/v1/jobs", json=asked).json()
        return str(answer.get("id", "")), str(answer.get("code", ""))

    def ended(self, job_id: str) -> dict[str, Any]:
        """Return a job when it has ended."""
        wait_until(lambda: self._job(job_id)["state"] in FINISHED)
        return self._job(job_id)

    def places_taken(self) -> int:
        """Return how many requests hold a place for what takes long."""
        state = self.served.app.state
        return sum(places.taken for places in (state.uploading, state.planning, state.measuring, state.waiting))

    def _job(self, job_id: str) -> dict[str, Any]:
        return dict(self.served.client.get(f"/v1/jobs/{job_id}").json())


def fetch_settings(folder: Path, fetch: Fetch) -> Settings:
    """Return the settings of an attacked server: much room, a secret for webhooks, no copies for watching."""
    return Settings(
        state_dir=folder,
        fetch=fetch,
        jobs=Jobs(room=2000, proxies=False),
        webhooks=Webhooks(secret=SecretStr("of these tests alone"), timeout_seconds=5.0),
    )


@contextmanager
def attacked(settings: Settings, window_seconds: float = 60.0) -> Iterator[Attacked]:
    """Serve with another window for the least rate and shorter pauses between tries, which are no settings."""
    of = FetchRules.of

    def quick(given: Fetch) -> FetchRules:
        rules = of(given)
        return replace(rules, pause_seconds=0.01, pace=replace(rules.pace, window_seconds=window_seconds))

    pool = NotingPool()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FetchRules, "of", quick)
        service = VideoService(settings, pool)  # type: ignore[arg-type] - all that it asks of a pool
    with serving(service) as served:
        served.client.timeout = CLIENT_SECONDS
        yield Attacked(served, pool)


def leftovers(settings: Settings) -> list[str]:
    """Return what lies in the folder for unfinished work, without the folders that are always there."""
    root = settings.state_dir / "video" / "temp"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@cache
def padded_clip() -> bytes:
    """Return a real clip with a mebibyte of free space at its end, so that it can be broken off in many places."""
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Clip(pictures=(Picture(frame_count=5),)), Path(folder) / "clip.mp4").read_bytes()
    return clip + (PADDING_BYTES + 8).to_bytes(4, "big") + b"free" + bytes(PADDING_BYTES)
