"""What callers do to the jobs' database in `bench_control`, by threads of one server or by several processes.

Each kind of work is a function that makes ready for one caller and returns a step; steps are counted and timed here.
"""

from __future__ import annotations

import multiprocessing
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from upscale_server.jobs.database import Database
from upscale_server.jobs.job import Asked, Claim, NewJob, Outcome, Progress, Source
from upscale_server.jobs.store import JobStore
from upscale_server.jobs.tables import jobs, schema

LEASE_SECONDS = 30.0
ROOM = 10_000_000
RENEWALS = 10
"""Of one life: as many as a job of ten seconds has, at one a second."""
TOGETHER = 1000
"""Leases that are renewed by one statement."""
_PLAN_BYTES, _SEGMENT_BYTES = 4900, 75
"""What the plan of the bundled clip takes as JSON, and what each of its segments adds."""
_START_SECONDS = 300.0
_CHUNK = 1000
FILM_SEGMENTS = 720
"""Of two hours, ten seconds each."""

Step = Callable[[], object]


class _WithoutTheLock(Database):
    """Writers that do not lock the one row that every writer locks; they look at the version as ever."""

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self.reading() as connection:
            self.check_version(connection)
            yield connection


@dataclass(frozen=True, slots=True)
class Opened:
    """One server's way to the database: its store, the tables past it, and a store whose writers run side by side."""

    store: JobStore
    database: Database
    by_row: JobStore


Work = Callable[[Opened], Step]
"""Makes ready for one caller and returns what it does again and again."""


@dataclass(frozen=True, slots=True)
class Callers:
    """Who works at the same time: threads of one server, or processes with a store each, as several servers are."""

    count: int
    are_servers: bool = False

    @property
    def name(self) -> str:
        """Return what a row is called."""
        kind = "process" if self.are_servers else "thread"
        return f"{self.count} {kind}{('es' if self.are_servers else 's') if self.count > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Rate:
    """Steps a second of all callers together, and how long one took."""

    per_second: float
    p50_ms: float
    p99_ms: float


@contextmanager
def opened(url: str) -> Iterator[Opened]:
    """Open a database as a server does, and close it."""
    with closing(JobStore(url)) as store, closing(Database(url)) as database, closing(JobStore(url)) as by_row:
        by_row._database.close()  # noqa: SLF001 - in its place comes what was tried and not built
        by_row._database = _WithoutTheLock(url)  # noqa: SLF001
        yield Opened(store, database, by_row)


def plan_like(segments: int) -> dict[str, Any]:  # JSON values
    """Return JSON values of the size that the plan of a video with so many segments has."""
    return {"source": "x" * _PLAN_BYTES, "segments": ["x" * _SEGMENT_BYTES] * segments}


def rate_of(url: str, work: str, callers: Callers, seconds: float) -> Rate:
    """Let callers work for some seconds, all from the same moment on."""
    runs = (_by_processes if callers.are_servers else _by_threads)(url, work, callers.count, seconds)
    times = sorted(one for run in runs for one in run)
    per_second = sum(len(run) / sum(run) for run in runs)
    return Rate(per_second, 1000 * times[len(times) // 2], 1000 * times[int(len(times) * 0.99)])


def _by_threads(url: str, work: str, number: int, seconds: float) -> list[list[float]]:
    start = threading.Barrier(number, timeout=_START_SECONDS)
    with opened(url) as server, ThreadPoolExecutor(number) as pool:
        runs = [pool.submit(_timed, server, work, start.wait, seconds) for _ in range(number)]
        return [one.result() for one in runs]


def _by_processes(url: str, work: str, number: int, seconds: float) -> list[list[float]]:
    context = multiprocessing.get_context("spawn")  # each begins with nothing of ours, as another server does
    start, found = context.Barrier(number, timeout=_START_SECONDS), context.SimpleQueue()
    children = [
        context.Process(target=_in_process, args=(url, work, start, found, seconds), daemon=True)
        for _ in range(number)
    ]  # fmt: skip
    for one in children:
        one.start()
    runs = [found.get() for _ in children]
    for one in children:
        one.join()
    failed = [one for one in runs if isinstance(one, str)]
    if failed:
        raise RuntimeError(failed[0])
    return runs


def _in_process(url: str, work: str, start: Any, found: Any, seconds: float) -> None:  # noqa: ANN401 - of any context
    try:
        with opened(url) as server:
            found.put(_timed(server, work, start.wait, seconds))
    except Exception as err:  # noqa: BLE001 - told to the parent, which waits
        start.abort()
        found.put(f"{type(err).__name__}: {err}")


def _timed(server: Opened, work: str, ready: Callable[[], object], seconds: float) -> list[float]:
    """Return the seconds of each step that began in time."""
    step, times = WORKS[work](server), list[float]()
    ready()
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return times


# ---------------------------------------------------------------------------------------------------- works


def submitting(server: Opened) -> Step:
    """Hand jobs in."""
    return lambda: server.store.add(_new(), ROOM)


def claiming(server: Opened) -> Step:
    """Take jobs that wait, which the database has to hold enough of."""
    owner = secrets.token_hex(4)
    return lambda: _claimed(server.store, owner)


def living(server: Opened) -> Step:
    """Lead jobs through their lives: handed in, claimed, planned, renewed, finished."""
    store, owner = server.store, secrets.token_hex(4)

    def step() -> None:
        store.add(_new(), ROOM)
        claim = _claimed(store, owner)
        store.keep_plan(claim, plan_like(1))
        for done in range(RENEWALS):
            store.hold(claim, Progress("upscale", done, RENEWALS, 1.0, 1.0))
        store.finish(claim, Outcome("results/x.mp4", 1234, 5.5, report={"frames": RENEWALS}))

    return step


def renewing(server: Opened) -> Step:
    """Renew the lease of one job with new progress each time."""
    return _renewing(server, segments=1)


def renewing_film(server: Opened) -> Step:
    """Renew the lease of one job whose plan has as many segments as a film of two hours."""
    return _renewing(server, segments=FILM_SEGMENTS)


def _renewing(server: Opened, segments: int) -> Step:
    claim, numbers = _held(server.store, segments), count(1)
    return lambda: server.store.hold(claim, Progress("upscale", next(numbers), 10_000_000, 1.0, 1.0))


def renewing_by_row(server: Opened) -> Step:
    """Renew a lease by the same statements, of which only the last locks anything: the job's own row."""
    claim, numbers = _held(server.store, segments=1), count(1)
    return lambda: server.by_row.hold(claim, Progress("upscale", next(numbers), 10_000_000, 1.0, 1.0))


def renewing_together(server: Opened) -> Step:
    """Renew the leases of `TOGETHER` jobs of one server by one statement, which stores no progress."""
    owner = secrets.token_hex(4)
    fill(server, TOGETHER)
    for _ in range(TOGETHER):
        _claimed(server.store, owner)
    ours = and_(jobs.c.state == "running", jobs.c.owner == owner)

    def step() -> None:
        with server.database.reading() as connection:
            connection.execute(update(jobs).where(ours).values(lease_until=time.time() + LEASE_SECONDS))

    return step


WORKS: dict[str, Work] = {
    "submit": submitting,
    "claim": claiming,
    "life": living,
    "renew": renewing,
    "renew_film": renewing_film,
    "renew_by_row": renewing_by_row,
    "renew_together": renewing_together,
}


def fill(server: Opened, waiting: int) -> None:
    """Let so many more jobs wait, written past the store, which would count those before with each."""
    first = server.store.add(_new(), ROOM)
    with server.database.writing() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == first.id)).one()._asdict()
        for begin in range(1, waiting, _CHUNK):
            places = range(begin, min(waiting, begin + _CHUNK))
            copies = [{**row, "id": secrets.token_hex(16), "number": row["number"] + one} for one in places]
            connection.execute(insert(jobs), copies)
        connection.execute(update(schema).values(last_number=row["number"] + waiting - 1))


def _new() -> NewJob:
    return NewJob(Asked(Source("url", "https://example.org/a/film.mp4"), scale=2))


def _claimed(store: JobStore, owner: str) -> Claim:
    claim = store.claim(owner, LEASE_SECONDS)
    if claim is None:
        raise LookupError("no job waits to be claimed")
    return claim


def _held(store: JobStore, segments: int) -> Claim:
    """Return a claim with its plan kept."""
    store.add(_new(), ROOM)
    claim = _claimed(store, secrets.token_hex(4))
    store.keep_plan(claim, plan_like(segments))
    return claim
