"""One side of a preview made through the ordinary pipeline, and what making all sides has in common.

Which sides there are is `making`'s business.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import Canceled, DiskFull, Draining, ModelsNotLoaded, StorageError
from upscale_server.events import Event, Observer, Warned, both
from upscale_server.media.types import Segment
from upscale_server.models.catalogue import BUILTIN
from upscale_server.pipeline import Result, upscale_video
from upscale_server.plan import Plan
from upscale_server.preview.pace import Pace
from upscale_server.preview.studio import Studio
from upscale_server.preview.values import Shown

FATAL = (Canceled, Draining, DiskFull, StorageError, ModelsNotLoaded)
"""What ends a preview, whichever side it happened to; any other failure is that side's own."""

SEGMENT_SECONDS = 1.0
"""Of video, half as much again at most: for a segment a lane is held, and a job that waits for the lane waits."""


def made(name: str, plan: Plan, folder: Path, studio: Studio, observer: Observer) -> tuple[Shown, tuple[float, ...]]:
    """Make one side's file in `folder`; return it and when each frame is shown, in seconds from the first.

    Raises:
        UpscaleError and its kinds: as `upscale_video`.
    """
    pace, work = Pace(), folder / "work" / name
    result = upscale_video(plan, studio.executor, work, both(pace, quietly(observer)))
    path = folder / f"{name}.mp4"
    with naming_write_faults(path):
        result.path.replace(path)
        byte_count = path.stat().st_size
    shutil.rmtree(work, ignore_errors=True)
    rate = pace.frames_per_second
    shown = Shown(
        name=name,
        state="succeeded",
        path=path,
        plan=result.plan,
        seconds=round(pace.seconds, 3),
        fps=None if rate is None else round(rate, 2),
        byte_count=byte_count,
    )
    return shown, _times(result)


def whole_of(plan: Plan) -> Segment:
    """Return all that is kept of a source as one segment."""
    return replace(plan.segments[0], end_pts=plan.segments[-1].end_pts)


def named(plan: Plan) -> str:
    """Return what finds the model of a plan again, whatever the source is: a family's name, or a file."""
    card = plan.passes[0].card
    return card.path if card.path and Path(card.path).parent != BUILTIN else card.name


def quietly(observer: Observer) -> Observer:
    """Return an observer that is not told the plans' warnings: a preview says them once for all its sides."""

    def tell(event: Event) -> None:
        if not isinstance(event, Warned):
            observer(event)

    return tell


def _times(result: Result) -> tuple[float, ...]:
    pts = sorted(time.pts for done in result.done for time in done.times)
    return tuple(float((one - pts[0]) * result.plan.source.time_base) for one in pts)
