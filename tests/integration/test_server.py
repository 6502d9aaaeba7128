"""The whole server in one process on loopback: real download, real workers, real store, real HTTP.

What the documents say of each route is in `tests/compat`; that a killed server loses nothing, in `test_durability`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest

from tests.support import tiny_checkpoints
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.killing import wait_until
from tests.support.processes import descendants, is_alive
from tests.support.served import Served, settings_in
from tests.support.served import serving as service_behind_http
from tests.support.server import running, serving
from upscale_server.models.added import Addition, add
from upscale_server.models.extras import installed
from upscale_server.server_settings import Subnet, Workers
from upscale_server.service import VideoService

FRAMES = 12


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with one small clip, which is both shared and served."""
    folder = tmp_path_factory.mktemp("shared")
    write_clip(Clip(pictures=(Picture(width=96, height=54, frame_count=FRAMES),)), folder / "clip.mp4")
    return folder


@pytest.fixture(scope="module")
def source(shared: Path) -> Iterator[str]:
    """Give the clip's address."""
    with serving(shared) as url:
        yield f"{url}/clip.mp4?signature=hidden"


@pytest.fixture(scope="module")
def server(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a server with one loaded lane."""
    settings = settings_in(
        tmp_path_factory.mktemp("state"), workers=Workers(lanes=1), subnet=Subnet(shared_root=shared)
    )
    with service_behind_http(VideoService(settings)) as running_server:
        wait_until(lambda: running_server.client.get("/readyz").status_code == 200)
        yield running_server


def ended(server: Served, job_id: str) -> dict[str, object]:
    """Follow a job's events to its end and return it."""
    with server.client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        last = [line[6:] for line in stream.iter_lines() if line.startswith("data: ")][-1]
    job: dict[str, object] = json.loads(last)
    return job


def frames_of(content: bytes, path: Path) -> tuple[int, int, int]:
    """Return width, height and number of decoded frames."""
    path.write_bytes(content)
    with av.open(str(path)) as opened:
        count = sum(1 for _ in opened.decode(video=0))
        return opened.streams.video[0].width, opened.streams.video[0].height, count


def test_one_video_gives_the_same_bytes_whichever_way_it_comes(
    server: Served, source: str, shared: Path, tmp_path: Path
) -> None:
    """By address, as a form and as the body: three jobs, one result, audited, and nothing of them left in work."""
    content = (shared / "clip.mp4").read_bytes()
    replies = [
        server.client.post("/v1/jobs", json={"payload_url": source, "scale": 2}),
        server.client.post("/v1/jobs", files={"file": ("clip.mp4", content)}, data={"scale": "2"}),
        server.client.post("/v1/jobs?scale=2", content=content, headers={"Content-Type": "video/mp4"}),
    ]
    jobs = [ended(server, reply.json()["id"]) for reply in replies]
    results = [server.client.get(f"/v1/jobs/{job['id']}/output").content for job in jobs]
    audits = [server.client.get(f"/v1/jobs/{job['id']}/audit").json()["audit"]["ok"] for job in jobs]

    assert ["succeeded"] * 3 == [job["state"] for job in jobs], jobs
    assert (192, 108, FRAMES) == frames_of(results[0], tmp_path / "result.mp4")
    assert 1 == len(set(results))
    assert [True] * 3 == audits
    wait_until(lambda: not list(server.service.uploads.parent.rglob("*/source")))


def test_an_added_checkpoint_runs_beside_the_servers_own_network(server: Served, source: str, tmp_path: Path) -> None:
    """The lanes hold another engine's network; a job that names a checkpoint gets torch."""
    if not installed("torch"):
        pytest.skip("the extra [torch] is not installed")
    checkpoint = tiny_checkpoints.made(tmp_path / "compact-x2.safetensors")
    add(Addition(str(checkpoint)), server.service.settings.state_dir / "models")

    accepted = server.client.post("/v1/jobs", json={"payload_url": source, "scale": 2, "model": "compact-x2"})
    job = ended(server, accepted.json()["id"])

    assert "succeeded" == job["state"], job["fault"]
    assert job["plan"]["engine"] in {"torch", "torch-cuda"}  # type: ignore[index]


def test_a_miners_round_gives_paths_for_paths_and_links_for_links(
    server: Served, source: str, shared: Path, tmp_path: Path
) -> None:
    """Exactly twice the size, of different byte counts, one beside its source and one behind a link."""
    body = {"video_paths": [str(shared / "clip.mp4"), source], "output_paths": ["made.mp4", ""], "scale": 2}
    reply = server.client.post("/upscale", json=body).json()

    assert reply["success"], reply
    path = Path(reply["output_paths"][0])
    linked = server.client.get(reply["output_urls"][1]).content
    assert shared / "made.mp4" == path
    assert (192, 108, FRAMES) == frames_of(path.read_bytes(), tmp_path / "a.mp4")
    assert (192, 108, FRAMES) == frames_of(linked, tmp_path / "b.mp4")
    assert path.stat().st_size != len(linked)


def test_a_source_that_is_no_video_fails_the_call_and_not_the_server(server: Served, shared: Path, source: str) -> None:
    """415 in the documented shape; the next call works."""
    (shared / "page.mp4").write_bytes(b"<!doctype html><html><body>no such video</body></html>" * 10)
    wrong = server.client.post(
        "/upscale-video", json={"payload_url": source.replace("clip.mp4", "page.mp4"), "task_type": "SD2HD"}
    )
    right = server.client.post("/upscale-video", json={"payload_url": source, "task_type": "SD2HD"})

    assert (415, "not_media") == (wrong.status_code, wrong.json()["code"])
    assert 200 == right.status_code
    assert "hidden" not in json.dumps(right.json())


def test_a_started_server_drains_and_ends_with_exit_code_0(tmp_path: Path) -> None:
    """SIGTERM ends an open event stream and the process, and no child stays."""
    with running(tmp_path / "state", environment={"UPSCALE_WORKERS__LANES": "1"}) as started:
        job = {"payload_url": "http://127.0.0.1:9/never.mp4", "scale": 2}
        job_id = httpx.post(f"{started.url}/v1/jobs", json=job).json()["id"]
        httpx.post(f"{started.url}/v1/jobs/{job_id}/pause")
        children = descendants(started.process.pid)
        code = started.stop()

    assert 0 == code
    assert children
    wait_until(lambda: not any(is_alive(pid) for pid in children))
