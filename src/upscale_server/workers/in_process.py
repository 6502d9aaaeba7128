"""The simplest executor: this process, one segment after the other, models loaded once.

The command line uses it; it has no queue, no lease and no other process to lose.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.events import Observer
from upscale_server.media.types import Segment
from upscale_server.models.base import Upscaler
from upscale_server.models.luma import FrameUpscaler
from upscale_server.pipeline import upscale_segment
from upscale_server.plan import Pass, Plan

Load = Callable[[Plan, Pass], Upscaler]

_M_MMAP_THRESHOLD = -3  # mallopt's number for it in glibc's malloc.h
_LARGE_BLOCK_BYTES = 128 * 1024
"""glibc's own start value; blocks from here on (every plane of a frame) go back to the system when they are freed."""


class InProcess:
    """Run segments here; a context manager that releases the models."""

    def __init__(self, load: Load) -> None:
        _keep_memory_flat()
        self._load = load
        self._loaded: dict[tuple[str, int, str, str], Upscaler] = {}

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Yield each segment's record as it is finished."""
        if not segments:
            return
        upscale = FrameUpscaler(
            tuple(self._upscaler(plan, one) for one in plan.passes), plan.picture, plan.target, plan.spec.colour
        )
        for segment in segments:
            yield upscale_segment(plan, segment, upscale, work, observer)

    def _upscaler(self, plan: Plan, one: Pass) -> Upscaler:
        key = (one.card.name, one.card.scale, plan.engine, plan.precision)
        if key not in self._loaded:
            self._loaded[key] = self._load(plan, one)
        return self._loaded[key]

    def close(self) -> None:
        """Release the models; safe to call twice."""
        for upscaler in self._loaded.values():
            upscaler.close()
        self._loaded.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _keep_memory_flat() -> None:
    """Fix the size from which blocks are given back, which glibc otherwise raises to 32 MiB while frames pass by.

    Frames then leave holes in the heap: the peak of two minutes was 1.13 times that of ten seconds, and is 1.01 times
    with this (benchmarks/LOG.md). Other C libraries have no such threshold.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    except (AttributeError, OSError, TypeError):
        return
