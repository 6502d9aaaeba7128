"""Small real jobs by the dozen: their sources, handing them in, following them, and holding their bytes to one digest.

What goes wrong meanwhile is the tests' business.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.server import serving

QUICK = {"UPSCALE_MODEL_PATH": "lanczos", "UPSCALE_WORKERS__LANES": "1"}
"""A server that has nothing to measure and one lane: it starts in seconds."""

_RATE = 6


def small_clip(path: Path, seconds: int = 24) -> Path:
    """Write a clip with sound that is cut into a segment for every ten seconds, and is soon done."""
    picture = Picture(
        width=96, height=64, rate=Fraction(_RATE), frame_count=seconds * _RATE, options={"g": str(_RATE * 2)}
    )
    return write_clip(Clip(pictures=(picture,), sounds=(Sound(seconds=seconds),)), path)


@contextmanager
def small_source(folder: Path, seconds: int = 24) -> Iterator[str]:
    """Serve such a clip and give its address."""
    folder.mkdir()
    small_clip(folder / "clip.mp4", seconds)
    with serving(folder) as url:
        yield f"{url}/clip.mp4"


class Caller:
    """Somebody who hands in jobs, and asks again where the server is away; a context manager.

    Several who hand in at one server need names of their own.
    """

    def __init__(self, source: str, name: str = "job") -> None:
        self.source = source
        self.name = name
        self.ids: list[str] = []
        self._http = httpx.Client(timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, url: str, **more: object) -> str:
        """Hand in the next job; a repeated call after an answer that was lost meets the same job."""
        asked = {"payload_url": self.source, "scale": 2, "model": "lanczos", **more}
        headers = {"Idempotency-Key": f"{self.name}-{len(self.ids)}"}
        reply = self._http.post(f"{url}/v1/jobs", json=asked, headers=headers)
        reply.raise_for_status()
        self.ids.append(str(reply.json()["id"]))
        return self.ids[-1]

    def jobs(self, url: str) -> dict[str, dict[str, Any]]:
        """Return all jobs of the server by their ids."""
        found: dict[str, dict[str, Any]] = {}
        after: dict[str, str] = {}
        while True:
            page = self._http.get(f"{url}/v1/jobs", params={"limit": "100", **after}).raise_for_status().json()
            found |= {job["id"]: job for job in page["jobs"]}
            if not page["next"]:
                return found
            after = {"after": page["next"]}

    def digest(self, url: str, job_id: str) -> str:
        """Return the SHA-256 of a job's result as a caller gets it."""
        reply = self._http.get(f"{url}/v1/jobs/{job_id}/output", follow_redirects=True)
        return hashlib.sha256(reply.raise_for_status().content).hexdigest()


def states(database: Path) -> Counter[str]:
    """Return how many jobs are in which state, whether a server runs or not."""
    return Counter(row[0] for row in _rows(database, "SELECT state FROM upscale_jobs"))


def finished(database: Path) -> frozenset[str]:
    """Return the ids of the jobs that are over."""
    over = "SELECT id FROM upscale_jobs WHERE state IN ('succeeded', 'failed', 'canceled')"
    return frozenset(row[0] for row in _rows(database, over))


def check_integrity(database: Path) -> str:
    """Return what SQLite says of its own file: `ok`."""
    return str(_rows(database, "PRAGMA integrity_check")[0][0])


def _rows(database: Path, question: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return connection.execute(question).fetchall()


def times_ended(log: Path) -> Counter[str]:
    """Return how often the server's log says of each job that it has succeeded; never more than once is right."""
    ended: Counter[str] = Counter()
    for part in log.parent.glob(f"{log.name}*"):
        for line in part.read_text(encoding="utf-8", errors="replace").splitlines():
            if "event=job_succeeded" in line or '"event": "job_succeeded"' in line:
                ended[line.partition("job_id=")[2].split()[0]] += 1
    return ended
