"""Ends downloads that are too slow in any way, and asks all the while whether they are still wanted.

It knows clocks and counts, no HTTP. The trap it is for: a server can keep sending bytes that never become part of
the body (endless headers, interim replies, chunk extensions), so the socket asks here, not the loop over the body.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from upscale_server.errors import SourceTimeout

Watch = Callable[[int, int | None], None]
"""Told the bytes done and in all (None: not known); what it raises ends the download."""

TELL_SECONDS = 0.25
"""How often `Watch` is called: a cancelled job ends at once for a person, and asking costs a database look-up."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The least that is expected of a source, in seconds and body bytes per second."""

    connect_seconds: float
    idle_seconds: float
    total_seconds: float
    least_bytes_per_second: float
    window_seconds: float = 20.0


class Watchdog:
    """Counts one download's body bytes over all its connections; `look` is called wherever time may pass.

    It belongs to the download's thread; `is_late` and `cut_line` alone are a `Sentry`'s, in another one.
    """

    def __init__(self, pace: Pace, watch: Watch, clock: Callable[[], float] = time.monotonic) -> None:
        self.done = 0
        self.total: int | None = None
        self._pace = pace
        self._watch = watch
        self._clock = clock
        now = clock()
        self._ends_at = now + pace.total_seconds
        self._moved_at = now
        self._told_at = float("-inf")
        self._marks: deque[tuple[float, int]] = deque([(now, 0)])
        self._came = 0
        self._judging = threading.Lock()
        self._line: Callable[[], None] | None = None

    def hold_line(self, cut: Callable[[], None]) -> None:
        """Know how the connection that is used now is cut; cutting one that is closed must do nothing."""
        self._line = cut

    @property
    def is_late(self) -> bool:
        """Tell whether `look` would raise for the time that has passed."""
        try:
            self._judge(self._clock())
        except SourceTimeout:
            return True
        return False

    def cut_line(self) -> None:
        """End the connection under whoever waits for it."""
        if self._line is not None:
            self._line()

    def expect_reply(self) -> None:
        """Start waiting for a reply's headers: all of them count as one wait."""
        self._moved_at = self._clock()

    @property
    def seconds_left(self) -> float:
        """Return how long the download may go on."""
        return self._ends_at - self._clock()

    def hasten(self, seconds: float) -> None:
        """Leave no more time than this."""
        self._ends_at = min(self._ends_at, self._clock() + seconds)

    def excuse(self, seconds: float) -> None:
        """Leave out a pause of our own that has just ended; slowness before it stays on the record."""
        self._moved_at = self._clock()
        with self._judging:
            self._marks = deque((at + seconds, came) for at, came in self._marks)

    def start_body(self, done: int, total: int | None) -> None:
        """Say how much of the body is there already, and how long it will be."""
        self.done, self.total = done, total
        self._moved_at = self._clock()

    def advance(self, byte_count: int) -> None:
        """Count body bytes that came."""
        self.done += byte_count
        self._came += byte_count
        self._moved_at = self._clock()

    def look(self) -> None:
        """Compare with the clock, and ask whether to go on.

        Raises:
            SourceTimeout: the source took too long.
        """
        now = self._clock()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            self._watch(self.done, self.total)
        self._judge(now)

    def _judge(self, now: float) -> None:
        if now >= self._ends_at:
            raise SourceTimeout(
                f"the download took longer than {self._pace.total_seconds:g} s; {self._so_far()}",
                hint="the limit is UPSCALE_FETCH__TOTAL_SECONDS",
            )
        if now - self._moved_at >= self._pace.idle_seconds:
            raise SourceTimeout(
                f"the source's server sent nothing for {self._pace.idle_seconds:g} s; {self._so_far()}",
                hint="the limit is UPSCALE_FETCH__IDLE_SECONDS",
            )
        with self._judging:
            self._look_at_rate(now)

    def _look_at_rate(self, now: float) -> None:
        window = self._pace.window_seconds
        while len(self._marks) > 1 and now - self._marks[1][0] >= window:
            self._marks.popleft()
        then, came = self._marks[0]
        if now - then >= window and (self._came - came) / (now - then) < self._pace.least_bytes_per_second:
            raise SourceTimeout(
                f"the source's server sends {(self._came - came) / (now - then):.0f} bytes/s; "
                f"the least is {self._pace.least_bytes_per_second:g}",
                hint="the limit is UPSCALE_FETCH__LEAST_BYTES_PER_SECOND",
            )
        if now - self._marks[-1][0] >= window / 40:
            self._marks.append((now, self._came))

    def _so_far(self) -> str:
        return f"{self.done} of {self.total if self.total is not None else 'unknown'} bytes had come"
