"""The image server as processes: many callers at once, deaths, and ends; waited for by facts and never timed."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.image_served import WAIT_SECONDS, opened, picture_file, running_images
from tests.support.server import Server

LONG_SECONDS = 110.0
LANCZOS = {"UPSCALE_IMAGE__MODEL": "lanczos"}


def upscaled(server: Server, content: bytes, **words: int) -> httpx.Response:
    """Send one picture on a connection of its own."""
    with httpx.Client(trust_env=False, timeout=LONG_SECONDS) as client:
        return client.post(f"{server.url}/upscale", files={"file": ("a.png", content)}, params=words)


def health(server: Server) -> httpx.Response:
    """Ask how it is, on a connection of its own."""
    return httpx.get(f"{server.url}/health", trust_env=False, timeout=WAIT_SECONDS)


def test_fifty_callers_at_once_get_their_own_pictures(tmp_path: Path) -> None:
    """Each its own size, over two processes; nothing is left on the disk."""
    with running_images(tmp_path, "--workers", "2", environment=LANCZOS) as server:
        with ThreadPoolExecutor(50) as callers:
            sizes = [(20 + n, 70 - n) for n in range(50)]
            replies = [callers.submit(upscaled, server, picture_file(*size), upscale=2) for size in sizes]
            found = [opened(one.result(LONG_SECONDS).content).size for one in replies]

        assert [(2 * width, 2 * height) for width, height in sizes] == found
        assert [] == [path for path in (tmp_path / "image").rglob("*.p*") if path.is_file()]


def test_health_answers_while_pictures_are_worked_on(tmp_path: Path) -> None:
    """With the built-in network: while four large pictures are under way it is asked and answers, with the counts."""
    large = picture_file(700, 500)
    with running_images(tmp_path) as server, ThreadPoolExecutor(4) as callers:
        work: list[Future[httpx.Response]] = [callers.submit(upscaled, server, large, upscale=4) for _ in range(4)]
        seen = []
        while not all(one.done() for one in work):
            reply = health(server)
            assert 200 == reply.status_code
            seen.append(reply.json()["running"] + reply.json()["waiting"])
        replies = [one.result() for one in work]

    assert [(200, "2800x2000")] * 4 == [(one.status_code, one.headers["x-output-size"]) for one in replies]
    assert max(seen) >= 2  # it was asked in the midst of the work, more than once
    assert 1 == len({one.content for one in replies})


def test_a_process_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """Of two processes one is killed; the other answers at once, and soon there are two again."""
    with running_images(tmp_path, "--workers", "2", environment=LANCZOS) as server:
        victim = health(server).json()["process"]
        os.kill(victim, signal.SIGKILL)
        server.line("event=process_died.*exit_code=-9")

        assert 200 == upscaled(server, picture_file()).status_code
        found: set[int] = set()
        while len(found) < 2:
            reply = health(server)
            if reply.status_code == 200:
                found.add(reply.json()["process"])
        assert victim not in found


def test_a_lone_process_that_is_killed_costs_callers_a_wait_and_no_refusal(tmp_path: Path) -> None:
    """The door stays open: who asks while nobody is there is answered by the next process."""
    with running_images(tmp_path, environment=LANCZOS) as server:
        victim = health(server).json()["process"]
        os.kill(victim, signal.SIGKILL)
        server.line("event=process_died")

        with httpx.Client(trust_env=False, timeout=LONG_SECONDS) as client:
            while client.get(f"{server.url}/readyz").status_code != 200:
                pass
        assert victim != health(server).json()["process"]
        assert 200 == upscaled(server, picture_file()).status_code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_zero(tmp_path: Path, number: signal.Signals) -> None:
    """The picture under way is answered, the port is free, no process is left, the exit code is 0."""
    with running_images(tmp_path) as server, ThreadPoolExecutor(1) as caller:
        process = health(server).json()["process"]
        work = caller.submit(upscaled, server, picture_file(900, 700), upscale=4)
        while not health(server).json()["running"]:
            pass

        assert 0 == server.stop(number)

        assert 200 == work.result(LONG_SECONDS).status_code
        port = int(server.url.rpartition(":")[2])
        socket.create_server(("127.0.0.1", port)).close()
        assert not Path(f"/proc/{process}").exists()
        assert any("event=server_stopped" in line for line in server.lines)


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    """However the parent ends, its processes do; what they leave in the state folder hinders no later server."""
    with running_images(tmp_path, "--workers", "2", environment=LANCZOS) as server:
        found: set[int] = set()
        while len(found) < 2:
            found.add(health(server).json()["process"])

        server.stop(signal.SIGKILL)

        for process in found:
            while Path(f"/proc/{process}").exists() and "zombie" not in Path(f"/proc/{process}/status").read_text():
                pass
    with running_images(tmp_path, environment=LANCZOS) as server:
        assert 200 == upscaled(server, picture_file()).status_code


def test_servers_of_two_ports_share_a_state_folder_and_answer_for_each_others_links(tmp_path: Path) -> None:
    """Neither refuses the other; one key signs the links of both."""
    with (
        running_images(tmp_path, environment=LANCZOS) as first,
        running_images(tmp_path, environment=LANCZOS) as second,
        httpx.Client(trust_env=False, timeout=LONG_SECONDS) as client,
    ):
        files = {"files": ("a.png", picture_file())}
        batch = client.post(f"{first.url}/upscale_batch", files=files).raise_for_status().json()
        link = batch["results"][0]["url"].removeprefix(first.url)
        found = client.get(f"{second.url}{link}")

        assert 200 == found.status_code
        assert (64, 48) == opened(found.content).size
