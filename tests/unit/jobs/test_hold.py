"""A job held: what is stored of it, and in which order."""

from __future__ import annotations

import threading
from typing import cast

from upscale_server.errors import DatabaseAway, DatabaseTaken
from upscale_server.jobs.hold import Hold
from upscale_server.jobs.job import Asked, Claim, Job, Progress, Source
from upscale_server.jobs.store import JobStore


class _SlowStore:
    """Takes its time with the first progress: while it is on its way the work reaches the next phase."""

    def __init__(self) -> None:
        self.hold_of: Hold | None = None
        self.stored: list[str] = []
        self._later: list[threading.Thread] = []

    def hold(self, _claim: Claim, progress: Progress) -> str:
        """Store a progress."""
        if not self._later and self.hold_of is not None:
            later = threading.Thread(target=self.hold_of.enter, args=("storing",))
            self._later.append(later)
            later.start()
            later.join(0.2)  # long enough to come first if it could; it cannot
        self.stored.append(progress.phase)
        return ""

    def join(self) -> None:
        """Wait for the later one."""
        for thread in self._later:
            thread.join()


def test_an_older_progress_is_never_stored_over_a_newer_one() -> None:
    """The beat and the work both store it; whoever looked first has stored first."""
    store = _SlowStore()
    job = Job("0" * 32, Asked(Source("url", "http://host/v.mp4")), "running", 1, 1, 0.0, 0.0)
    hold = Hold(cast("JobStore", store), Claim(job, "owner", 10), 30)
    store.hold_of = hold

    hold.enter("downloading")
    store.join()

    assert ["downloading", "storing"] == store.stored


def test_work_ends_when_a_newer_server_takes_the_database_over() -> None:
    """It could store nothing of it any more; while the database is only away the work goes on."""

    class Failing:
        def hold(self, _claim: Claim, _progress: Progress) -> str:
            raise kinds.pop(0)("jobs' database")

    kinds: list[type[DatabaseAway]] = [DatabaseAway, DatabaseTaken]
    job = Job("0" * 32, Asked(Source("url", "http://host/v.mp4")), "running", 1, 1, 0.0, 0.0)
    hold = Hold(cast("JobStore", Failing()), Claim(job, "owner", 10), 30)

    hold.enter("downloading")
    away = hold.stop()
    hold.enter("storing")

    assert ("", "lost") == (away, hold.stop())
