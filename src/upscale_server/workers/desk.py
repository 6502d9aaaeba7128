"""The processes that open strangers' files, and beside them one that measures: numbers take minutes, all else seconds.

What they are asked is not known here.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import replace
from typing import cast

from upscale_server.events import Observer
from upscale_server.quality import Quality
from upscale_server.stopping import Stop as Stopping
from upscale_server.workers.crew import Crew
from upscale_server.workers.messages import CompareVideos, Greet, MeasureQuality, Setup
from upscale_server.workers.resident import Patience


class Desk(Crew):
    """A crew with one more process, which measures one video after the other; it starts when it is first needed."""

    def __init__(self, setups: tuple[Setup, ...], patience: Patience) -> None:
        super().__init__(setups, patience, Greet())
        self._measuring = Crew((replace(setups[0], role="measure"),), patience, Greet())
        self._starting = threading.Lock()
        self._has_started = False

    def measure(
        self, order: MeasureQuality | CompareVideos, job: Hashable, observer: Observer, stop: Stopping
    ) -> Quality:
        """Have a video measured; jobs that wait for that take turns, and keep nobody else waiting.

        Raises:
            Canceled, Draining, UpscaleError: as `do_once`.
        """
        with self._starting:
            if not self._has_started:
                self._has_started = True
                self._measuring.start()
        return cast("Quality", self._measuring.do_once(order, job, observer, stop))

    def close(self, drain_seconds: float = 0.0) -> None:
        """End all processes; what is measured is not waited for, since nothing is lost. Safe to call twice."""
        self._measuring.close()
        super().close(drain_seconds)
