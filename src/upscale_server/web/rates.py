"""Bounds how many requests a key may send in a minute.

Kept in memory: a restart forgets a minute at most. What a key uses in a day is counted by `jobs.usage`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from upscale_server.errors import RateLimited

MINUTE = 60.0


class Rates:
    """The requests of each key: as many at once as in a minute, then one whenever its time has come again.

    Only keys that are ours are counted, so that there are never more of them than in the settings.

    Args:
        per_minute: 0 means no bound.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def count(self, key_id: str) -> None:
        """Count a request.

        Raises:
            RateLimited: with the seconds until the next one is taken.
        """
        if not self._per_minute:
            return
        now = self._clock()
        left, at = self._left.get(key_id, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - at) * self._per_minute / MINUTE)
        if left < 1:
            self._left[key_id] = left, now
            error = RateLimited(
                f"{self._per_minute} requests a minute are taken; see UPSCALE_QUOTAS__REQUESTS_PER_MINUTE"
            )
            error.retry_after = math.ceil((1 - left) * MINUTE / self._per_minute)
            raise error
        self._left[key_id] = left - 1, now
