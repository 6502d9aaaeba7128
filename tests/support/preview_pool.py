"""Workers that make previews in this process: real plans, real pictures, and a gate at which a test can hold them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.job_parts import Stoppable, let_all_pass
from tests.support.served import LookingPool
from upscale_server.errors import Canceled
from upscale_server.events import Event, Observer
from upscale_server.media.excerpt import Excerpt, write_excerpt
from upscale_server.models.load import load
from upscale_server.pipeline import Executor
from upscale_server.quality import Quality, measure
from upscale_server.stopping import Stop
from upscale_server.workers.in_process import InProcess


@dataclass(slots=True)
class PreviewPool(LookingPool):
    """Lanes and desk in this process; `gate` is called with every event of the lanes."""

    gate: Callable[[Event], None] = let_all_pass

    def executor(self, task: str | None, stop: Stop) -> Executor:
        """Run here, and look between frames whether to stop."""
        del task
        return Stoppable(InProcess(lambda _plan, one: load(one.card)), stop, self.gate)

    def write_excerpt(self, excerpt: Excerpt, path: Path, observer: Observer, stop: Stop) -> None:
        """Write an excerpt here."""
        if stop():
            raise Canceled(stop())
        write_excerpt(excerpt, path, observer)

    def compare(self, reference: Path, distorted: Path, observer: Observer, stop: Stop) -> Quality:
        """Measure here."""
        if stop():
            raise Canceled(stop())
        return measure(reference, distorted, observer=observer)
