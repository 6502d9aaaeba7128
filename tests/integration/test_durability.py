"""A job once accepted survives anything: its workers' death, its server's, both, a full disk, a store that is away.

Servers are real, in processes of their own; kills come at facts on the disk, so that they hit the work and not a clock.
"""

from __future__ import annotations

import hashlib
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.killing import Marker, Moment, markers, reached, wait_until
from tests.support.many_jobs import QUICK
from tests.support.processes import descendants, is_alive, kill, workers_of
from tests.support.server import Server, running, serving
from upscale_server.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # twenty restarts of a server take minutes

KILLS = 20
SEGMENTS = 24
SECONDS_A_SEGMENT = 10
RATE = 6
MOST_LOOKS = 60
"""A look takes some five milliseconds, so kills spread over the first third of a second of a segment's work."""
PATIENT = {**QUICK, "UPSCALE_JOBS__ATTEMPTS": "99"}
"""A job may be begun that often; the default takes it for the killer after three."""


@dataclass(frozen=True, slots=True)
class Blow:
    """What dies, and when."""

    victim: str
    moment: Moment


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a clip of four minutes, small and slow, that is cut into 24 segments."""
    folder = tmp_path_factory.mktemp("sources")
    picture = Picture(
        width=160, height=96, rate=Fraction(RATE), frame_count=SEGMENTS * SECONDS_A_SEGMENT * RATE,
        options={"g": str(RATE * 2)},
    )  # fmt: skip
    write_clip(Clip(pictures=(picture,)), folder / "long.mp4")
    with serving(folder) as url:
        yield url


def submitted(server: Server, url: str) -> str:
    """Ask for the job that all these tests do, and return its id."""
    with Client(server.url) as client:
        return str(client.submit({"payload_url": url, "scale": 2, "model": "lanczos"})["id"])


def outcome(server: Server, job_id: str, folder: Path) -> tuple[str, dict[str, object]]:
    """Wait for the end of a job; return its result's digest and its record."""
    with Client(server.url) as client:
        job = client.wait(job_id, 300)
        path = client.download(job["result"]["url"], folder / f"{job_id}.mp4")
    return hashlib.sha256(path.read_bytes()).hexdigest(), dict(job)


@pytest.fixture(scope="module")
def undisturbed(sources: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the digest of the result when nobody dies."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with running(folder / "state", environment=QUICK) as server:
        return outcome(server, submitted(server, f"{sources}/long.mp4"), folder)[0]


def blows(seed: int) -> list[Blow]:
    """Draw what dies when: at twenty different numbers of finished segments, so that no segment is hit twice."""
    chance = random.Random(seed)
    finished = sorted(chance.sample(range(SEGMENTS - 1), KILLS))
    victims = ["worker", "server", "both"]
    return [Blow(chance.choice(victims), Moment(count, chance.randrange(MOST_LOOKS))) for count in finished]


def strike(server: Server, victim: str, chance: random.Random) -> list[int]:
    """Kill what is to die; return the processes that must be gone afterwards."""
    workers, everyone = workers_of(server.process.pid), descendants(server.process.pid)
    if victim != "server":
        kill(chance.choice(workers))
    if victim == "worker":
        return []
    kill(server.process.pid)
    server.process.wait()
    return everyone


def test_twenty_kills_leave_the_same_bytes(sources: str, undisturbed: str, tmp_path: Path) -> None:
    """Whatever dies, the job goes on from its finished segments, alone, and ends with the same file."""
    state, chance, plan = tmp_path / "state", random.Random(5), blows(5)
    assert {"worker", "server", "both"} == {blow.victim for blow in plan}
    job_id, before = "", frozenset[Marker]()

    while plan:
        with running(state, environment=PATIENT) as server:
            job_id = job_id or submitted(server, f"{sources}/long.mp4")
            while plan and server.process.poll() is None:
                blow = plan.pop(0)
                wait_until(reached(state, blow.moment))
                mortal = strike(server, blow.victim, chance)
                after = markers(state)
                assert before <= after, "a finished segment was done again"
                before = after
                wait_until(lambda gone=mortal: not any(is_alive(pid) for pid in gone))
    with running(state, environment=PATIENT) as server:
        digest, job = outcome(server, job_id, tmp_path)

    assert undisturbed == digest
    assert "succeeded" == job["state"]
    assert not list(state.rglob("segment-*")), "work was left behind"


def test_a_stopping_server_parks_its_work(sources: str, undisturbed: str, tmp_path: Path) -> None:
    """SIGTERM under load ends with exit code 0 and no child; the next start goes on and makes the same bytes."""
    state = tmp_path / "state"
    with running(state, environment=QUICK) as server:
        job_id = submitted(server, f"{sources}/long.mp4")
        waiting = [submitted(server, f"{sources}/long.mp4") for _ in range(4)]
        wait_until(reached(state, Moment(2)))
        children = descendants(server.process.pid)
        code = server.stop(signal.SIGTERM)
    before = markers(state)

    wait_until(lambda: not any(is_alive(pid) for pid in children))
    with running(state, environment=QUICK) as server:
        with Client(server.url) as client:
            for one in waiting:
                client.cancel(one)
        digest, job = outcome(server, job_id, tmp_path)

    assert 0 == code
    assert len(before) >= 2
    assert undisturbed == digest
    assert 1 <= job["attempt"] <= 3
