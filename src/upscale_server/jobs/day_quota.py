"""Holds a key to what it may use in a day, and counts what it uses.

A request is taken as long as something of the day is left: how much it will use is known only when its source is there.
"""

from __future__ import annotations

from pathlib import Path

from upscale_server.edge_settings import Quotas
from upscale_server.errors import RateLimited
from upscale_server.jobs.database import Database
from upscale_server.jobs.usage import Usage, Used


class DayQuota:
    """The day's bounds of every key; safe to call from several threads.

    Args:
        settings: the bounds; where both are 0 nothing is counted and no database is asked.
        usage: the counts.
    """

    def __init__(self, settings: Quotas, usage: Usage | None) -> None:
        self._settings = settings
        self._usage = usage if settings.bytes_a_day or settings.pixels_a_day else None

    def check(self, key_id: str) -> None:
        """Return where a key has something left of its day.

        Raises:
            RateLimited: it has not; with the seconds until the next day.
        """
        if self._usage is None:
            return
        used, settings = self._usage.today(key_id), self._settings
        self._hold(used.byte_count, settings.bytes_a_day, "bytes of sources", "UPSCALE_QUOTAS__BYTES_A_DAY")
        self._hold(used.pixels, settings.pixels_a_day, "pixels of results", "UPSCALE_QUOTAS__PIXELS_A_DAY")

    def add(self, key_id: str, byte_count: int = 0, pixels: int = 0) -> None:
        """Count what a key uses."""
        if self._usage is not None and (byte_count or pixels):
            self._usage.add(key_id, Used(byte_count, pixels))

    def _hold(self, used: int, most: int, what: str, setting: str) -> None:
        if not 0 < most <= used or self._usage is None:
            return
        error = RateLimited(f"{used} {what} today; the limit is {most}, see {setting}", hint="the day ends with UTC's")
        error.retry_after = self._usage.seconds_left()
        raise error


NO_QUOTA = DayQuota(Quotas(), None)
"""No bounds; nothing is counted."""


def quota_at(path: Path, settings: Quotas) -> DayQuota:
    """Return the bounds with their counts in a database of their own: processes that share it count together.

    Raises:
        StorageError, DiskFull: it does not open.
    """
    if not (settings.bytes_a_day or settings.pixels_a_day):
        return NO_QUOTA
    return DayQuota(settings, Usage(Database(f"sqlite:///{path.absolute()}")))
