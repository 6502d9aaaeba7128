"""Watching a job over HTTP: the list, the copies and the picture, each for the job's owner alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.jobs.job import Outcome
from upscale_server.media.types import Frame
from upscale_server.plan import Plan, make_plan
from upscale_server.proxies import shown
from upscale_server.service import VideoService
from upscale_server.wish import Wish

ANNA, BERT = "anna-has-a-long-key", "bert-has-another-one"
FRAMES = 75
FIRST_PTS = 3000
"""The clip begins a fifth of a second after zero, as broadcasts do."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Give the plan of a clip of three seconds in three segments, 160x120 to 320x240."""
    times = tuple(FIRST_PTS + 600 * place for place in range(FRAMES))
    picture = Picture(
        width=160, height=120, times=times, time_base=Fraction(1, 15000), options={"g": "25", "bf": "0"}
    )  # fmt: skip
    source = write_clip(Clip(suffix=".mkv", pictures=(picture,)), tmp_path_factory.mktemp("clip") / "clip.mkv")
    return make_plan(source, Wish(model="lanczos", codec="h264", preset="ultrafast", segment_seconds=1, threads=1))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Served]:
    """Give a server with two keys."""
    keys = SecretStr(f"{ANNA}, {BERT}")
    with serving(VideoService(settings_in(tmp_path, api_keys=keys), IdlePool())) as running:
        yield running


def by(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


def running_job(served: Served, plan: Plan | None, key: str = "") -> str:
    """Return a job that runs, planned where there is a plan."""
    headers = by(key) if key else {}
    asked = served.client.post("/v1/jobs", json={"payload_url": "http://127.0.0.1/v.mp4", "scale": 2}, headers=headers)
    claim = served.service._store.claim(served.service._name, 1000)
    assert claim is not None
    if plan is not None:
        served.service._store.keep_plan(claim, plan.as_record())
    return str(asked.json()["id"])


def render(served: Served, job_id: str, plan: Plan, *indices: int) -> None:
    """Write the copies of some segments where the pipeline does."""
    folder = served.service.settings.state_dir / "video" / "proxies" / job_id / plan.digest
    for index in indices:
        segment = plan.segments[index]
        start = plan.first_pts if segment.start_pts is None else segment.start_pts
        assert start is not None
        with shown(folder, plan, segment) as show:
            for place in range(25):
                luma = np.full((240, 320), 40 + 60 * index, np.uint8)
                chroma = np.full((120, 160), 128, np.uint8)
                show(Frame((luma, chroma, chroma), "yuv420p", start + 40 * place, plan.spec.time_base))


def test_list_says_where_each_copy_belongs(served: Served, plan: Plan) -> None:
    """From the job's first frame on, in seconds, with what a player must know before its first byte."""
    job_id = running_job(served, plan)
    render(served, job_id, plan, 0, 2)

    reply = served.client.get(f"/v1/jobs/{job_id}/segments")

    assert 200 == reply.status_code
    assert {
        "segments": [
            {"index": 0, "start_seconds": 0.0, "seconds": 1.0, "url": f"/v1/jobs/{job_id}/segments/0.mp4"},
            {"index": 2, "start_seconds": 2.0, "seconds": 1.0, "url": f"/v1/jobs/{job_id}/segments/2.mp4"},
        ],
        "total": 3, "duration_seconds": 3.0, "width": 320, "height": 240, "mime": 'video/mp4; codecs="avc1.42C014"',
    } == reply.json()  # fmt: skip
    assert "private, no-store" == reply.headers["cache-control"]


@pytest.mark.slow
def test_list_is_empty_before_there_is_anything(served: Served, plan: Plan) -> None:
    """Without a plan nothing is known; with one, how much will come and how large it will be."""
    nothing = served.client.get(f"/v1/jobs/{running_job(served, None)}/segments").json()
    planned = served.client.get(f"/v1/jobs/{running_job(served, plan)}/segments").json()

    unknown = dict.fromkeys(("total", "duration_seconds", "width", "height", "mime"))
    assert {"segments": [], **unknown} == nothing
    assert ([], 3, 3.0, 320, 240, None) == tuple(
        planned[name] for name in ("segments", "total", "duration_seconds", "width", "height", "mime")
    )


def test_copy_is_given_whole_and_once(served: Served, plan: Plan, tmp_path: Path) -> None:
    """A video of the type that the list names, its times from 0; asked again by its ETag it has not changed."""
    job_id = running_job(served, plan)
    render(served, job_id, plan, 1)
    address = f"/v1/jobs/{job_id}/segments/1.mp4"

    first = served.client.get(address)
    again = served.client.get(address, headers={"If-None-Match": first.headers["etag"]})

    assert (200, "video/mp4", "private, no-cache") == (
        first.status_code, first.headers["content-type"], first.headers["cache-control"]
    )  # fmt: skip
    assert (304, b"") == (again.status_code, again.content)
    (tmp_path / "copy.mp4").write_bytes(first.content)
    with av.open(str(tmp_path / "copy.mp4")) as file:
        times = [frame.pts * frame.time_base for frame in file.decode(video=0)]
    assert [Fraction(place, 25) for place in range(25)] == times


def test_picture_is_the_newest_while_it_renders_and_from_the_middle_afterwards(served: Served, plan: Plan) -> None:
    """A list of jobs shows how far each is; the end of a film is often black."""
    store = served.service._store
    asked = served.client.post("/v1/jobs", json={"payload_url": "http://127.0.0.1/v.mp4", "scale": 2}).json()
    claim = store.claim(served.service._name, 1000)
    assert claim is not None
    store.keep_plan(claim, plan.as_record())
    address = f"/v1/jobs/{asked['id']}/thumbnail.jpg"

    before = served.client.get(address)
    render(served, asked["id"], plan, 0)
    early = served.client.get(address)
    render(served, asked["id"], plan, 1, 2)
    late = served.client.get(address)
    store.finish(claim, Outcome("", 1, 1.0))
    done = served.client.get(address)

    assert (404, "not_found") == (before.status_code, before.json()["code"])
    assert "image/jpeg" == early.headers["content-type"]
    assert [b"\xff\xd8"] * 3 == [one.content[:2] for one in (early, late, done)]
    assert [28, 167, 98] == [pytest.approx(_brightness(one), abs=4) for one in (early, late, done)]


def _brightness(reply: httpx.Response) -> float:
    """Return the mean of a JPEG, 0 to 255; luma 40, 100 and 160 in limited range are 28, 98 and 167."""
    with Image.open(io.BytesIO(reply.content)) as picture:
        return float(np.asarray(picture.convert("L")).mean())


@pytest.mark.parametrize("index", ["3", "1", "-1", "x", "9" * 5000], ids=lambda index: index[:4])
def test_copy_that_is_not_there_is_not_found(served: Served, plan: Plan, index: str) -> None:
    """Beyond the end, not rendered yet, or no number."""
    job_id = running_job(served, plan)
    render(served, job_id, plan, 0)

    assert 404 == served.client.get(f"/v1/jobs/{job_id}/segments/{index}.mp4").status_code


@pytest.mark.parametrize("name", ["segments", "segments/0.mp4", "thumbnail.jpg"])
def test_only_the_owner_watches(locked: Served, plan: Plan, name: str) -> None:
    """Another key's job is not there, and without a key nothing is."""
    job_id = running_job(locked, plan, ANNA)
    render(locked, job_id, plan, 0)
    address = f"/v1/jobs/{job_id}/{name}"

    replies = [locked.client.get(address, headers=headers) for headers in (by(ANNA), by(BERT), {})]

    assert [200, 404, 401] == [reply.status_code for reply in replies]


def test_plan_of_another_release_shows_nothing(served: Served) -> None:
    """A plan that cannot be read any more is no reason for a failure."""
    store = served.service._store
    asked = served.client.post("/v1/jobs", json={"payload_url": "http://127.0.0.1/v.mp4", "scale": 2}).json()
    claim = store.claim(served.service._name, 1000)
    assert claim is not None
    store.keep_plan(claim, {"unheard": "of"})

    assert [] == served.client.get(f"/v1/jobs/{asked['id']}/segments").json()["segments"]


def test_plan_without_its_first_time_still_has_a_list(served: Served, plan: Plan) -> None:
    """One of the release before counts from the stream's own zero, which mostly is the first frame."""
    older = replace(plan, first_pts=None, end_pts=None)
    job_id = running_job(served, older)
    render(served, job_id, plan, 1)

    found = served.client.get(f"/v1/jobs/{job_id}/segments").json()

    assert plan.digest == older.digest
    assert [1.2] == [one["start_seconds"] for one in found["segments"]]
