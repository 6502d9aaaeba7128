"""The nginx configuration that is shipped, in a real nginx before several workers, of which some die or are not ready.

The workers are stand-ins in processes of their own, asked by a client that never tries again: what nginx loses is lost.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.support.cli_runner import environment_for
from tests.support.nginx import LIMIT_SECONDS, NGINX, configuration, free_ports, nginx_running, until
from upscale_server.client.image_servers import ImageServers
from upscale_server.client.images import ImageServer, Wish

ROOT = Path(__file__).parents[2]
DOCUMENTED = range(8090, 8095)

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed here: apt-get install nginx-light")


@dataclass(slots=True)
class Worker:
    """A worker's process."""

    port: int
    process: subprocess.Popen[str] | None = None

    def start(self, how: str = "well", *files: str) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "tests.support.image_server", str(self.port), how, *files]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment_for(), cwd=ROOT)
        assert self.process.stderr is not None
        assert self.process.stderr.readline().startswith("ready at")

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(LIMIT_SECONDS)
            assert self.process.stderr is not None
            self.process.stderr.close()
            self.process = None

    def facts(self) -> dict[str, int]:
        """Return what it has done, asked past nginx."""
        answer: dict[str, int] = httpx.get(f"http://127.0.0.1:{self.port}/stats", trust_env=False).json()
        return answer


@dataclass(slots=True)
class Balanced:
    """A running nginx and its workers."""

    url: str
    workers: list[Worker]
    log: Path

    def upscale(self, content: bytes) -> httpx.Response:
        """Send a picture once."""
        files = {"file": ("in.png", content, "image/png")}
        return httpx.post(f"{self.url}/upscale?upscale=2", files=files, timeout=LIMIT_SECONDS, trust_env=False)

    def visited(self) -> list[list[str]]:
        """Return the workers that each request went to, in order."""
        return [line.split(", ") for line in self.log.read_text().splitlines()]


def site(ports: Sequence[int], own: int) -> str:
    """Return the shipped configuration, whose ports alone are replaced."""
    shipped = (ROOT / "deploy" / "nginx" / "tsdsr.conf").read_text()
    for documented, port in zip(DOCUMENTED, ports, strict=True):
        assert 1 == shipped.count(f"server 127.0.0.1:{documented} ")
        shipped = shipped.replace(f"server 127.0.0.1:{documented} ", f"server 127.0.0.1:{port} ")
    assert 1 == shipped.count("listen 127.0.0.1:8080;")
    return shipped.replace("listen 127.0.0.1:8080;", f"listen 127.0.0.1:{own};")


@contextmanager
def balanced(folder: Path) -> Iterator[Balanced]:
    """Run nginx; workers are started by the test and ended here."""
    own, *ports = free_ports(1 + len(DOCUMENTED))
    found = Balanced(f"http://127.0.0.1:{own}", [Worker(port) for port in ports], folder / "access.log")
    with nginx_running(configuration(folder, site(ports, own)), own):
        try:
            yield found
        finally:
            for worker in found.workers:
                worker.kill()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Balanced]:
    """Give a running nginx without workers."""
    with balanced(tmp_path) as found:
        yield found


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """Give a picture of 60 kB that no compressor makes smaller, so that it has a body to lose."""
    path = tmp_path / "in.png"
    Image.frombytes("RGB", (160, 120), os.urandom(160 * 120 * 3)).save(path)
    return path.read_bytes()


def test_a_worker_killed_with_requests_in_its_hands_loses_none(nginx: Balanced, content: bytes) -> None:
    """`kill -9` while it holds pictures: every request is answered, and those of the dead one by another."""
    victim, *others = nginx.workers
    victim.start("never")
    for worker in others:
        worker.start()

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(nginx.upscale, content) for _ in range(60)]
        until(lambda: victim.facts()["running"] > 0)
        held = victim.facts()["running"]
        victim.kill()
        statuses = [answer.result(LIMIT_SECONDS).status_code for answer in answers]

    assert [200] * 60 == statuses
    moved = [visited for visited in nginx.visited() if len(visited) > 1]
    assert held <= len(moved)
    assert {f"127.0.0.1:{victim.port}"} == {visited[0] for visited in moved}


def test_a_worker_that_comes_back_gets_work_again(nginx: Balanced, content: bytes) -> None:
    """Not before the five seconds for which it is set aside."""
    for worker in nginx.workers:
        worker.start()
    back = nginx.workers[2]
    back.kill()
    assert [200] * 10 == [nginx.upscale(content).status_code for _ in range(10)]
    back.start()

    until(lambda: nginx.upscale(content).status_code == 200 and back.facts()["served"] > 0)


def test_work_goes_to_whoever_has_least_to_do(nginx: Balanced, content: bytes) -> None:
    """A worker that holds a long picture gets no other while the rest are idle."""
    slow, *others = nginx.workers
    slow.start("never")
    for worker in others:
        worker.start()

    with ThreadPoolExecutor(8) as pool:
        long = []
        while not slow.facts()["running"]:
            long.append(pool.submit(nginx.upscale, content))
            until(lambda: slow.facts()["running"] or all(one.done() for one in long))
        assert [200] * 20 == [nginx.upscale(content).status_code for _ in range(20)]
        assert 1 == slow.facts()["running"]
        slow.kill()
        assert {200} == {one.result(LIMIT_SECONDS).status_code for one in long}


def test_workers_that_load_are_passed_over(nginx: Balanced, content: bytes) -> None:
    """Their 503 does not reach the client as long as one is ready."""
    *loading, ready = nginx.workers
    for worker in loading[:2]:
        worker.start("loading")
    ready.start()

    statuses = [nginx.upscale(content).status_code for _ in range(10)]

    # Two that load and two that are not there, of three tries: the first requests find out who is there.
    assert [200] * 6 == statuses[-6:]


def test_a_full_server_says_so_to_the_client(nginx: Balanced, content: bytes) -> None:
    """429 and Retry-After arrive as they were given, and the full worker is not set aside for it."""
    for worker in nginx.workers:
        worker.start("busy")

    answers = [nginx.upscale(content) for _ in range(12)]

    assert {(429, "0")} == {(answer.status_code, answer.headers.get("retry-after")) for answer in answers}
    assert {"queue_full"} == {answer.json()["code"] for answer in answers}
    assert {1} == {len(visited) for visited in nginx.visited()}


def test_a_batchs_link_is_found_wherever_it_was_made(nginx: Balanced) -> None:
    """The workers that do not know it say so, and nginx asks the next one."""
    for number, worker in enumerate(nginx.workers):
        worker.start("well", *(["result.png"] if number == 3 else []))

    answers = [httpx.get(f"{nginx.url}/files/result.png", trust_env=False) for _ in range(10)]
    unknown = httpx.get(f"{nginx.url}/files/gone.png", trust_env=False)

    assert [(200, b"a result")] * 10 == [(answer.status_code, answer.content) for answer in answers]
    assert (404, "not_found") == (unknown.status_code, unknown.json()["code"])


def test_an_upload_beyond_the_limit_costs_no_worker_anything(nginx: Balanced) -> None:
    """413 on the announced length, before a byte of it is read."""
    nginx.workers[0].start()
    port = int(nginx.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as door:
        door.sendall(f"POST /upscale HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {1026 << 20}\r\n\r\n".encode())
        reply = door.recv(4096)

    assert reply.startswith(b"HTTP/1.1 413 ")
    until(nginx.visited)  # nginx writes the line when the connection has ended
    assert ["-"] == nginx.visited()[-1]


def test_the_client_outlives_a_restart_of_all_workers(nginx: Balanced, tmp_path: Path) -> None:
    """502 from nginx is waited for: a rolling restart that takes all workers at once costs time and no picture."""
    with ImageServers([ImageServer(nginx.url)]) as servers, ThreadPoolExecutor(1) as pool:
        for worker in nginx.workers:
            worker.start()
        assert "20x12" == servers.upscale(_picture(tmp_path), tmp_path / "out.png", Wish(2)).size
        for worker in nginx.workers:
            worker.kill()

        waiting = pool.submit(servers.upscale, _picture(tmp_path), tmp_path / "out.png", Wish(2))
        until(lambda: servers._members[0].misses > 1)
        for worker in nginx.workers:
            worker.start()

        assert "20x12" == waiting.result(LIMIT_SECONDS).size


def _picture(folder: Path) -> Path:
    path = folder / "small.png"
    Image.new("RGB", (10, 6)).save(path)
    return path


def test_the_shipped_configuration_names_the_documented_ports() -> None:
    """8090 to 8094, each once, and what makes it safe."""
    shipped = (ROOT / "deploy" / "nginx" / "tsdsr.conf").read_text()

    assert list(map(str, DOCUMENTED)) == re.findall(r"server 127\.0\.0\.1:(\d+) ", shipped)
    for needed in ("least_conn;", "non_idempotent;", "proxy_request_buffering on;", "client_max_body_size 1025m;"):
        assert needed in shipped
