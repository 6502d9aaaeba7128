"""Sources: brought once, looked at, kept for later, each its key's own; jobs are made from them."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import update

from tests.support.bad_source import BadSource
from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.killing import wait_until
from tests.support.served import LookingPool, Served, finish_next, serving, settings_in
from upscale_server.jobs.codec import to_record, untold
from upscale_server.jobs.folder import sources_folder
from upscale_server.jobs.tables import jobs
from upscale_server.server_settings import Fetch, Sources, Webhooks
from upscale_server.service import VideoService
from upscale_server.web import uploads

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n"
ANNA, BERT = "anna-has-a-long-key", "bert-has-another-one"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give a second of video with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(Clip(sounds=(Sound(language="deu"),)), path).read_bytes()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Give a running server that looks at files."""
    with serving(VideoService(settings_in(tmp_path), LookingPool())) as running:
        yield running


def sent(served: Served, content: bytes, name: str = "holiday.mp4", **headers: str) -> httpx.Response:
    """Send a source in a form."""
    return served.client.post("/v1/sources", files={"file": (name, content)}, headers=headers)


def kept(served: Served) -> list[Path]:
    """List what lies about: sources, and uploads on their way."""
    return [*sources_folder(served.service.settings.state_dir / "video" / "temp").iterdir(), *waiting(served)]


def waiting(served: Served) -> list[Path]:
    """List the uploads that wait for their job."""
    return list(served.service.uploads.iterdir())


def test_a_source_that_was_sent_is_shown_with_what_is_in_it(served: Served, clip: bytes) -> None:
    """201, its place, its name, and the facts of its probe."""
    reply = sent(served, clip, "../my holiday.mp4")

    source = reply.json()
    assert (201, f"/v1/sources/{source['id']}") == (reply.status_code, reply.headers["location"])
    assert ("_my holiday.mp4", len(clip)) == (source["file_name"], source["byte_count"])
    probe = source["probe"]
    assert ("mov", "h264", 96, 64, "3:2", 24, 0.96) == tuple(
        probe[name]
        for name in ("container", "codec", "width", "height", "display_aspect", "frames", "duration_seconds")
    )
    assert [("video", "h264", None), ("audio", "aac", "deu")] == [
        (track["kind"], track["codec"], track["language"]) for track in probe["tracks"]
    ]
    assert [] == probe["traits"]
    lasting = datetime.fromisoformat(source["expires_at"]) - datetime.fromisoformat(source["created_at"])
    assert timedelta(days=1) == lasting
    assert source == served.client.get(reply.headers["location"]).json()
    assert [] == waiting(served)


@pytest.mark.slow
def test_a_source_may_be_the_body_or_an_address(served: Served, clip: bytes) -> None:
    """All three ways lead to the same source; the address's own name is taken."""
    body = served.client.post("/v1/sources?file_name=a.mov", content=clip, headers={"Content-Type": "video/mp4"})
    with BadSource(body=clip) as elsewhere:
        address = served.client.post("/v1/sources", json={"payload_url": elsewhere.url("ok")})

    assert (201, 201) == (body.status_code, address.status_code), address.text
    assert ("a.mov", "ok") == (body.json()["file_name"], address.json()["file_name"])
    assert body.json()["probe"] == address.json()["probe"]
    assert len(clip) == address.json()["byte_count"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"this is no video" * 100, 415, "not_media"), (PLAYLIST, 415, "not_media")],
)
def test_what_is_no_video_is_refused_by_its_own_name_and_leaves_nothing(
    served: Served, content: bytes, status: int, code: str
) -> None:
    """The refusal is that of a job; no path of ours is told."""
    by_form = sent(served, content, "notes.txt")
    by_body = served.post_raw("/v1/sources?file_name=notes.txt", content, "video/mp4")

    for reply in (by_form, by_body):
        assert (status, code) == (reply.status_code, reply.json()["code"]), reply.text
        assert "source notes.txt is" in reply.json()["detail"]
        assert str(served.service.uploads.parent) not in reply.text
    assert [] == kept(served)


def test_a_file_with_sound_alone_is_no_source(served: Served, tmp_path: Path) -> None:
    """422 with the code that a job would fail with."""
    sound = write_clip(Clip(pictures=(), sounds=(Sound(),)), tmp_path / "sound.mp4").read_bytes()

    reply = sent(served, sound)

    assert (422, "no_video") == (reply.status_code, reply.json()["code"])
    assert [] == kept(served)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [("status?c=404", 422, "source_not_found"), ("half", 502, "source_error"), ("html", 415, "not_media")],
)
def test_an_address_that_gives_no_video_leaves_nothing(served: Served, mode: str, status: int, code: str) -> None:
    """Also not the part that had come when a server broke off."""
    with BadSource() as elsewhere:
        reply = served.client.post("/v1/sources", json={"payload_url": elsewhere.url(mode)})

    assert (status, code) == (reply.status_code, reply.json()["code"]), reply.text
    assert [] == kept(served)


@pytest.mark.slow
def test_an_address_that_is_not_fetched_is_refused_at_the_door(tmp_path: Path) -> None:
    """The same guard as for jobs: private addresses and other schemes never leave this machine."""
    with serving(VideoService(settings_in(tmp_path, fetch=Fetch()), LookingPool())) as served:
        replies = [
            served.client.post("/v1/sources", json={"payload_url": url})
            for url in ("http://169.254.169.254/latest", "file:///etc/passwd")
        ]

    assert [(403, "source_forbidden"), (400, "bad_scheme")] == [
        (reply.status_code, reply.json()["code"]) for reply in replies
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["video/mp4", "form"])
def test_a_source_beyond_the_limits_is_refused_and_leaves_nothing(
    tmp_path: Path, clip: bytes, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """413 with the setting; 507 where the disk has no room."""
    settings = settings_in(tmp_path, fetch=Fetch(max_bytes=1000))
    with serving(VideoService(settings, LookingPool())) as served:
        large = sent(served, clip) if kind == "form" else served.post_raw("/v1/sources", clip, kind)
        monkeypatch.setattr(uploads, "_free", lambda _folder: uploads.SPARE_BYTES)
        full = sent(served, clip[:500]) if kind == "form" else served.post_raw("/v1/sources", clip[:500], kind)
        left = kept(served)

    assert (413, "source_too_large") == (large.status_code, large.json()["code"])
    assert "UPSCALE_FETCH__MAX_BYTES" in large.json()["detail"]
    assert (507, "disk_full") == (full.status_code, full.json()["code"])
    assert [] == left


@pytest.mark.parametrize(
    ("path", "body", "kind", "text"),
    [
        ("/v1/sources", b"{}", "application/json", "field payload_url is missing"),
        ("/v1/sources", b'{"payload_url":"http://a/b","scale":2}', "application/json", "field scale does not exist"),
        ("/v1/sources?scale=2", b"x", "video/mp4", 'no parameter "scale"'),
        ("/v1/sources", b"", "video/mp4", "empty"),
    ],
)
def test_a_malformed_request_is_refused(served: Served, path: str, body: bytes, kind: str, text: str) -> None:
    """400 with the reason, and nothing stays."""
    reply = served.post_raw(path, body, kind)

    assert 400 == reply.status_code, reply.text
    assert text in reply.json()["detail"]
    assert [] == kept(served)


def test_a_form_with_a_job_in_it_is_refused(served: Served, clip: bytes) -> None:
    """A field that has no meaning here is not passed over."""
    reply = served.client.post("/v1/sources", files={"file": ("a.mp4", clip)}, data={"scale": "2"})

    assert (400, 'field "scale" does not exist') == (reply.status_code, reply.json()["detail"].split(";")[0])
    assert [] == kept(served)


def test_an_upload_that_breaks_off_leaves_no_source(served: Served, clip: bytes) -> None:
    """A caller that vanishes takes its file along."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    head = "POST /v1/sources HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\nContent-Length: 9000000\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + clip * (3_000_000 // len(clip)))
        wait_until(lambda: bool(waiting(served)))

    wait_until(lambda: not kept(served))


@pytest.mark.slow
def test_a_caller_that_hangs_up_stops_its_download(served: Served) -> None:
    """The server holds no thread for an answer that nobody reads, and keeps nothing of the file."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    with BadSource() as elsewhere:
        body = f'{{"payload_url": "{elsewhere.url("drip")}"}}'
        head = "POST /v1/sources HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            wait_until(lambda: bool(kept(served)))

        wait_until(lambda: not kept(served))


@pytest.mark.slow
def test_a_poster_is_a_small_jpeg_and_made_once(served: Served, tmp_path: Path) -> None:
    """Its longest side is 640 at most; turned and stretched as it is shown."""
    picture = Picture(width=720, height=576, frame_count=5, sample_aspect_ratio=None, rotation=90)
    source = sent(served, write_clip(Clip(pictures=(picture,)), tmp_path / "tall.mp4").read_bytes()).json()

    first, second = (served.client.get(f"/v1/sources/{source['id']}/poster.jpg") for _ in range(2))

    assert (200, "image/jpeg") == (first.status_code, first.headers["content-type"])
    assert (512, 640) == Image.open(io.BytesIO(first.content)).size
    assert first.content == second.content
    assert 1 == served.service._pool.asked


@pytest.mark.slow
def test_a_source_is_its_keys_own(tmp_path: Path, clip: bytes) -> None:
    """For another key there is none, whatever is asked of it; no job is made from it either."""
    settings = settings_in(tmp_path, api_keys=SecretStr(f"{ANNA},{BERT}"))
    with serving(VideoService(settings, LookingPool())) as served:
        anna, bert = ({"X-API-Key": key} for key in (ANNA, BERT))
        path = sent(served, clip, **anna).headers["location"]
        asked = [
            served.client.get(path, headers=bert),
            served.client.get(f"{path}/poster.jpg", headers=bert),
            served.client.delete(path, headers=bert),
            served.client.post("/v1/jobs", json={"source_id": path.rpartition("/")[2]}, headers=bert),
        ]
        own = served.client.get(path, headers=anna)
        without = served.client.get(path)

    assert [(404, "not_found")] * 4 == [(reply.status_code, reply.json()["code"]) for reply in asked]
    assert (200, 401) == (own.status_code, without.status_code)


@pytest.mark.slow
def test_a_source_survives_a_restart(tmp_path: Path, clip: bytes) -> None:
    """What was answered holds after the server has stopped and begun again."""
    with serving(VideoService(settings_in(tmp_path), LookingPool())) as served:
        before = sent(served, clip).json()
    with serving(VideoService(settings_in(tmp_path), LookingPool())) as served:
        after = served.client.get(f"/v1/sources/{before['id']}")
        job = served.client.post("/v1/jobs", json={"source_id": before["id"]})

    assert before == after.json()
    assert 202 == job.status_code


def test_a_source_that_was_removed_is_gone(served: Served, clip: bytes) -> None:
    """204, then 404 for everything; nothing of it lies about."""
    path = sent(served, clip).headers["location"]
    served.client.get(f"{path}/poster.jpg")

    removed = served.client.delete(path)

    assert [204, 404, 404, 404] == [
        removed.status_code,
        *(served.client.request(method, path).status_code for method in ("GET", "DELETE")),
        served.client.get(f"{path}/poster.jpg").status_code,
    ]
    assert [] == kept(served)


@pytest.mark.parametrize("source_id", ["0" * 32, "..%2f..%2fuploads", "x", "0" * 64])
def test_a_name_that_no_source_has_is_not_found(served: Served, source_id: str) -> None:
    """Also one that would lead out of the folder."""
    assert 404 == served.client.get(f"/v1/sources/{source_id}").status_code


@pytest.mark.slow
def test_the_oldest_sources_make_room_for_new_ones(tmp_path: Path, clip: bytes) -> None:
    """All together stay within the budget; the newest stays in any case."""
    settings = settings_in(tmp_path, sources=Sources(budget_bytes=2 * len(clip)))
    with serving(VideoService(settings, LookingPool())) as served:
        paths = [sent(served, clip).headers["location"] for _ in range(3)]
        found = [served.client.get(path).status_code for path in paths]

    assert [404, 200, 200] == found


# -------------------------------------------------------------------------------------------------- jobs from sources


def test_a_job_is_made_from_a_source_and_owns_its_file(served: Served, clip: bytes, tmp_path: Path) -> None:
    """It is named after the source; when the source goes, the job has its bytes."""
    source = sent(served, clip).json()

    reply = served.client.post("/v1/jobs", json={"source_id": source["id"], "scale": 4})
    served.client.delete(f"/v1/sources/{source['id']}")

    job = reply.json()
    assert (202, "upload", 4, "holiday_upscaled") == (
        reply.status_code, job["asked"]["source"], job["asked"]["scale"], job["asked"]["file_name"],
    )  # fmt: skip
    assert [clip] == [path.read_bytes() for path in waiting(served)]
    assert [] == [path for path in kept(served) if path not in waiting(served)]
    assert job["id"] == finish_next(served.service, tmp_path)


def test_a_source_serves_several_jobs(served: Served, clip: bytes) -> None:
    """Each has a file of its own, of the same bytes on the disk."""
    source = sent(served, clip).json()["id"]
    jobs = [served.client.post("/v1/jobs", json={"source_id": source}).json()["id"] for _ in range(2)]

    assert 2 == len(set(jobs))
    assert 1 == len({path.stat().st_ino for path in waiting(served)})
    assert 200 == served.client.get(f"/v1/sources/{source}").status_code


@pytest.mark.slow
def test_a_repeated_job_of_a_source_is_one_job(served: Served, clip: bytes) -> None:
    """What counts is the content: the same file sent as an upload is the same request, other content is a conflict."""
    first, again = (sent(served, clip).json()["id"] for _ in range(2))
    other = sent(served, clip + b"\0").json()["id"]
    key = {"Idempotency-Key": "once"}

    replies = [served.client.post("/v1/jobs", json={"source_id": one}, headers=key) for one in (first, again, other)]
    upload = served.client.post(
        "/v1/jobs?file_name=holiday.mp4", content=clip, headers={**key, "Content-Type": "video/mp4"}
    )

    assert [202, 202, 409, 202] == [reply.status_code for reply in (*replies, upload)]
    assert 1 == len({reply.json()["id"] for reply in (*replies[:2], upload)})
    assert 1 == len(waiting(served))


@pytest.mark.slow
def test_a_repeated_job_is_found_when_its_source_has_gone(tmp_path: Path, clip: bytes) -> None:
    """Who lost the first answer hands nothing in twice; another request under the same key is refused."""
    settings = settings_in(tmp_path, webhooks=Webhooks(secret=SecretStr("a shared secret")))
    with serving(VideoService(settings, LookingPool())) as served:
        source = sent(served, clip).json()["id"]
        key = {"Idempotency-Key": "once"}
        body = {"source_id": source, "scale": 4, "webhook_url": "http://127.0.0.1/told?token=1"}
        first = served.client.post("/v1/jobs", json=body, headers=key).json()["id"]
        served.client.delete(f"/v1/sources/{source}")
        with served.service._store._database.writing() as connection:  # as when its receiver has been told
            asked = to_record(untold(served.service.job(first).asked))
            connection.execute(update(jobs).where(jobs.c.id == first).values(asked=asked))

        again = served.client.post("/v1/jobs", json=body, headers=key)
        other = [
            served.client.post("/v1/jobs", json=changed, headers=headers).status_code
            for changed, headers in (({**body, "scale": 2}, key), ({**body, "source_id": "0" * 32}, key), (body, {}))
        ]

    assert (202, first) == (again.status_code, again.json()["id"])
    assert [409, 404, 404] == other


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"scale": 2}, "field payload_url is missing; give it, or source_id"),
        ({"source_id": "a", "payload_url": "http://a/b"}, "choose one"),
        ({"source_id": ""}, "field source_id"),
        ({"source_id": "{id}", "scale": 3}, "expected 2 or 4"),
    ],
)
def test_a_job_has_one_source(served: Served, clip: bytes, body: dict[str, object], text: str) -> None:
    """400 with the fields; a job that is refused leaves no file."""
    if body.get("source_id") == "{id}":
        body = {**body, "source_id": sent(served, clip).json()["id"]}

    reply = served.client.post("/v1/jobs", json=body)

    assert 400 == reply.status_code
    assert text in reply.json()["detail"]
    assert [] == waiting(served)


def test_a_source_on_a_disk_without_links_is_copied(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job owns its file there, too."""

    def refuse(*_: object) -> None:
        raise OSError(18, "cross-device link")

    source = sent(served, clip).json()["id"]
    monkeypatch.setattr("os.link", refuse)
    reply = served.client.post("/v1/jobs", json={"source_id": source})

    assert 202 == reply.status_code
    assert [clip] == [path.read_bytes() for path in waiting(served)]
    assert [1] == [path.stat().st_nlink for path in waiting(served)]
