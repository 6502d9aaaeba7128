"""How much each key has used today, kept in a database so that no restart gives it a new day.

It counts; what is too much is decided by whoever asks. Days are those of UTC, and older ones are forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from upscale_server.jobs.database import Database
from upscale_server.jobs.tables import usage


@dataclass(frozen=True, slots=True)
class Used:
    """What a key has used in a day: bytes of sources, and pixels of all frames of results."""

    byte_count: int = 0
    pixels: int = 0


class Usage:
    """The counts of all servers that share a database; safe to call from several threads.

    Raises:
        StorageError: from every method, when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def today(self, key_id: str) -> Used:
        """Return what a key has used today."""
        with self._database.reading() as connection:
            row = connection.execute(select(usage).where(_of(key_id, self._day(connection)))).first()
        return Used() if row is None else Used(row.bytes, row.pixels)

    def add(self, key_id: str, used: Used) -> None:
        """Count what a key used just now."""
        more = {"bytes": usage.c.bytes + used.byte_count, "pixels": usage.c.pixels + used.pixels}
        with self._database.writing() as connection:
            day = self._day(connection)
            if connection.execute(update(usage).where(_of(key_id, day)).values(**more)).rowcount:
                return
            connection.execute(delete(usage).where(usage.c.day < day))
            first = {"key_id": key_id, "day": day, "bytes": used.byte_count, "pixels": used.pixels}
            connection.execute(insert(usage).values(**first))

    def seconds_left(self) -> int:
        """Return the seconds until the next day begins, at least one."""
        now = datetime.fromtimestamp(self._database.clock(), UTC)
        tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return max(1, int((tomorrow - now).total_seconds()) + 1)

    def _day(self, connection: Connection) -> str:
        return datetime.fromtimestamp(self._database.now(connection), UTC).date().isoformat()


def _of(key_id: str, day: str) -> ColumnElement[bool]:
    return and_(usage.c.key_id == key_id, usage.c.day == day)
