"""What can be watched while a job renders: a small copy and a picture of each segment, in a folder of their own.

A copy that cannot be made costs a line in the log and never the job. What it is made of is `media.proxy`'s business,
who keeps it and for how long the jobs'.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from upscale_server.logs import get_logger
from upscale_server.media.proxy import ProxyWriter, Ticks
from upscale_server.media.types import Frame, Segment
from upscale_server.plan import Plan

Show = Callable[[Frame], None]
"""Takes each frame of a segment in order, and never fails."""

LEAST_FREE_BYTES = 1 << 30
"""A disk with less is left to the work itself: copies must not be why a job finds it full."""


def copy_path(folder: Path, index: int) -> Path:
    """Return where the copy of a segment lies; it is there only when it is whole, and its picture then is."""
    return folder / f"{index:05d}.mp4"


def picture_path(folder: Path, index: int) -> Path:
    """Return where the picture of a segment lies."""
    return folder / f"{index:05d}.jpg"


def ticks_of(plan: Plan, index: int) -> Ticks:
    """Return where a segment starts and ends, as far as the plan knows."""
    segment = plan.segments[index]
    start = plan.first_pts if index == 0 else segment.start_pts
    end = plan.end_pts if index == len(plan.segments) - 1 else segment.end_pts
    return Ticks(start, end)


@contextmanager
def shown(folder: Path | None, plan: Plan, segment: Segment) -> Iterator[Show]:
    """Give what every frame of a segment is to be shown to; its copy is in `folder` when the block ends well.

    Args:
        folder: where copies go; None makes none.
        plan: the job.
        segment: one of the plan's.
    """
    if folder is None:
        yield lambda _frame: None
        return
    copy = _Copy(folder, plan, segment)
    try:
        yield copy.write
        copy.finish()
    finally:
        copy.discard()


class _Copy:
    """A copy on its way; the first fault is told, and ends it."""

    def __init__(self, folder: Path, plan: Plan, segment: Segment) -> None:
        self._plan = plan
        self._index = segment.index
        self._whole = (picture_path(folder, segment.index), copy_path(folder, segment.index))
        self._parts = tuple(path.with_suffix(f".part{path.suffix}") for path in self._whole)
        self._writer: ProxyWriter | None = None
        self._forgiven(lambda: self._open(folder))

    def write(self, frame: Frame) -> None:
        """Add a frame."""
        writer = self._writer
        if writer is not None:
            self._forgiven(lambda: writer.write(frame))

    def finish(self) -> None:
        """Give the files their names: the copy's last, which says that both are there."""
        writer = self._writer
        if writer is not None:
            self._forgiven(lambda: self._publish(writer))

    def discard(self) -> None:
        """Remove what is not finished."""
        writer, self._writer = self._writer, None
        # What is closed unfinished is thrown away: how it closes does not matter.
        with suppress(Exception):
            if writer is not None:
                writer.close()
        for part in self._parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(folder).free
        if free < LEAST_FREE_BYTES:
            raise OSError(f"{free} bytes are free in {folder}; copies are made while it has {LEAST_FREE_BYTES}")
        picture, copy = self._parts
        self._writer = ProxyWriter(copy, picture, self._plan.spec, ticks_of(self._plan, self._index))

    def _publish(self, writer: ProxyWriter) -> None:
        if writer.finish(self._plan.last_duration):
            for part, whole in zip(self._parts, self._whole, strict=True):
                part.replace(whole)

    def _forgiven(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as err:  # noqa: BLE001 - whatever a copy fails of, the result does not need it
            get_logger().warning("proxy_not_written", segment=self._index, detail=f"{type(err).__name__}: {err}")
            self.discard()
