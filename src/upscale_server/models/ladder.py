"""An upscaler that answers too little memory by asking for less at once, inside the same call, and says so.

It wraps any `Upscaler` and knows no engine; the order of the steps is `working_point.step_down`. A step of precision
is told and not taken: the pixels would differ from those already made, so the call fails and the job decides.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import OutOfMemory
from upscale_server.events import Observer, SteppedDown
from upscale_server.media.types import Size
from upscale_server.models.base import Pixels, Upscaled, Upscaler, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Points
from upscale_server.models.engines.tiled import upscale_frame
from upscale_server.models.tiling import TileNeeds, TilePlan, plan_tiles
from upscale_server.models.working_point import WorkingPoint, step_down

Tell = Callable[[WorkingPoint], None]


def at_working_point(inner: Upscaler, size: Size, asked: WorkingPoint, points: Points, observer: Observer) -> Ladder:
    """Wrap an upscaler so that it begins where memory sufficed before, and tells and remembers each step.

    Args:
        inner: what computes.
        size: of the frames to come.
        asked: the most that may be asked of the device.
        points: what was remembered.
        observer: is told of each step.
    """
    key = point_key(inner.card, inner.working, size)
    known = points.recall(key)

    def tell(point: WorkingPoint) -> None:
        points.remember(key, point)
        observer(SteppedDown(inner.card.name, str(size), str(point)))

    same = known is not None and known.precision == asked.precision
    return Ladder(inner, asked.within(known) if known is not None and same else asked, tell)


def precision_needed(
    passes: Iterable[tuple[ModelCard, Size]], working: Working, points: Points, lower: tuple[str, ...]
) -> str | None:
    """Return which of the lower precisions earlier jobs of these passes ended in; None where memory sufficed."""
    known = [points.recall(point_key(card, working, size)) for card, size in passes]
    needed = {point.precision for point in known if point is not None}
    return next((name for name in reversed(lower) if name in needed), None)


def point_key(card: ModelCard, working: Working, size: Size) -> str:
    """Name what a working point is true for: model, engine, device and size of the frames."""
    facts = [card.sha256 or f"{card.name}-x{card.scale}", working.engine, working.device, str(size)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]


class Ladder:
    """An `Upscaler` at a working point; safe for any number of threads, of which `lanes` work at once."""

    def __init__(self, inner: Upscaler, point: WorkingPoint, tell: Tell) -> None:
        """Wrap an upscaler.

        Args:
            inner: what computes; whoever made it closes it.
            point: where to begin.
            tell: called with each smaller point before it is tried.
        """
        self._inner = inner
        self._point = point
        self._precision = point.precision
        self._tell = tell
        self._busy = 0
        self._changed = threading.Condition()

    @property
    def card(self) -> ModelCard:
        """Return the card of what computes."""
        return self._inner.card

    @property
    def working(self) -> Working:
        """Return how it computes."""
        return self._inner.working

    @property
    def point(self) -> WorkingPoint:
        """Return the working point as it is now."""
        return self._point

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale a batch; see `Upscaler`.

        Raises:
            OutOfMemory: nothing is left to do without, or only precision is.
        """
        while True:
            with self._lane() as point:
                try:
                    parts = [
                        self._tiled(lr[first : first + point.batch], point, bits, exact)
                        for first in range(0, len(lr), point.batch)
                    ]
                    return parts[0] if len(parts) == 1 else _joined(parts)
                except OutOfMemory as err:
                    fault = err
            self._step_down(point, fault)

    def close(self) -> None:
        """Release nothing: what computes is closed by whoever made it."""

    @contextmanager
    def _lane(self) -> Iterator[WorkingPoint]:
        """Wait until fewer callers than lanes are at work; give the working point of the moment."""
        with self._changed:
            self._changed.wait_for(lambda: self._busy < self._point.lanes)
            self._busy += 1
            point = self._point
        try:
            yield point
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _step_down(self, failed: WorkingPoint, fault: OutOfMemory) -> None:
        """Take the next step, unless another thread has taken it since.

        Raises:
            OutOfMemory: there is none, or it would change the pixels.
        """
        with self._changed:
            if self._point == failed and failed.precision == self._precision:
                smaller = step_down(failed, can_tile=self.card.fixed_size is None)
                if smaller is None:
                    raise fault
                self._point = smaller
                self._tell(smaller)
            if self._point.precision != self._precision:
                raise fault

    def _tiled(self, lr: Pixels, point: WorkingPoint, bits: int, exact: bool) -> Upscaled:  # noqa: FBT001 - as given
        """Upscale frames whole where they are small enough, else window by window."""
        card = self.card
        needs = TileNeeds(card.receptive_field, point.tile_pixels, card.size_multiple, card.fixed_size)
        height, width = lr.shape[1:3]
        if card.fixed_size is not None or height * width <= point.tile_pixels:
            return self._inner.upscale(lr, bits=bits, exact=exact)
        return self._by_windows(lr, plan_tiles(height, width, needs), bits, exact)

    def _by_windows(self, lr: Pixels, plan: TilePlan, bits: int, exact: bool) -> Upscaled:  # noqa: FBT001 - as given
        scale = self.card.scale

        def run(window: NDArray[np.generic]) -> tuple[NDArray[np.generic], bool]:
            found = self._inner.upscale(cast("Pixels", window[None]), bits=bits, exact=exact)
            return found.pixels[0], bool(found.finite[0])

        hr = np.empty((len(lr), lr.shape[1] * scale, lr.shape[2] * scale, *lr.shape[3:]), lr.dtype)
        finite = [upscale_frame(frame, out, plan, scale, run) for frame, out in zip(lr, hr, strict=True)]
        return Upscaled(cast("Pixels", hr), np.array(finite, np.bool_))


def _joined(parts: list[Upscaled]) -> Upscaled:
    pixels = np.concatenate([part.pixels for part in parts])
    return Upscaled(cast("Pixels", pixels), np.concatenate([part.finite for part in parts]))
