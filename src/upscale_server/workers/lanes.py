"""Who does the segments of a server's jobs: the processes of this machine, or those of others.

It names the promise; `crew` and `cluster` keep it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from upscale_server.events import Observer
from upscale_server.stopping import Stop
from upscale_server.workers.messages import RunSegment
from upscale_server.workers.status import LaneStatus


class Lanes(Protocol):
    """Lanes that hold their networks; safe to call from several threads."""

    @property
    def count(self) -> int:
        """Return how many there are now."""

    @property
    def is_loaded(self) -> bool:
        """Tell whether there is one and each has loaded its networks."""

    @property
    def fault(self) -> str | None:
        """Return why they cannot work; None where they can, or still may."""

    def start(self) -> None:
        """Begin; returns at once."""

    def close(self, drain_seconds: float = 0.0) -> None:
        """Let running segments end for a while, then let everything go. Safe to call twice."""

    def statuses(self, model: str) -> tuple[LaneStatus, ...]:
        """Return how each is now; `model` is the name of what they hold."""

    def do(self, order: RunSegment, job: Hashable, observer: Observer, stop: Stop) -> Any:  # noqa: ANN401 - a `Done`
        """Have a segment done by the next free lane; jobs that wait take turns.

        Raises:
            Canceled, Draining: `stop` gave a reason, or the lanes are being closed.
            UpscaleError and its kinds: the segment failed.
        """
