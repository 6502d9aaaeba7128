"""The subnet miner's routes: aligned lists, the shared folder's rules, and an honest `success`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, fail_next, finish_next, serving, settings_in
from upscale_server.errors import NoVideo
from upscale_server.server_settings import Subnet
from upscale_server.service import VideoService

URL = "http://127.0.0.1/a.mp4"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Give a shared folder with a source, a link that leads out of it, and a file that is there already."""
    root = tmp_path / "shared"
    (root / "sub").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4", "there.mp4", "sub/c.mp4"):
        (root / name).write_bytes(b"video")
    (tmp_path / "outside.mp4").write_bytes(b"video")
    (root / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (root / "door").symlink_to(tmp_path)
    return root


@pytest.fixture
def miner(tmp_path: Path, shared: Path) -> Iterator[Served]:
    """Give a server for miners."""
    settings = settings_in(tmp_path / "state", subnet=Subnet(enabled=True, shared_root=shared))
    with serving(VideoService(settings, IdlePool())) as running:
        yield running


def called(served: Served, body: dict[str, Any], jobs: int) -> tuple[threading.Thread, list[httpx.Response]]:
    """Post to /upscale in a thread; return when so many jobs wait."""
    replies: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: replies.append(httpx.post(f"{served.url}/upscale", json=body, timeout=60)))
    thread.start()
    wait_until(lambda: served.service.counts().queued == jobs)
    return thread, replies


@pytest.mark.slow
def test_lists_are_aligned_with_the_request_and_success_is_all(miner: Served, shared: Path, tmp_path: Path) -> None:
    """One address, one path that fails, one host that is refused: each in its place, under status 200."""
    paths = [URL, str(shared / "a.mp4"), "http://10.0.0.1/x.mp4"]
    thread, replies = called(miner, {"video_paths": paths, "scale": 2, "task_id": "r"}, jobs=2)
    finish_next(miner.service, tmp_path)
    fail_next(miner.service, NoVideo("there is no video stream"))
    thread.join()

    body = replies[0].json()
    assert 200 == replies[0].status_code
    assert body["success"] is False
    assert (["", "", ""], ["", "there is no video stream"]) == (body["output_paths"], body["errors"][:2])
    assert "private" in body["errors"][2]
    assert [True, False, False] == [bool(url) for url in body["output_urls"]]
    assert (body["output_urls"][0], "", "") == (body["output_url"], body["output_path"], body["error"])
    assert {"processing_time", "queue_position", "active_tasks", "queued_tasks"} <= set(body)
    assert b"0123456789" == miner.client.get(body["output_url"]).content


def test_the_older_scalar_form_is_the_list_of_one(miner: Served, shared: Path, tmp_path: Path) -> None:
    """A path in gives a path out under the same root, and the job is asked for under the subnet's rules."""
    body = {"video_path": "sub/c.mp4", "output_path": "sub/out.mp4", "scale": 4, "codec": "av1"}
    thread, replies = called(miner, body, jobs=1)
    (job,), _ = miner.service.jobs(None, 10)
    finish_next(miner.service, tmp_path)
    thread.join()

    asked = job.asked
    assert (str(shared / "sub/c.mp4"), str(shared / "sub/out.mp4")) == (asked.source.location, asked.output_path)
    assert ("subnet", 4, "av1", "file") == (asked.profile, asked.scale, asked.codec, asked.source.kind)
    assert replies[0].json()["success"] is True


def test_a_result_without_a_name_goes_beside_its_source(miner: Served, shared: Path, tmp_path: Path) -> None:
    """Under the same root, with a name that is not there yet; a deadline becomes a moment."""
    body = {"video_paths": [str(shared / "a.mp4")], "scale": 2, "deadline_seconds": 60}
    thread, _ = called(miner, body, jobs=1)
    (job,), _ = miner.service.jobs(None, 10)
    finish_next(miner.service, tmp_path)
    thread.join()

    assert shared == Path(job.asked.output_path or "").parent
    assert not Path(job.asked.output_path or "").exists()
    assert job.asked.deadline == pytest.approx(job.created_at + 60, abs=30)  # the call was made in between


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"video_paths": [URL]}, "scale is missing"),
        ({"video_paths": [URL], "scale": 3}, "expected 2 or 4"),
        ({"video_paths": [], "scale": 2}, "video_paths"),
        ({"scale": 2}, "video_paths is missing"),
        ({"video_paths": [URL] * 6, "scale": 2}, "video_paths"),
        ({"video_paths": [""], "scale": 2}, "empty"),
        ({"video_paths": ["no.mp4"], "scale": 2}, "does not exist"),
        ({"video_paths": ["sub"], "scale": 2}, "not a file"),
        ({"video_paths": ["../outside.mp4"], "scale": 2}, "'..'"),
        ({"video_paths": ["link.mp4"], "scale": 2}, "leads out"),
        ({"video_paths": ["door/outside.mp4"], "scale": 2}, "leads out"),
        ({"video_paths": ["/etc/passwd"], "scale": 2}, "not under"),
        ({"video_paths": ["a.mp4\n"], "scale": 2}, "control"),
        ({"video_paths": ["a.mp4"], "output_paths": ["there.mp4"], "scale": 2}, "exists already"),
        ({"video_paths": ["a.mp4"], "output_paths": ["link.mp4"], "scale": 2}, "exists already"),
        ({"video_paths": ["a.mp4"], "output_paths": ["door/new.mp4"], "scale": 2}, "leads out"),
        ({"video_paths": ["a.mp4"], "output_paths": ["new/new.mp4"], "scale": 2}, "folder"),
        ({"video_paths": ["a.mp4"], "output_paths": ["x.mp4", "y.mp4"], "scale": 2}, "one each"),
        ({"video_paths": ["a.mp4", "b.mp4"], "output_paths": ["x.mp4", "x.mp4"], "scale": 2}, "same file"),
        ({"video_paths": [URL], "output_paths": ["x.mp4"], "scale": 2}, "address out"),
        ({"video_paths": ["ftp://host/a.mp4"], "scale": 2}, "http and https"),
        ({"video_paths": ["file:///etc/passwd"], "scale": 2}, "http and https"),
        ({"video_paths": [URL], "scale": 2, "codec": "h264"}, "codec"),
        ({"video_paths": [URL], "scale": 2, "deadline_seconds": -1}, "deadline_seconds"),
        ({"video_paths": [URL], "video_path": "b.mp4", "scale": 2}, "differ"),
        ({"video_paths": URL, "scale": 2}, "video_paths"),
        ({"video_paths": [URL], "scale": 2, "shape": 1}, "does not exist"),
    ],
)
def test_a_malformed_call_is_a_400_and_starts_nothing(miner: Served, body: dict[str, Any], text: str) -> None:
    """Whatever is wrong with one item, no job of the call is begun."""
    reply = miner.client.post("/upscale", json=body)

    assert 400 == reply.status_code, reply.text
    assert text in reply.json()["detail"]
    assert 0 == miner.service.counts().queued


def test_without_a_shared_folder_no_path_is_taken(served: Served) -> None:
    """The setting is off until somebody names a folder."""
    reply = served.client.post("/upscale", json={"video_paths": ["/etc/passwd"], "scale": 2})

    assert 400 == reply.status_code
    assert "UPSCALE_SUBNET__SHARED_ROOT" in reply.json()["hint"]


@pytest.mark.slow
def test_two_rounds_of_five_calls_wait_at_once(miner: Served, tmp_path: Path) -> None:
    """Ten calls are taken in and all are answered; places tell their order."""
    calls = [called(miner, {"video_paths": [URL], "scale": 2}, jobs=number) for number in range(1, 11)]
    counts = miner.client.get("/queue").json()
    for _ in calls:
        finish_next(miner.service, tmp_path)
    for thread, _ in calls:
        thread.join()

    assert (10, 0) == (counts["queued_tasks"], counts["active_tasks"])
    assert list(range(1, 11)) == sorted(replies[0].json()["queue_position"] for _, replies in calls)
    assert all(replies[0].json()["success"] for _, replies in calls)


def test_health_speaks_the_miners_word(miner: Served, served: Served, shared: Path) -> None:
    """It is `ok` with folders and queue for miners, `healthy` with the documented fields for all others."""
    ours = miner.client.get("/health").json()
    documented = served.client.get("/health").json()

    assert "ok" == ours["status"]
    folders = {"remote_io_disabled": False, "input_root": str(shared), "output_root": str(shared)}
    assert folders == ours["competition_local_io"]
    assert 0 == ours["queue"]["queued_tasks"]
    assert {
        "status": "healthy", "workers_ready": 1, "max_workers": 12,
        "supported_tasks": ["SD2HD", "SD24K", "HD24K", "4K28K"],
    } == documented  # fmt: skip
