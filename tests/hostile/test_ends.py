"""A server is told to stop, or the time of day jumps: jobs go on where they were, and nothing is lost or done twice.

Time jumps in all processes of a server at once, in the middle of their work.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.anatomy import anatomy, leftovers
from tests.support.killing import AT_LEISURE, wait_until
from tests.support.many_jobs import QUICK, Caller, finished, small_source, states, times_ended
from tests.support.moved_clock import CLOCKS
from tests.support.processes import descendants, is_alive
from tests.support.server import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

HOUR, DAY = 3600, 86_400
DRAIN_SECONDS = 5
MOST_SECONDS = 35
"""A drain of 5 s, 5 s for a lane to let go, 10 s for the threads, and 15 s for a busy machine to end ten processes."""
Report = Callable[[str, dict[str, object]], None]


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    """Give somebody who hands in jobs of two segments."""
    with small_source(tmp_path / "sources", seconds=14) as source, Caller(source) as one:
        yield one


@pytest.mark.parametrize("jobs", [0, 1, 8])
def test_a_stopped_server_drains(jobs: int, length: str, caller: Caller, report: Report, tmp_path: Path) -> None:
    """SIGTERM in the midst of none, one and eight jobs: it ends in time, leaves no process and loses no job."""
    if length == "short" and jobs != 8:
        pytest.skip("runs with HOSTILE=full")
    state = tmp_path / "state"
    with running(state, environment={**QUICK, "UPSCALE_JOBS__DRAIN_SECONDS": str(DRAIN_SECONDS)}) as server:
        for _ in range(jobs):
            caller.submit(server.url)
        wait_until(lambda: not jobs or bool(anatomy(server.process.pid)["inmate"]))
        everyone, began = descendants(server.process.pid), time.monotonic()
        code = server.stop(signal.SIGTERM)
        took = time.monotonic() - began
        wait_until(lambda: not any(is_alive(pid) for pid in everyone))
    held = states(state / "video" / "jobs.db")
    with running(state, environment=QUICK) as server:
        wait_until(lambda: set(caller.ids) <= finished(state / "video" / "jobs.db"), AT_LEISURE)
        ended = caller.jobs(server.url)
    report(f"drain_{jobs}", {"jobs": jobs, "exit_code": code, "seconds": round(took, 1), "when_it_ended": dict(held)})

    assert 0 == code
    assert took < MOST_SECONDS
    assert 0 == held["running"]
    assert jobs < 8 or held["queued"], "all jobs were over before the server was told to stop"
    assert jobs == held.total()
    assert ["succeeded"] * jobs == [ended[job_id]["state"] for job_id in caller.ids]
    assert [] == leftovers(state, frozenset(caller.ids))


@pytest.mark.parametrize("clock", CLOCKS)
def test_jumps_of_the_clock_disturb_no_job(
    clock: str, length: str, caller: Caller, report: Report, tmp_path: Path
) -> None:
    """An hour and a day, forth and back, each in the middle of a job: all succeed once with the same bytes."""
    if length == "short" and clock != "python":
        pytest.skip("runs with HOSTILE=full")
    state, jumps = tmp_path / "state", (HOUR, -HOUR, DAY, -DAY, 0)
    moved = CLOCKS[clock](tmp_path / "clock")
    with running(state, environment={**QUICK, **moved.environment}) as server:
        for seconds in jumps if length != "short" else (DAY, -DAY):
            caller.submit(server.url)
            caller.submit(server.url)
            wait_until(lambda: bool(anatomy(server.process.pid)["inmate"]))
            moved.jump(seconds)
            wait_until(lambda: set(caller.ids) <= finished(state / "video" / "jobs.db"), AT_LEISURE)
        ended = caller.jobs(server.url)
        digests = {caller.digest(server.url, job_id) for job_id in caller.ids}
        code = server.stop()
    seen = [datetime.fromisoformat(str(job["created_at"])).timestamp() for job in ended.values()]
    report(f"clock_{clock}", {"jobs": len(ended), "jumps": list(jumps), "different_results": len(digests) - 1})

    assert ["succeeded"] * len(caller.ids) == [ended[job_id]["state"] for job_id in caller.ids]
    assert 1 == len(digests)
    assert {1} == set(times_ended(state / "server.log").values())
    assert 0 == code
    assert [] == leftovers(state, frozenset(caller.ids))
    assert max(seen) - min(seen) > DAY, "the clock did not jump"
