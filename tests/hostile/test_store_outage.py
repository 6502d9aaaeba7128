"""The object store is away, or refuses us: nothing that was made is lost, and a refusal is told at once.

A real S3 server stands behind a proxy that does what networks and stores do at their worst.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.anatomy import leftovers
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.fault_proxy import FaultProxy
from tests.support.hostile import Amount
from tests.support.hurried_server import COMMAND
from tests.support.killing import wait_until
from tests.support.many_jobs import QUICK, Caller, finished, small_source
from tests.support.processes import kill
from tests.support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Swift, running_swift
from tests.support.server import Server, running, serving, starting, url_of
from upscale_server.jobs.turns import AHEAD, SPARE
from upscale_server.server_settings import Storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

CANARY = "canary-secret"
HURRY = 120
"""Times that the store's clock runs faster where twenty minutes are to pass: they take ten seconds."""
HELD = 1 + SPARE + AHEAD
"""Jobs that a server with one lane has in hand: so many uploads wait at once, the other jobs for a hand."""
PART = 8 << 20
"""Bytes of a part; the result that goes in parts has two."""
Report = Callable[[str, dict[str, object]], None]


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """Give a real S3 server."""
    with running_swift(tmp_path_factory.mktemp("swift")) as started:
        yield started


@pytest.fixture
def proxy(swift: Swift) -> Iterator[FaultProxy]:
    """Give a proxy before the server; the bucket is emptied after the test."""
    with FaultProxy(swift.port) as started:
        yield started
    swift.empty()


@dataclass(frozen=True, slots=True)
class Scene:
    """A store, the proxy before it, somebody who hands in small jobs, and the state folder of a server."""

    swift: Swift
    proxy: FaultProxy
    caller: Caller
    state: Path

    @property
    def all_over(self) -> bool:
        """Tell whether every job has ended."""
        return set(self.caller.ids) <= self.over

    @property
    def over(self) -> frozenset[str]:
        """Return the jobs that have ended."""
        return finished(self.state / "video" / "jobs.db")

    def storing(self, url: str) -> int:
        """Return how many jobs are at their uploads."""
        return sum(job["progress"]["phase"] == "store" for job in self.caller.jobs(url).values())

    @property
    def left(self) -> list[str]:
        """Return what is left that should not be: unfinished uploads in the store, files here."""
        return self.swift.uploads() + leftovers(self.state, frozenset(self.caller.ids))

    def arrived(self) -> list[str]:
        """Return the jobs whose results are in the store, all with the same bytes."""
        there = frozenset(self.swift.keys())
        assert 1 == len({hashlib.sha256(self.swift.body(key)).digest() for key in there})
        return [job_id for job_id in self.caller.ids if f"results/{job_id}.mp4" in there]


@pytest.fixture
def scene(swift: Swift, proxy: FaultProxy, tmp_path: Path) -> Iterator[Scene]:
    """Give the scene of an attack."""
    with small_source(tmp_path / "sources", seconds=4) as source, Caller(source) as caller:
        yield Scene(swift, proxy, caller, tmp_path / "state")


def storing(proxy: FaultProxy, **more: str) -> dict[str, str]:
    """Return the settings of a server that stores through the proxy."""
    s3 = {
        "ENDPOINT": f"http://127.0.0.1:{proxy.port}", "BUCKET": BUCKET,
        "ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY, **more,
    }  # fmt: skip
    return {
        **QUICK,
        "UPSCALE_STORAGE__KIND": "s3",
        **{f"UPSCALE_STORAGE__S3__{key}": value for key, value in s3.items()},
    }


def segments_run(server: Server) -> int:
    """Return how many segments the server's lanes have done."""
    return sum("order=RunSegment" in line and "event=order_done" in line for line in list(server.lines))


def told(job: dict[str, Any]) -> tuple[str, str, bool]:
    """Return how a job has failed."""
    return job["state"], job["fault"]["code"], job["fault"]["retryable"]


def test_uploads_outlast_a_minute_without_a_store(scene: Scene, amount: Amount, report: Report) -> None:
    """All arrive when it is back, the server goes on taking jobs meanwhile, and nothing is left beside the results."""
    proxy, caller, uploads, seconds = scene.proxy, scene.caller, amount(3, 20, 20), amount(3, 60, 60)
    began = time.monotonic()
    with running(scene.state, environment=storing(proxy)) as server:
        server.line("event=store_usable")
        proxy.down, down_until = True, time.monotonic() + seconds
        proxy.cut()
        for _ in range(uploads):
            caller.submit(server.url)
        wait_until(lambda: time.monotonic() > down_until and scene.storing(server.url) >= min(uploads, HELD))
        ready = httpx.get(f"{server.url}/readyz", trust_env=False, timeout=60).status_code
        over_meanwhile, refused, held = len(scene.over), proxy.refused, scene.storing(server.url)
        proxy.down, back_at = False, time.monotonic()
        wait_until(lambda: scene.all_over)
        back = round(time.monotonic() - back_at, 1)
        jobs, code = caller.jobs(server.url), server.stop()
    figures: dict[str, object] = {
        "uploads": uploads, "seconds_down": seconds, "tries_refused": refused, "ended_while_down": over_meanwhile,
        "uploads_begun_while_down": held,
        "arrived": len(scene.arrived()), "seconds_until_all_arrived": back, "left": scene.left,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    report("store_outage", figures)

    assert ["succeeded"] * uploads == [jobs[job_id]["state"] for job_id in caller.ids]
    assert (0, 200, 0) == (over_meanwhile, ready, code)
    assert refused > held
    assert (uploads, []) == (figures["arrived"], figures["left"])


def test_twenty_minutes_without_a_store_cost_no_work(scene: Scene, amount: Amount, report: Report) -> None:
    """Storing is tried for a quarter of an hour; then each finished file is kept, and a retry only stores it."""
    proxy, caller, uploads, began = scene.proxy, scene.caller, amount(2, 20, 20), time.monotonic()
    assert Storage().retry_seconds >= 15 * 60
    command = (*COMMAND, str(HURRY), "serve", "video")
    with starting(scene.state, environment=storing(proxy), command=command) as server:
        url = url_of(server)
        server.line("ready at http")
        server.line("event=store_usable")
        proxy.down, began_down = True, time.monotonic()
        proxy.cut()
        for _ in range(uploads):
            caller.submit(url)
        wait_until(lambda: scene.all_over and time.monotonic() - began_down > 20 * 60 / HURRY)
        minutes_down = round((time.monotonic() - began_down) * HURRY / 60, 1)
        kept = [told(job) for job in caller.jobs(url).values()]
        proxy.down = False
        for job_id in caller.ids:
            httpx.post(f"{url}/v1/jobs/{job_id}/retry", trust_env=False, timeout=60).raise_for_status()
        wait_until(lambda: all(job["state"] == "succeeded" for job in caller.jobs(url).values()))
        jobs, done_again, code = caller.jobs(url), segments_run(server) - uploads, server.stop()
    figures: dict[str, object] = {
        "uploads": uploads, "minutes_down": minutes_down, "clock_times_faster": HURRY, "given_up_and_kept": len(kept),
        "arrived": len(scene.arrived()), "segments_done_again": done_again,
        "left": scene.left, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    report("store_outage_20_minutes", figures)

    assert [("failed", "storage_error", True)] * uploads == kept
    assert ["succeeded"] * uploads == [jobs[job_id]["state"] for job_id in caller.ids]
    assert (uploads, 0, [], 0) == (figures["arrived"], done_again, figures["left"], code)


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestTimeTooSkewed", "InvalidAccessKeyId", "AccessDenied"])
def test_a_refusal_fails_the_job_at_once_by_its_name(code: str, length: str, scene: Scene) -> None:
    """One request and no waiting; what to renew is said, the finished file is kept, and a retry stores it."""
    if length == "short":
        pytest.skip("runs with HOSTILE=full")
    proxy, caller = scene.proxy, scene.caller
    with running(scene.state, environment=storing(proxy)) as server:
        server.line("event=store_usable")
        proxy.answers.extend([(403, code)] * 3)
        proxy.cut()
        job_id = caller.submit(server.url)
        wait_until(lambda: scene.all_over)
        job, refused = caller.jobs(server.url)[job_id], proxy.refused
        proxy.answers.clear()
        httpx.post(f"{server.url}/v1/jobs/{job_id}/retry", trust_env=False, timeout=60).raise_for_status()
        wait_until(lambda: caller.jobs(server.url)[job_id]["state"] == "succeeded")
        done = segments_run(server)

    fault = job["fault"]
    assert isinstance(fault, dict)
    assert ("failed", "storage_error") == (job["state"], fault["code"])
    assert code in str(fault["detail"])
    assert fault["hint"]
    assert 1 <= refused <= 2  # storing; and giving a failed upload up, where one was begun
    assert [job_id] == scene.arrived()
    assert 1 == done


def test_a_start_with_wrong_keys_says_so_before_anything_is_made(scene: Scene) -> None:
    """The setting is named at the start and by the job, which fails at once; the secret is nowhere."""
    proxy, caller = scene.proxy, scene.caller
    with running(scene.state, environment=storing(proxy, SECRET_KEY=CANARY)) as server:
        told = server.line("event=store_not_usable.*").group()
        job_id = caller.submit(server.url)
        wait_until(lambda: scene.all_over)
        fault = caller.jobs(server.url)[job_id]["fault"]
        server.stop()
        everything = "\n".join(server.lines) + (scene.state / "server.log").read_text()

    assert "UPSCALE_STORAGE__S3__SECRET_KEY" in told
    assert isinstance(fault, dict)
    assert ("storage_error", True) == (fault["code"], fault["retryable"])
    assert "SignatureDoesNotMatch" in str(fault["detail"])
    assert CANARY not in everything + str(fault)


def noisy_source(folder: Path) -> Path:
    """Write a clip that nothing makes small: its result goes in parts."""
    folder.mkdir()
    picture = Picture(
        width=480, height=320, rate=Fraction(12), frame_count=20, filter_chain="noise=alls=100:allf=t+u"
    )  # fmt: skip
    write_clip(Clip(pictures=(picture,)), folder / "clip.mp4")
    return folder


def test_a_killed_servers_upload_in_parts_is_gone_on_with(
    length: str, swift: Swift, proxy: FaultProxy, report: Report, tmp_path: Path
) -> None:
    """`kill -9` in the middle of the second part: the next start sends the rest, and nothing unfinished stays."""
    if length == "short":
        pytest.skip("runs with HOSTILE=full")
    state, environment = tmp_path / "state", storing(proxy) | {"UPSCALE_STORAGE__LARGE_BYTES": str(5 << 20)}
    with serving(noisy_source(tmp_path / "noise")) as url, Caller(f"{url}/clip.mp4") as caller:
        with running(state, environment=environment) as server:
            server.line("event=store_usable")
            proxy.bytes_per_second = 4 << 20
            job_id = caller.submit(server.url, crf=1)
            wait_until(lambda: proxy.passed > PART + (256 << 10))
            proxy.bytes_per_second = 1000  # so that it cannot finish before it is killed
            kill(server.process.pid)
            server.process.wait()
        left, sent_before = swift.uploads(), proxy.passed
        proxy.bytes_per_second = None
        proxy.cut()
        with running(state, environment=environment) as server:
            wait_until(lambda: set(caller.ids) <= finished(state / "video" / "jobs.db"))
            job = caller.jobs(server.url)[job_id]
    size = len(swift.body(f"results/{job_id}.mp4"))
    sent = proxy.passed - sent_before
    report("store_killed_in_parts", {"bytes": size, "sent_again": sent, "uploads_left": len(swift.uploads())})

    assert size > PART
    assert (1, "succeeded") == (len(left), job["state"])
    assert [] == swift.uploads()
    assert re.fullmatch(r"results/\w+\.mp4", *swift.keys())
    assert sent < size
