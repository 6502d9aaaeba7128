"""Two real servers over one Postgres and one object store: either does what was handed to the other, and only once.

One of them is stopped, killed or started again, its clock is wrong, or the database is away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from tests.support.killing import AT_LEISURE, wait_until
from tests.support.many_jobs import Caller, small_source
from tests.support.moved_clock import in_python
from tests.support.postgres_server import Postgres
from tests.support.receiver import Receiver
from tests.support.s3_server import Swift, running_swift
from tests.support.several_servers import Member, Servers
from upscale_server.jobs.carry import object_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AWAY_SECONDS = 10
LONG_SECONDS = 200
"""Of a clip in twenty segments, which take seconds."""
OUTLASTING_SECONDS = 600
"""Of a clip that is in work for longer than the database is away."""


@dataclass(slots=True)
class Scene:
    """Servers, and two who hand in jobs: small ones, and long ones of twenty segments."""

    servers: Servers
    swift: Swift
    small: Caller
    long: Caller
    members: list[Member] = field(default_factory=list)

    def carrier_of(self, job_id: str) -> Member:
        """Wait until a job is worked on, and return who does it."""
        found: list[Member] = []

        def is_carried() -> bool:
            found[:] = [one for one in self.members if job_id in self.servers.ledger.held(one.owner, "upscale")]
            return bool(found)

        wait_until(is_carried, AT_LEISURE)
        return found[0]

    def keep_all_busy(self) -> list[str]:
        """Hand in long jobs until every server works on one; return them."""
        made: list[str] = []
        while idle := [one for one in self.members if not self.servers.ledger.held(one.owner, "upscale")]:
            made.append(self.long.submit(idle[0].url))
            self.carrier_of(made[-1])
        return made

    def other_than(self, member: Member) -> Member:
        """Return the other one."""
        return next(one for one in self.members if one is not member)

    def wait_for(self, *job_ids: str) -> None:
        """Wait until jobs are over, one after the other: together they may take longer than anybody waits."""
        for job_id in job_ids:
            wait_until(lambda one=job_id: one in self.servers.ledger.finished(), AT_LEISURE)  # type: ignore[misc]

    def check_each_ended_once(self, *job_ids: str) -> None:
        """Find all jobs succeeded, with an object for each, and all those of one caller with the same bytes."""
        ledger = self.servers.ledger
        assert ["succeeded"] * len(job_ids) == [ledger.job(job_id)["state"] for job_id in job_ids]
        results = ledger.results()
        assert {results[job_id] for job_id in job_ids} <= set(self.swift.keys())
        for caller in (self.small, self.long):
            asked = set(caller.ids) & set(job_ids)
            assert len({self.swift.version(results[job_id])[2] for job_id in asked}) <= 1


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """Give a real S3 server."""
    with running_swift(tmp_path_factory.mktemp("swift")) as started:
        yield started


@contextmanager
def scene_in(folder: Path, postgres: Postgres, swift: Swift, count: int, **more: str) -> Iterator[Scene]:
    """Give so many servers over a new database and an empty bucket."""
    swift.empty()
    with ExitStack() as stack:
        clips = {"small": 24, "long": LONG_SECONDS}
        sources = {name: stack.enter_context(small_source(folder / name, clips[name])) for name in clips}
        callers = [stack.enter_context(Caller(source, name)) for name, source in sources.items()]
        scene = Scene(stack.enter_context(Servers(folder, postgres, swift)), swift, *callers)
        scene.members += [scene.servers.add(**more) for _ in range(count)]
        yield scene


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, swift: Swift) -> Iterator[Scene]:
    """Give two servers that the tests leave as they were."""
    with scene_in(tmp_path_factory.mktemp("pair"), postgres, swift, 2) as made:
        yield made


def ask(member: Member, method: str, path: str, **more: object) -> httpx.Response:
    """Ask a server for something."""
    return httpx.request(method, f"{member.url}{path}", trust_env=False, timeout=60, **more)  # type: ignore[arg-type]


def test_either_server_shows_pauses_cancels_and_gives_out_the_others_jobs(pair: Scene) -> None:
    """Whoever carries it: the other one sees how far it is, stops it, lets it go on, and leads to its result."""
    ledger = pair.servers.ledger
    job_id, unwanted = pair.long.submit(pair.members[0].url), ""
    carrier = pair.carrier_of(job_id)
    other = pair.other_than(carrier)

    seen = ask(other, "GET", f"/v1/jobs/{job_id}").json()
    paused = ask(other, "POST", f"/v1/jobs/{job_id}/pause")
    wait_until(lambda: ledger.job(job_id)["state"] == "paused", AT_LEISURE)
    kept = ledger.job(job_id)["progress"]["segments_done"]
    resumed = ask(other, "POST", f"/v1/jobs/{job_id}/resume")
    again = pair.carrier_of(job_id)
    unwanted = pair.long.submit(pair.members[1].url)
    wait_until(lambda: ledger.job(unwanted)["state"] == "running", AT_LEISURE)
    for member in pair.members:
        assert ask(member, "POST", f"/v1/jobs/{unwanted}/cancel").status_code == 200
    pair.wait_for(job_id, unwanted)
    digests = {pair.long.digest(member.url, job_id) for member in pair.members}
    listed = [set(pair.long.jobs(member.url)) for member in pair.members]

    assert ("running", "upscale") == (seen["state"], seen["progress"]["phase"])
    assert (200, 200) == (paused.status_code, resumed.status_code)
    assert kept > 0
    assert carrier is again  # where that is, and not at the one that was asked
    assert "canceled" == ledger.job(unwanted)["state"]
    assert 1 == len(digests)
    assert listed[0] == listed[1] >= {job_id, unwanted}


def test_one_key_at_both_servers_at_once_is_one_job(pair: Scene) -> None:
    """Twenty times: both answer with the same job, whichever was first, and each is told of once."""
    with Receiver() as receiver, ThreadPoolExecutor(2) as both:

        def hand_in(member: Member, number: int) -> str:
            asked = {"payload_url": pair.small.source, "scale": 2, "model": "lanczos", "webhook_url": receiver.url()}
            reply = ask(member, "POST", "/v1/jobs", json=asked, headers={"Idempotency-Key": f"both-{number}"})
            return str(reply.raise_for_status().json()["id"])

        found = [tuple(both.map(lambda one, n=number: hand_in(one, n), pair.members)) for number in range(20)]
        made = {ours for ours, _ in found}
        pair.wait_for(*made)
        wait_until(lambda: len(receiver.told) >= len(made), AT_LEISURE)
        told = [one.headers["x-delivery-id"] for one in receiver.told]

    assert [ours for ours, _ in found] == [theirs for _, theirs in found]
    assert 20 == len(made) == len(told) == len(set(told))
    assert {1} == set(pair.servers.ledger.ends_told().values())
    pair.check_each_ended_once(*made)


@pytest.fixture
def outlasting(pair: Scene, tmp_path: Path) -> Iterator[Scene]:
    """Give the two servers with longer jobs."""
    with small_source(tmp_path / "source", OUTLASTING_SECONDS) as source, Caller(source, "outlasting") as caller:
        yield replace(pair, long=caller)


def test_a_database_that_is_away_for_a_while_costs_nothing(outlasting: Scene, postgres: Postgres) -> None:
    """Ten seconds: requests are refused for a while, jobs in hand go on, and nothing is lost, failed or done twice."""
    pair = outlasting
    long = pair.keep_all_busy()
    waiting = [pair.small.submit(member.url) for member in pair.members for _ in range(3)]
    attempts = [pair.servers.ledger.job(job_id)["attempt"] for job_id in long]

    postgres.stop()
    back_at = time.monotonic() + AWAY_SECONDS
    asked = {"payload_url": pair.small.source, "scale": 2, "model": "lanczos"}
    refused = [
        reply
        for member in pair.members
        for reply in (
            ask(member, "POST", "/v1/jobs", json=asked), ask(member, "GET", f"/v1/jobs/{long[0]}"),
            ask(member, "POST", f"/v1/jobs/{long[0]}/cancel"), ask(member, "GET", "/readyz"),
        )
    ]  # fmt: skip
    alive = [ask(member, "GET", "/livez").status_code for member in pair.members]
    wait_until(lambda: time.monotonic() > back_at, AT_LEISURE)
    postgres.start()
    left = [pair.servers.ledger.job(job_id)["progress"] for job_id in long]
    wait_until(lambda: not any(pair.servers.ledger.job(one)["progress"] in left for one in long), AT_LEISURE)
    phases = {pair.servers.ledger.job(job_id)["progress"]["phase"] for job_id in long}
    pair.wait_for(*long, *waiting)
    wait_until(lambda: all(ask(member, "GET", "/readyz").status_code == 200 for member in pair.members), AT_LEISURE)

    assert {(503, "storage_error", True)} == {
        (reply.status_code, reply.json()["code"], "retry-after" in reply.headers) for reply in refused
    }
    assert [200, 200] == alive
    assert {"upscale"} == phases  # none had to plan or store without the database
    assert attempts == [pair.servers.ledger.job(job_id)["attempt"] for job_id in long]
    pair.check_each_ended_once(*long, *waiting)


def test_a_server_that_stands_still_beyond_its_lease_changes_nothing_more(
    postgres: Postgres, swift: Swift, tmp_path: Path
) -> None:
    """The other one does its job; it goes on, finds that out, and neither row nor object nor store hear of it."""
    with scene_in(tmp_path, postgres, swift, 2) as scene:
        job_id = scene.long.submit(scene.members[0].url)
        victim = scene.carrier_of(job_id)

        victim.stand_still()
        scene.wait_for(job_id)
        row, writes = scene.servers.ledger.job(job_id), victim.writes()
        version = swift.version(row["outcome"]["key"])
        victim.go_on()
        victim.server.line("event=job_lost")
        after = scene.small.submit(victim.url)
        scene.wait_for(after)

        assert ("succeeded", 2) == (row["state"], row["attempt"])
        assert row == scene.servers.ledger.job(job_id)
        assert version == swift.version(row["outcome"]["key"])
        assert [] == [line for line in victim.writes()[len(writes) :] if job_id in line]
        assert {row["outcome"]["key"], scene.servers.ledger.results()[after]} == set(swift.keys())


def test_a_server_that_stands_still_while_it_stores_replaces_nothing(
    postgres: Postgres, swift: Swift, tmp_path: Path
) -> None:
    """Its upload arrives when another has finished the job: it is taken back, and the other one's stays as it is."""
    with scene_in(tmp_path, postgres, swift, 1) as scene:
        victim = scene.members[0]
        victim.server.line("event=store_usable")
        victim.proxy.bytes_per_second = 2000
        job_id = scene.small.submit(victim.url)
        wait_until(lambda: any("PUT" in line and job_id in line for line in victim.writes()), AT_LEISURE)
        victim.stand_still()
        scene.members.append(scene.servers.add())
        scene.wait_for(job_id)
        row = scene.servers.ledger.job(job_id)
        version = swift.version(row["outcome"]["key"])

        victim.proxy.bytes_per_second = None
        victim.go_on()
        victim.server.line("event=job_lost")
        wait_until(lambda: [row["outcome"]["key"]] == swift.keys(), AT_LEISURE)
        theirs = [line for line in victim.writes() if job_id in line]

        assert ("succeeded", 2) == (row["state"], row["attempt"])
        assert object_key(job_id, scene.members[1].owner) == row["outcome"]["key"]
        assert row == scene.servers.ledger.job(job_id)
        assert version == swift.version(row["outcome"]["key"])
        assert not any(row["outcome"]["key"] in line for line in theirs)


def test_a_server_whose_clock_is_ahead_takes_nobodys_job(postgres: Postgres, swift: Swift, tmp_path: Path) -> None:
    """Five minutes, a hundred leases: what the other one carries stays with it, and both go on doing jobs."""
    clock = in_python(tmp_path / "clock")
    with scene_in(tmp_path, postgres, swift, 1) as scene:
        clock.jump(300)
        scene.members.append(scene.servers.add(**clock.environment))
        long = scene.keep_all_busy()
        scene.wait_for(*long)
        rows = [scene.servers.ledger.job(job_id) for job_id in long]

        assert {1} == {row["attempt"] for row in rows}
        assert all(0 < row["outcome"]["seconds"] < 250 for row in rows)
        scene.check_each_ended_once(*long)


def test_both_servers_are_started_again_in_the_middle_of_their_work(
    postgres: Postgres, swift: Swift, tmp_path: Path
) -> None:
    """Stopped in order, then killed: every job goes on, and ends once."""
    with scene_in(tmp_path, postgres, swift, 2) as scene:
        jobs = []
        for end in (lambda one: one.server.stop(), lambda one: one.kill()):
            jobs += [scene.small.submit(member.url) for member in scene.members]
            jobs += scene.keep_all_busy()
            for member in scene.members:
                end(member)
            for member in scene.members:
                member.start()
        scene.wait_for(*jobs)

        scene.check_each_ended_once(*jobs)
        assert any(scene.servers.ledger.job(job_id)["attempt"] > 1 for job_id in jobs)


def test_where_results_are_local_jobs_stay_with_their_server(postgres: Postgres, swift: Swift, tmp_path: Path) -> None:
    """Its own server does it after it was away; the other one lists it, and says where its result may be."""
    with scene_in(tmp_path, postgres, swift, 2, UPSCALE_STORAGE__KIND="local") as scene:
        ours, theirs = scene.members
        job_id = scene.long.submit(ours.url)
        assert ours is scene.carrier_of(job_id)
        ours.kill()
        wait_until(lambda: scene.servers.ledger.job(job_id)["state"] == "queued", AT_LEISURE)  # the other one saw it
        quick = scene.small.submit(theirs.url)
        scene.wait_for(quick)
        left = scene.servers.ledger.job(job_id)["state"]
        ours.start()
        scene.wait_for(job_id)
        elsewhere = ask(theirs, "GET", f"/v1/jobs/{job_id}/output")
        refused = ask(theirs, "DELETE", f"/v1/jobs/{job_id}")
        here = ask(ours, "GET", f"/v1/jobs/{job_id}/output")

        assert "queued" == left
        assert (410, 409, 200) == (elsewhere.status_code, refused.status_code, here.status_code)
        assert "UPSCALE_STORAGE__KIND=s3" in elsewhere.json()["hint"]
        assert ask(ours, "DELETE", f"/v1/jobs/{job_id}").is_success
