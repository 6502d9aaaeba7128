"""What the world does to a running server: callers that leave, rounds at once, a full disk, a store that is away.

Servers are real, in processes of their own, reached over HTTP alone.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import av
import httpx
import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.fault_proxy import FaultProxy
from tests.support.killing import wait_until
from tests.support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Swift, running_swift
from tests.support.server import Server, running, serving
from upscale_server.client import Client
from upscale_server.errors import DiskFull, UpscaleError

pytestmark = pytest.mark.timeout(600)  # a round of real work on a busy machine

LANCZOS = {"MODEL_PATH": "lanczos"}
LIMIT_SECONDS = 300.0
"""A wait must end; far above what any job here takes."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve five different clips of 30 frames, and one of a minute."""
    folder = tmp_path_factory.mktemp("sources")
    for number, (width, height) in enumerate([(192, 108), (200, 112), (208, 116), (96, 54), (104, 58)], 1):
        write_clip(Clip(pictures=(Picture(width=width, height=height, frame_count=30),)), folder / f"{number}.mp4")
    minute = Picture(width=160, height=96, rate=Fraction(10), frame_count=600, options={"g": "20"})
    write_clip(Clip(pictures=(minute,)), folder / "minute.mp4")
    with serving(folder) as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server with Lanczos: what is tested here is not the picture."""
    with running(tmp_path_factory.mktemp("world"), environment=LANCZOS) as one:
        yield one


def job_named(server: Server, job_id: str) -> dict[str, object]:
    """Wait for a job's end and return it, however it ended."""
    with Client(server.url) as client:
        try:
            return dict(client.wait(job_id, LIMIT_SECONDS))
        except UpscaleError:
            return dict(client.job(job_id))


def files_left(server: Server) -> list[Path]:
    """Return what lies in the folders for unfinished work."""
    return [path for path in server.state.rglob("jobs/*/*") if path.is_file()]


def facts_of(path: Path) -> tuple[int, int, list[int]]:
    """Return width, height and times of all frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [frame.pts or 0 for frame in container.decode(stream)]
        return stream.width, stream.height, times


def test_a_miners_round(tmp_path: Path, sources: str) -> None:
    """Five calls at once, two of them ×4: five valid files of exact size, all frames, no two of one length."""
    asked = [(f"{sources}/{number}.mp4", 4 if number > 3 else 2) for number in range(1, 6)]
    replies: dict[int, httpx.Response] = {}
    with running(tmp_path / "state", environment={"UPSCALE_SUBNET__ENABLED": "true"}) as server:

        def call(place: int, address: str, scale: int) -> None:
            body = {"video_paths": [address], "scale": scale, "task_id": "round"}
            replies[place] = httpx.post(f"{server.url}/upscale", json=body, timeout=LIMIT_SECONDS, trust_env=False)

        callers = [threading.Thread(target=call, args=(place, *one)) for place, one in enumerate(asked)]
        for one in callers:
            one.start()
        for one in callers:
            one.join()
        answers = [replies[place].json() for place in range(5)]
        assert [True] * 5 == [answer["success"] for answer in answers], answers
        for place, answer in enumerate(answers):
            (tmp_path / f"{place}.mp4").write_bytes(httpx.get(answer["output_url"], trust_env=False).content)
        with Client(server.url) as client:
            audits = [client.job(job["id"]) for job in client.jobs()]

    found = [facts_of(tmp_path / f"{place}.mp4") for place in range(5)]
    assert [(384, 216), (400, 224), (416, 232), (384, 216), (416, 232)] == [one[:2] for one in found]
    assert [30] * 5 == [len(one[2]) for one in found]
    assert 5 == len({(tmp_path / f"{place}.mp4").stat().st_size for place in range(5)})
    assert {"succeeded"} == {job["state"] for job in audits}


def test_a_caller_that_leaves_does_not_lose_the_job(server: Server, sources: str) -> None:
    """The connection is closed as soon as the job is there; the job ends well all the same."""
    body = json.dumps({"payload_url": f"{sources}/1.mp4", "task_type": "SD2HD"}).encode()
    lines = ["POST /upscale-video HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    with Client(server.url) as client:
        before = {job["id"] for job in client.jobs()}
        where = urlsplit(server.url)
        with socket.create_connection((where.hostname or "", where.port or 0)) as caller:
            caller.sendall(head.encode() + body)
            wait_until(lambda: {job["id"] for job in client.jobs()} > before)
        left = next(job for job in client.jobs() if job["id"] not in before)

    job = job_named(server, str(left["id"]))

    assert left["state"] in ("queued", "running")
    assert "succeeded" == job["state"]
    wait_until(lambda: not files_left(server))


def test_a_request_that_is_sent_again_is_one_job(server: Server, sources: str) -> None:
    """Ten posts at once with one Idempotency-Key make one job; another body under the key is a 409."""
    asked = {"payload_url": f"{sources}/1.mp4", "scale": 2}
    names: list[str] = []

    def post() -> None:
        reply = httpx.post(f"{server.url}/v1/jobs", json=asked, headers={"Idempotency-Key": "once"}, trust_env=False)
        names.append(reply.json()["id"])

    callers = [threading.Thread(target=post) for _ in range(10)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    other = httpx.post(
        f"{server.url}/v1/jobs", json=asked | {"scale": 4}, headers={"Idempotency-Key": "once"}, trust_env=False
    )

    assert 10 == len(names)
    assert 1 == len(set(names))
    assert (409, "conflict") == (other.status_code, other.json()["code"])


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of a few megabytes; skip where that is not allowed."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run([_program("mount"), *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run([_program("umount"), "-l", str(folder)], check=True)


def _program(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"there is no {name} here")


def fill(disk: Path) -> Path:
    """Write a file until nothing more fits."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65536))
    return filler


def test_a_full_disk_fails_the_job_and_not_the_server(tmp_path: Path, sources: str) -> None:
    """The disk fills while segments are made: the job says so and leaves nothing; with room again, the next is done."""
    with (
        small_disk(tmp_path / "disk", 160) as disk,
        running(tmp_path / "state", environment={**LANCZOS, "TEMP_DIR": str(disk)}) as server,
        Client(server.url) as client,
    ):
        large = client.submit({"payload_url": f"{sources}/minute.mp4", "target": "4k", "crf": 0})
        wait_until(lambda: any(disk.rglob("segment-*.part.mkv")))
        filler = fill(disk)
        failed = job_named(server, str(large["id"]))
        left = [path for path in disk.rglob("*") if path.is_file()]
        filler.unlink()
        small = client.submit({"payload_url": f"{sources}/4.mp4", "scale": 2})
        fine = job_named(server, str(small["id"]))

    assert "failed" == failed["state"]
    assert DiskFull.code == dict(failed["fault"])["code"]  # type: ignore[call-overload]
    assert [filler] == left
    assert "succeeded" == fine["state"], fine["fault"]


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """Give a real S3 server."""
    with running_swift(tmp_path_factory.mktemp("swift")) as one:
        yield one


def s3_settings(port: int) -> dict[str, str]:
    """Return the environment of a server that stores in S3."""
    group = "UPSCALE_STORAGE__S3__"
    return {
        **LANCZOS, "UPSCALE_STORAGE__KIND": "s3", f"{group}ENDPOINT": f"http://127.0.0.1:{port}",
        f"{group}BUCKET": BUCKET, f"{group}ACCESS_KEY": ACCESS_KEY, f"{group}SECRET_KEY": SECRET_KEY,
    }  # fmt: skip


def test_a_store_that_is_away_for_a_while_costs_nothing(tmp_path: Path, sources: str, swift: Swift) -> None:
    """The result waits until the store is back, its link works and leads to the whole file."""
    with FaultProxy(swift.port) as proxy, running(tmp_path / "state", environment=s3_settings(proxy.port)) as server:
        proxy.down = True
        proxy.cut()
        with Client(server.url) as client:
            job_id = str(client.submit({"payload_url": f"{sources}/1.mp4", "scale": 2})["id"])
            wait_until(lambda: client.job(job_id)["progress"]["phase"] == "store" and proxy.refused > 1)
            proxy.down = False
        job = job_named(server, job_id)
        link = dict(job["result"])["url"]  # type: ignore[call-overload]
        body = httpx.get(link, trust_env=False).content

    assert "succeeded" == job["state"]
    assert f":{proxy.port}/" in link
    assert hashlib.sha256(swift.body(f"results/{job_id}.mp4")).digest() == hashlib.sha256(body).digest()
    wait_until(lambda: not files_left(server))


def test_a_slow_store_gets_the_whole_file(tmp_path: Path, sources: str, swift: Swift) -> None:
    """A store that takes 20 kB a second delays the result and changes nothing of it."""
    with FaultProxy(swift.port) as proxy, running(tmp_path / "state", environment=s3_settings(proxy.port)) as server:
        proxy.bytes_per_second = 20_000
        with Client(server.url) as client:
            job_id = str(client.submit({"payload_url": f"{sources}/4.mp4", "scale": 2})["id"])
        job = job_named(server, job_id)

    assert "succeeded" == job["state"]
    assert dict(job["result"])["byte_count"] == len(swift.body(f"results/{job_id}.mp4"))  # type: ignore[call-overload]


def test_refused_credentials_are_said_by_name(tmp_path: Path, sources: str, swift: Swift) -> None:
    """A store that calls the token expired is not asked again and again: the job fails and names the setting."""
    with FaultProxy(swift.port) as proxy, running(tmp_path / "state", environment=s3_settings(proxy.port)) as server:
        proxy.answers.extend(itertools.repeat((403, "ExpiredToken"), 50))
        proxy.cut()  # what was said before on connections that are still open
        with Client(server.url) as client:
            job_id = str(client.submit({"payload_url": f"{sources}/4.mp4", "scale": 2})["id"])
        job = job_named(server, job_id)

    assert "failed" == job["state"], job
    fault = dict(job["fault"])  # type: ignore[call-overload]
    assert ("failed", "storage_error") == (job["state"], fault["code"])
    assert "KEY" in f"{fault['detail']} {fault['hint']}"
    assert SECRET_KEY not in "\n".join(server.lines)
