"""Slow clients by the hundred, and heads and bodies that no honest client sends, against both servers.

Each server allows half as many connections as it has slow clients, so that it is always overloaded.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.hostile import Amount
from tests.support.http_attacks import NEVER, Attack, attacks, said_to
from tests.support.image_served import image_settings, picture_file, serving_images
from tests.support.killing import AT_LEISURE, wait_until
from tests.support.probes import PATIENCE_SECONDS, Watch
from tests.support.served import IdlePool, serving, settings_in
from tests.support.server import running
from tests.support.server import serving as folder_served
from tests.support.slow_clients import SlowClients
from upscale_server.edge_settings import Http
from upscale_server.service import VideoService
from upscale_server.web.guard import Bounds, GuardedProtocol, guarded_by

JOB_SECONDS = 300.0
IMAGE_CLIENTS = {"short": 20, "full": 200, "long": 200}


def patiently(ask: Callable[[], httpx.Response], until: float) -> httpx.Response:
    """Ask again where the server had no place, or dropped the connection, as any client of it would."""
    while True:
        try:
            reply = ask()
        except httpx.TransportError:
            reply = None
        if reply is not None and reply.status_code != 429:
            return reply
        assert time.monotonic() < until, reply
        time.sleep(0.2)


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of an address."""
    parts = httpx.URL(url)
    return parts.host, parts.port or 80


def test_slow_clients_hold_up_neither_control_routes_nor_a_job(
    tmp_path: Path, amount: Amount, report: Callable[[str, dict[str, object]], None]
) -> None:
    """With every connection held by slow ones, probes are answered throughout and a normal job comes to its end."""
    count, seconds = amount(50, 500, 500), amount(5, 60, 60)
    (tmp_path / "media").mkdir()
    write_clip(Clip(pictures=(Picture(width=64, height=48, frame_count=3),)), tmp_path / "media" / "clip.mp4")
    settings = {"UPSCALE_HTTP__CONNECTIONS": str(count // 2), "UPSCALE_WORKERS__LANES": "1"}
    with ExitStack() as stack:
        source = stack.enter_context(folder_served(tmp_path / "media"))
        server = stack.enter_context(running(tmp_path / "state", environment=settings))
        attack = stack.enter_context(SlowClients(address_of(server.url), count))
        watch, began = Watch(server.url), time.monotonic()
        wish = {"payload_url": f"{source}/clip.mp4", "scale": 2}
        until = began + JOB_SECONDS
        job = patiently(lambda: httpx.post(f"{server.url}/v1/jobs", json=wish, timeout=PATIENCE_SECONDS), until).json()
        place, state, job_seconds = f"{server.url}/v1/jobs/{job['id']}", "queued", 0.0
        while time.monotonic() - began < seconds or state in ("queued", "running"):
            watch.look()
            if state in ("queued", "running"):
                shown = patiently(lambda: httpx.get(place, timeout=PATIENCE_SECONDS), until)
                state, job_seconds = shown.json()["state"], time.monotonic() - began
            time.sleep(0.1)
        figures = {"clients": count, "connections": count // 2, "opened": attack.opened,
                   "least_at_once": attack.least, "counts": attack.looks, "dropped": dict(attack.dropped)}  # fmt: skip

    assert "succeeded" == state
    assert figures["least_at_once"] >= count // 2, figures  # those that are dropped come again
    assert figures["counts"] >= seconds // 2, figures
    assert set(figures["dropped"]) >= {"idle", "head", "body"}, figures
    report("slow_clients_video", {**figures, "seconds": seconds, "control_answers": watch.answered,
                                  "slowest_control_seconds": round(watch.slowest_seconds, 2),
                                  "job_seconds": round(job_seconds, 1)})  # fmt: skip


class Unguarded(GuardedProtocol):
    """A connection that never looks at itself and never makes room."""

    def _look_at_it(self) -> None:
        """Do nothing."""

    def _found_room(self, _now: float) -> bool:
        return False


def test_without_the_guard_slow_clients_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tooth: until a guarded server has dropped an idle client, a head and a body, an unguarded one drops none."""
    quick = replace(Bounds(), head_seconds=1, body_window_seconds=1)
    with ExitStack() as stack:
        monkeypatch.setattr("upscale_server.web.serve.guarded_by", lambda _: guarded_by(quick))
        guarded = stack.enter_context(serving(VideoService(settings_in(tmp_path / "a"), IdlePool())))
        monkeypatch.setattr("upscale_server.web.serve.guarded_by", lambda _: Unguarded)
        bare = stack.enter_context(serving(VideoService(settings_in(tmp_path / "b"), IdlePool())))
        stayed = stack.enter_context(SlowClients(address_of(bare.url), 8))
        dropped = stack.enter_context(SlowClients(address_of(guarded.url), 8))
        wait_until(lambda: {"idle", "head", "body"} <= set(dropped.dropped), AT_LEISURE)
        found = sum(stayed.dropped.values())

    assert 0 == found


def test_a_server_that_says_nothing_fails_every_attack() -> None:
    """The tooth: one that takes a request and hangs is told from one that drops it, and no attack allows that."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        status, heard = said_to(
            door.getsockname(), Attack("a head", iter([b"GET / HTTP/1.1\r\n"]), frozenset({0})), 0.2
        )

    assert (NEVER, b"") == (status, heard)
    assert not any(NEVER in one.statuses for one in attacks("/", 0))


@pytest.fixture(scope="module")
def servers(length: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give the addresses of both servers."""
    door = Http(connections=IMAGE_CLIENTS[length] // 2)
    with ExitStack() as stack:
        video = VideoService(settings_in(tmp_path_factory.mktemp("video")), IdlePool())
        few = {"max_bytes": 1 << 20, "batch_bytes": 2 << 20, "batch_files": 8}
        yield {
            "video": stack.enter_context(serving(video)).url,
            "image": stack.enter_context(
                serving_images(image_settings(tmp_path_factory.mktemp("image"), image=few, http=door))
            ).url,
        }


@pytest.mark.parametrize("server", ["video", "image"])
def test_no_head_or_body_brings_a_server_down(
    server: str, servers: dict[str, str], amount: Amount, report: Callable[[str, dict[str, object]], None]
) -> None:
    """Each is refused with its status in the shape of all errors, or dropped, and the server goes on."""
    url, path = servers[server], {"video": "/v1/jobs", "image": "/upscale"}[server]
    wrong, seen = {}, {}
    for attack in attacks(path, amount(4, 50, 50)):
        seen[attack.name], heard = said_to(address_of(url), attack)
        # A route of pictures takes no JSON at all and says so before it reads any.
        expected = attack.statuses | ({400} if server == "image" else set())
        if seen[attack.name] not in expected or b"Traceback" in heard:
            wrong[attack.name] = (seen[attack.name], heard[-300:])
        assert 200 == httpx.get(f"{url}/livez", timeout=PATIENCE_SECONDS, trust_env=False).status_code, attack.name

    assert {} == wrong
    report(f"heads_and_bodies_{server}", {"attacks": len(seen), "statuses": seen})


def test_a_picture_is_enlarged_beside_slow_clients(servers: dict[str, str], length: str) -> None:
    """The image server's door is the same."""
    count = IMAGE_CLIENTS[length]
    with SlowClients(address_of(servers["image"]), count) as attack:
        Watch(servers["image"]).look()
        form_of_one = {"file": ("a.png", picture_file(16, 12), "image/png")}
        until = time.monotonic() + JOB_SECONDS
        url = f"{servers['image']}/upscale?upscale=2"
        reply = patiently(lambda: httpx.post(url, files=form_of_one, timeout=JOB_SECONDS), until)
        least = attack.least

    assert (200, "32x24") == (reply.status_code, reply.headers["X-Output-Size"])
    assert attack.opened >= count
    assert least >= count // 2
