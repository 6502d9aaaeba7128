"""What carrying a job needs from the rest of the product, named here so that each part can be another one.

Values and promises only; the parts are made and put together by the composition root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from upscale_server.events import Observer, ignore
from upscale_server.jobs.day_quota import NO_QUOTA, DayQuota
from upscale_server.jobs.store import JobStore
from upscale_server.pipeline import Executor
from upscale_server.plan import Plan
from upscale_server.settings import Settings
from upscale_server.stopping import Stop
from upscale_server.storage.base import ObjectStore
from upscale_server.wish import Limits, Wish

Watch = Callable[[int, int | None], None]
"""Told bytes done and bytes in all, where they are known; may raise to stop."""
Fetch = Callable[[str, Path, Watch], object]
"""Download an address to a file, which is there only when it is whole; a broken download goes on where it was."""


Watcher = Callable[[Plan], Observer]
"""Given a plan that is about to be carried out, returns what observes that."""


class LanesStatus(Protocol):
    """How the lanes are."""

    @property
    def ready(self) -> bool:
        """Tell whether work can be given to them."""

    @property
    def lanes(self) -> Sequence[object]:
        """Return one value for each lane that there is."""


class Lanes(Protocol):
    """Where sources are opened and segments are run; safe to call from several threads."""

    def status(self) -> LanesStatus:
        """Return how the lanes are now."""

    def plan(self, source: Path, wish: Wish, limits: Limits, stop: Stop) -> Plan:
        """Probe a source and decide everything about its job.

        Raises:
            Canceled: `stop` gave a reason, which is its text.
            UpscaleError and its kinds: as `make_plan`.
        """

    def executor(self, task: str | None, stop: Stop) -> Executor:
        """Return what runs the segments of one job; it raises `Canceled` with the reason that `stop` gives.

        A reason that only parks lets the segments that run come to their end; their records are yielded first.
        """


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a running server that jobs touch.

    `temp_dir` holds a folder for each job that is not over, and uploads that no job has taken yet; `proxies_dir` one
    for each job whose result can be watched. `owner` is this server's name in leases, the same after a restart;
    `watcher` counts what is worked, `quota` what each key uses.
    """

    store: JobStore
    objects: ObjectStore
    lanes: Lanes
    fetch: Fetch
    settings: Settings
    temp_dir: Path
    proxies_dir: Path
    owner: str
    watcher: Watcher = lambda _plan: ignore
    quota: DayQuota = NO_QUOTA
