"""Previews over HTTP: asked for with a source, made beside jobs, played in ranges, stopped and removed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from pydantic import SecretStr

from tests.support.bad_source import BadSource
from tests.support.clip_spec import BT709, Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.inspect_media import contents_of
from tests.support.killing import wait_until
from tests.support.preview_pool import PreviewPool
from tests.support.served import Served, serving, settings_in
from upscale_server.edge_settings import Quotas
from upscale_server.errors import SourceCorrupt
from upscale_server.events import Event, FramesDone
from upscale_server.jobs.folder import previews_folder, uploads_folder
from upscale_server.plan import Plan
from upscale_server.server_settings import Previews
from upscale_server.service import VideoService
from upscale_server.stopping import Stop
from upscale_server.wish import Limits, Wish

ANNA, BERT = "anna-has-a-long-key", "bert-has-another-one"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give two seconds of video with sound, one keyframe and B-frames."""
    picture = Picture(frame_count=50, options={"bf": "3", "g": "999"}, colour=BT709)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(Clip(pictures=(picture,), sounds=(Sound(seconds=2.0),)), path).read_bytes()


@pytest.fixture
def pool() -> PreviewPool:
    """Give workers that make previews."""
    return PreviewPool()


@pytest.fixture
def served(tmp_path: Path, pool: PreviewPool) -> Iterator[Served]:
    """Give a running server."""
    with serving(VideoService(settings_in(tmp_path, previews=Previews(room=1, most_models=2)), pool)) as running:
        yield running


class Gate:
    """Holds the lanes at their first frame until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, event: Event) -> None:
        """Wait at a frame."""
        if isinstance(event, FramesDone):
            self.reached.set()
            assert self._open.wait(60)

    def open(self) -> None:
        """Let all pass from now on."""
        self._open.set()


def sent(served: Served, content: bytes, **headers: str) -> str:
    """Send a source and return its id."""
    reply = served.client.post("/v1/sources", files={"file": ("holiday.mp4", content)}, headers=headers)
    assert 201 == reply.status_code, reply.text
    return str(reply.json()["id"])


def asked(served: Served, content: bytes, **fields: object) -> httpx.Response:
    """Ask for a preview of a source that is sent first."""
    given = {"source_id": sent(served, content), "models": ["lanczos"], "seconds": 0.2, **fields}
    return served.client.post("/v1/previews", json=given)


def ended(served: Served, reply: httpx.Response) -> dict[str, Any]:
    """Return a preview when it is finished."""
    assert 202 == reply.status_code, reply.text
    found: list[dict[str, Any]] = []

    def is_finished() -> bool:
        found[:] = [served.client.get(reply.headers["location"]).json()]
        return found[0]["state"] not in ("queued", "running")

    wait_until(is_finished)
    return found[0]


def folder_in(served: Served) -> Path:
    """Return where previews are."""
    return previews_folder(served.service.settings.state_dir / "video" / "temp", served.service._name)


@pytest.mark.slow
def test_a_preview_of_a_source_plays_in_step(served: Served, clip: bytes, tmp_path: Path) -> None:
    """Bicubic and each model: files of one size with the frames asked for, at the times that are told."""
    reply = asked(served, clip, models=["lanczos", "bicubic"], start_seconds=0.41, scale=4)

    preview = ended(served, reply)

    assert f"/v1/previews/{preview['id']}" == reply.headers["location"]
    assert "succeeded" == preview["state"], preview
    assert (384, 256, 5) == (preview["width"], preview["height"], preview["frames"])
    assert (0.41, 0.2) == (preview["start_seconds"], preview["seconds"])
    assert [0.0, 0.04, 0.08, 0.12, 0.16] == preview["frame_times"]
    assert {"done": 15, "total": 15} == preview["progress"]
    assert ["lanczos", "bicubic"] == [one["model"] for one in preview["items"]]
    for place, url in enumerate([preview["before"]["url"], *(one["url"] for one in preview["items"])]):
        path = tmp_path / f"{place}.mp4"
        path.write_bytes(served.client.get(url).content)
        shown = contents_of(path).shown
        assert [11, 12, 13, 14, 15] == [picture.number for picture in shown]
        assert preview["frame_times"] == [float(picture.time or 0) for picture in shown]
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            assert ("h264", "yuv420p", 384, 256) == (
                stream.codec_context.name, stream.format.name, stream.width, stream.height,
            )  # fmt: skip
    lasting = datetime.fromisoformat(preview["expires_at"]) - datetime.fromisoformat(preview["created_at"])
    assert lasting >= timedelta(seconds=21_600)


@pytest.mark.slow
def test_files_are_given_in_ranges_and_to_nobody_by_another_name(served: Served, clip: bytes) -> None:
    """A player seeks; the note, the source and what lies above are no files of a preview."""
    preview = ended(served, asked(served, clip, start_seconds=0))
    url = preview["before"]["url"]

    whole, part = served.client.get(url), served.client.get(url, headers={"Range": "bytes=10-19"})

    assert (200, "video/mp4") == (whole.status_code, whole.headers["content-type"])
    assert (206, whole.content[10:20]) == (part.status_code, part.content)
    assert str(len(whole.content)) == served.client.head(url).headers["content-length"]
    assert len(whole.content) == (folder_in(served) / preview["id"] / "before.mp4").stat().st_size
    for name in ("preview.json", "source", "work", "none.mp4", "..%2f..%2fjobs.db"):
        assert 404 == served.client.get(f"/v1/previews/{preview['id']}/files/{name}").status_code, name


@pytest.mark.slow
def test_nothing_but_the_files_stays(served: Served, clip: bytes) -> None:
    """The source's copy and the work are gone with the end; the source itself stays."""
    preview = ended(served, asked(served, clip))

    assert ["before.mp4", "lanczos.mp4", "preview.json"] == sorted(
        one.name for one in (folder_in(served) / preview["id"]).iterdir()
    )
    assert [] == list(uploads_folder(served.service.settings.state_dir / "video" / "temp").iterdir())


@pytest.mark.slow
def test_an_address_is_fetched_and_no_model_means_the_one_a_job_gets(served: Served, clip: bytes) -> None:
    """The source of another server, without a word about models."""
    with BadSource(body=clip) as elsewhere:
        reply = served.client.post("/v1/previews", json={"payload_url": elsewhere.url("ok"), "seconds": 0.1})

        preview = ended(served, reply)

    assert ("succeeded", ["fast"]) == (preview["state"], [one["model"] for one in preview["items"]])
    assert preview["items"][0]["byte_count"] > 0


def test_an_address_that_gives_nothing_fails_with_its_fault(served: Served) -> None:
    """What went wrong with the source is the preview's fault, and nothing of it stays."""
    with BadSource() as elsewhere:
        reply = served.client.post("/v1/previews", json={"payload_url": elsewhere.url("missing"), "seconds": 0.1})

        preview = ended(served, reply)

    assert "failed" == preview["state"]
    assert preview["fault"]["code"].startswith("source")
    assert preview["before"] is None


def test_what_is_no_video_fails_under_its_own_name(served: Served, tmp_path: Path) -> None:
    """The fault says what the source is called where it came from, and nothing of our folders."""
    with BadSource() as elsewhere:
        reply = served.client.post("/v1/previews", json={"payload_url": elsewhere.url("ok"), "seconds": 0.1})

        preview = ended(served, reply)

    assert ("failed", "not_media") == (preview["state"], preview["fault"]["code"])
    assert "source ok is no media file" in preview["fault"]["detail"]
    assert str(tmp_path) not in reply.text + str(preview)


@pytest.mark.slow
def test_a_side_that_fails_names_no_folder_of_ours(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model fails on the way; the other is shown, and the fault calls the source by its name."""
    real = PreviewPool.plan

    def torn(self: PreviewPool, source: Path, wish: Wish, limits: Limits, stop: Stop) -> Plan:
        if wish.model == "lanczos":
            raise SourceCorrupt(f"source {source} is torn")
        return real(self, source, wish, limits, stop)

    monkeypatch.setattr(PreviewPool, "plan", torn)

    preview = ended(served, asked(served, clip, models=["lanczos", "bicubic"], start_seconds=0))

    assert ["failed", "succeeded"] == [one["state"] for one in preview["items"]]
    assert "source holiday.mp4 is torn" == preview["items"][0]["fault"]["detail"]
    assert preview["progress"]["done"] == preview["progress"]["total"]


@pytest.mark.slow
def test_a_self_test_names_the_best(served: Served, clip: bytes) -> None:
    """Each side has its numbers, and the sentence says what decided."""
    preview = ended(served, asked(served, clip, self_test=True, start_seconds=0))

    assert preview["self_test"] is True
    qualities = [preview["before"]["quality"], preview["items"][0]["quality"]]
    assert all(one["vmaf"] is not None and one["psnr_y"] > 0 for one in qualities)
    best = max(("before", "lanczos"), key=lambda name: qualities[name == "lanczos"]["vmaf"])
    assert best == preview["best"]
    assert "VMAF" in preview["best_because"]
    assert "self_test" in [one["code"] for one in preview["warnings"]]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "bad_request"),
        ({"source_id": "0" * 32, "payload_url": "http://127.0.0.1/a.mp4"}, 400, "bad_request"),
        ({"source_id": "0" * 32}, 404, "not_found"),
        ({"source_id": "0" * 32, "seconds": 10.5}, 400, "bad_request"),
        ({"source_id": "0" * 32, "seconds": 0}, 400, "bad_request"),
        ({"source_id": "0" * 32, "start_seconds": -1}, 400, "bad_request"),
        ({"source_id": "0" * 32, "models": []}, 400, "bad_request"),
        ({"source_id": "0" * 32, "models": ["fast", "lanczos", "bicubic"]}, 400, "bad_request"),
        ({"source_id": "0" * 32, "models": ["fast", "fast"]}, 400, "bad_request"),
        ({"source_id": "0" * 32, "models": ["../fast.onnx"]}, 400, "bad_request"),
        ({"source_id": "0" * 32, "models": ["nobody"]}, 400, "bad_request"),
        ({"source_id": "0" * 32, "model": "fast"}, 400, "bad_request"),
        ({"source_id": "0" * 32, "scale": 5}, 400, "bad_scale"),
        ({"source_id": "0" * 32, "colour": "red"}, 400, "bad_request"),
        ({"payload_url": "file:///etc/passwd"}, 400, "bad_scheme"),
        ({"payload_url": "http://169.254.169.254/latest"}, 403, "source_forbidden"),
    ],
    ids=str,
)
def test_what_could_never_be_done_is_refused_at_the_door(
    served: Served, fields: dict[str, object], status: int, code: str
) -> None:
    """Each with its own code, and without a folder."""
    reply = served.client.post("/v1/previews", json=fields)

    assert (status, code) == (reply.status_code, reply.json()["code"]), reply.text
    assert not folder_in(served).exists()


@pytest.mark.slow
def test_a_source_that_cannot_be_shown_fails_without_our_paths(served: Served, clip: bytes) -> None:
    """Behind its end there is nothing; the fault names the source as its sender does."""
    preview = ended(served, asked(served, clip, start_seconds=3600))

    assert ("failed", "bad_request") == (preview["state"], preview["fault"]["code"])
    assert "start is 3600" in preview["fault"]["detail"]
    assert "temp" not in preview["fault"]["detail"]


@pytest.mark.slow
def test_cancelling_stops_the_lanes_and_leaves_no_work(served: Served, pool: PreviewPool, clip: bytes) -> None:
    """In the middle of a frame; a second cancel changes nothing, a finished one cannot be canceled."""
    gate = Gate()
    pool.gate = gate
    reply = asked(served, clip)
    assert gate.reached.wait(60)

    stopped = served.client.post(reply.headers["location"] + "/cancel")
    gate.open()
    preview = ended(served, reply)

    assert 200 == stopped.status_code
    assert "canceled" == preview["state"]
    assert preview["fault"] is None
    assert ["preview.json"] == [one.name for one in (folder_in(served) / preview["id"]).iterdir()]
    assert "canceled" == served.client.post(reply.headers["location"] + "/cancel").json()["state"]
    done = ended(served, asked(served, clip))
    assert 409 == served.client.post(f"/v1/previews/{done['id']}/cancel").status_code


@pytest.mark.slow
def test_more_than_may_wait_is_refused_and_one_that_waits_is_canceled_at_once(
    served: Served, pool: PreviewPool, clip: bytes
) -> None:
    """One is made, one waits, the third is told to come again; what waits needs no lane to be canceled."""
    gate = Gate()
    pool.gate = gate
    first = asked(served, clip)
    assert gate.reached.wait(60)
    second = asked(served, clip)

    third = asked(served, clip)
    canceled = served.client.post(second.headers["location"] + "/cancel").json()
    gate.open()

    assert (429, "queue_full") == (third.status_code, third.json()["code"])
    assert "canceled" == canceled["state"]
    assert "succeeded" == ended(served, first)["state"]


@pytest.mark.slow
def test_removing_one_that_is_made_leaves_nothing(served: Served, pool: PreviewPool, clip: bytes) -> None:
    """404 from then on, and no folder once the lane has let go."""
    gate = Gate()
    pool.gate = gate
    reply = asked(served, clip)
    assert gate.reached.wait(60)

    removed = served.client.delete(reply.headers["location"])
    gate.open()

    assert 204 == removed.status_code
    assert 404 == served.client.get(reply.headers["location"]).status_code
    wait_until(lambda: not [one for one in folder_in(served).iterdir() if one.is_dir()])
    assert "succeeded" == ended(served, asked(served, clip))["state"]


@pytest.mark.slow
def test_each_key_has_its_own(tmp_path: Path, clip: bytes) -> None:
    """Another key's preview is not there: not to see, not to play, not to stop, not to make from."""
    settings = settings_in(tmp_path, api_keys=SecretStr(f"{ANNA},{BERT}"))
    with serving(VideoService(settings, PreviewPool()), **{"X-API-Key": ANNA}) as served:
        preview = ended(served, asked(served, clip))
        other = {"X-API-Key": BERT}
        place = f"/v1/previews/{preview['id']}"

        replies = [
            served.client.get(place, headers=other),
            served.client.get(preview["before"]["url"], headers=other),
            served.client.post(f"{place}/cancel", headers=other),
            served.client.delete(place, headers=other),
            served.client.post("/v1/previews", json={"source_id": sent(served, clip)}, headers=other),
        ]

        assert [404] * 5 == [reply.status_code for reply in replies]
        assert 200 == served.client.get(preview["before"]["url"]).status_code


@pytest.mark.slow
def test_what_a_preview_takes_counts_for_the_day(tmp_path: Path, clip: bytes) -> None:
    """Its source's bytes and its pixels: or a key with nothing left of its day would go on with previews."""
    quotas = Quotas(bytes_a_day=1 << 40, pixels_a_day=1)
    settings = settings_in(tmp_path, api_keys=SecretStr(f"{ANNA},{BERT}"), quotas=quotas)
    with serving(VideoService(settings, PreviewPool()), **{"X-API-Key": ANNA}) as served:
        with BadSource(body=clip) as source:
            body = {"payload_url": source.url("ok"), "models": ["lanczos"], "seconds": 0.2, "scale": 2}
            reply = served.client.post("/v1/previews", json=body)
            made = ended(served, reply)
            refused = served.client.post("/v1/previews", json=body)
        owner = served.service.previews._shelf._kept[made["id"]].owner
        used = served.service._store.usage.today(owner)

    assert "succeeded" == made["state"], made
    assert (429, "rate_limited") == (refused.status_code, refused.json()["code"])
    assert len(clip) == used.byte_count
    assert made["progress"]["total"] * made["width"] * made["height"] == used.pixels


@pytest.mark.slow
def test_a_restart_keeps_what_is_finished_and_fails_the_rest(tmp_path: Path, clip: bytes) -> None:
    """A finished one is still played; one that was being made can be asked for again."""
    gate, pool = Gate(), PreviewPool()
    with serving(VideoService(settings_in(tmp_path), pool)) as served:
        done = ended(served, asked(served, clip))
        pool.gate = gate
        begun = asked(served, clip)
        assert gate.reached.wait(60)
        opener = threading.Thread(target=lambda: (wait_until(lambda: served.service.previews._stopping), gate.open()))
        opener.start()
        served.service.stop(0)
        opener.join()

    with serving(VideoService(settings_in(tmp_path), PreviewPool())) as served:
        again = served.client.get(begun.headers["location"]).json()

        assert 200 == served.client.get(done["before"]["url"]).status_code
        assert ("failed", "draining", True) == (again["state"], again["fault"]["code"], again["fault"]["retryable"])
