"""Uploads go straight to disk, within limits, and leave nothing behind where they fail."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.server_settings import Fetch
from upscale_server.service import VideoService
from upscale_server.web import uploads, video_app

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several writes
FORM = "multipart/form-data; boundary=b"


def part(head: str, content: bytes) -> bytes:
    """Return one part of a form."""
    return b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def waiting(served: Served) -> list[Path]:
    """List the uploads that wait for their job."""
    return list(served.service.uploads.iterdir())


def test_a_form_brings_its_file_and_its_fields(served: Served) -> None:
    """The bytes lie on the disk unchanged; fields may stand before and after the file; the name is cleaned."""
    body = part('name="scale"', b"4") + part('name="file"; filename="../../my clip.mkv"', CONTENT)
    reply = served.post_raw("/v1/jobs", body + part('name="codec"', b"av1") + b"--b--\r\n", FORM)

    asked = reply.json()["asked"]
    assert (202, 4, "av1", "upload") == (reply.status_code, asked["scale"], asked["codec"], asked["source"])
    assert [CONTENT] == [path.read_bytes() for path in waiting(served)]
    assert "/" not in asked["file_name"]


def test_a_body_may_be_the_video_itself(served: Served) -> None:
    """Fields stand in the query then, also the name."""
    reply = served.post_raw("/v1/jobs?target=4k&file_name=holiday.mov", CONTENT, "video/quicktime")

    assert (202, "4k", "holiday_upscaled") == (
        reply.status_code, reply.json()["asked"]["to"], reply.json()["asked"]["file_name"],
    )  # fmt: skip
    assert [CONTENT] == [path.read_bytes() for path in waiting(served)]


def test_a_repeated_upload_is_one_job_and_one_file(served: Served) -> None:
    """With an Idempotency-Key the content counts, not where it was put; other content is a conflict."""
    headers = {"Content-Type": "video/mp4", "Idempotency-Key": "k"}
    first = served.client.post("/v1/jobs?scale=2", content=CONTENT, headers=headers)
    again = served.client.post("/v1/jobs?scale=2", content=CONTENT, headers=headers)
    other = served.client.post("/v1/jobs?scale=2", content=CONTENT[1:], headers=headers)

    assert first.json()["id"] == again.json()["id"]
    assert 409 == other.status_code
    assert 1 == len(waiting(served))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"--b--\r\n", "empty"),
        (part('name="file"; filename="a"', b"x"), "ends before its last boundary"),
        (part('name="file"; filename="a"', b"x") * 2 + b"--b--\r\n", "file 2"),
        (part('name="video"; filename="a"', b"x") + b"--b--\r\n", "in field 'video'"),
        (part('name="file"; filename="a"', b"x") + part('name="scale"', b"3") + b"--b--\r\n", "expected 2 or 4"),
        (part('name="file"; filename="a"', b"x") + part('name="foo"', b"3") + b"--b--\r\n", "does not exist"),
        (part('name="scale"', b"2") * 2 + b"--b--\r\n", "there twice"),
        (part('name="scale"', b"\xff") + b"--b--\r\n", "not UTF-8"),
        (part('name="scale"', b"2" * 9000) + b"--b--\r\n", "8192"),
        (b"".join(part(f'name="a{n}"', b"") for n in range(40)) + b"--b--\r\n", "32 parts"),
        (b"\r\n" * 1_000_000 + part('name="file"; filename="a"', b"x") + b"--b--\r\n", "besides its file"),
        (part('name="file"; filename="a"\r\nX: ' + "y" * 9000, b"x") + b"--b--\r\n", "form"),
        (b"no form at all", "form"),
    ],
)  # fmt: skip
def test_a_malformed_form_is_refused_and_leaves_nothing(refusing: Served, body: bytes, text: str) -> None:
    """400 with the reason; no file stays."""
    reply = refusing.post_raw("/v1/jobs", body, FORM)

    assert 400 == reply.status_code, reply.text
    assert text in reply.json()["detail"]
    assert [] == waiting(refusing)


@pytest.mark.slow
@pytest.mark.parametrize("declared", [True, False], ids=["announced", "in chunks"])
@pytest.mark.parametrize("kind", ["video/mp4", FORM])
def test_an_upload_beyond_the_limit_is_refused_and_leaves_nothing(tmp_path: Path, kind: str, *, declared: bool) -> None:
    """413 with the limit and its setting, whether the size is announced or comes out while reading."""
    settings = settings_in(tmp_path, fetch=Fetch(max_bytes=1_000_000))
    with serving(VideoService(settings, IdlePool())) as served:
        whole = part('name="file"; filename="a"', CONTENT) + b"--b--\r\n" if kind == FORM else CONTENT
        content = whole if declared else iter([whole])
        reply = served.client.post("/v1/jobs", content=content, headers={"Content-Type": kind})
        left = waiting(served)

    assert (413, "source_too_large") == (reply.status_code, reply.json()["code"])
    assert "UPSCALE_FETCH__MAX_BYTES" in reply.json()["detail"]
    assert [] == left


def test_wrong_fields_are_refused_before_the_upload_is_read(served: Served) -> None:
    """The answer is there although not a byte of the body has come."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    head = (
        "POST /v1/jobs?scale=3 HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
        heard = connection.recv(1024)

    assert b" 400 " in heard.splitlines()[0]


def test_an_upload_that_breaks_off_leaves_nothing(served: Served) -> None:
    """A caller that vanishes takes its file along."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\nContent-Length: 9000000\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + CONTENT)
        wait_until(lambda: bool(waiting(served)))

    wait_until(lambda: not waiting(served))
    assert 0 == served.service.counts().queued


@pytest.mark.parametrize("kind", ["video/mp4", FORM])
def test_an_upload_never_fills_the_disk(served: Served, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A little stays free for the jobs' database: refused with 507 where the disk fills up meanwhile, nothing stays."""
    free = iter([uploads.SPARE_BYTES + 3_000_000, uploads.SPARE_BYTES + 2_000_000, *[uploads.SPARE_BYTES] * 9])
    monkeypatch.setattr(uploads, "_free", lambda _folder: next(free))
    whole = part('name="file"; filename="a"', CONTENT) + b"--b--\r\n" if kind == FORM else CONTENT

    reply = served.client.post("/v1/jobs", content=iter([whole]), headers={"Content-Type": kind})

    assert "disk_full" == reply.json()["code"], reply.text
    assert [] == waiting(served)
    assert next(free, None) is not None


def test_an_upload_that_will_not_fit_is_refused_before_it_is_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is announced counts."""
    monkeypatch.setattr(uploads, "_free", lambda _folder: uploads.SPARE_BYTES + len(CONTENT) - 1)

    reply = served.post_raw("/v1/jobs", CONTENT, "video/mp4")

    assert "disk_full" == reply.json()["code"]
    assert [] == waiting(served)


@pytest.mark.slow
def test_only_so_many_uploads_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is told to come back; when one has ended there is room again."""
    monkeypatch.setattr(video_app, "MOST_UPLOADS", 1)
    with serving(VideoService(settings_in(tmp_path), IdlePool())) as served:
        host, _, port = served.url.removeprefix("http://").partition(":")
        head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\nContent-Length: 9000000\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(head.encode() + CONTENT)
            wait_until(lambda: bool(waiting(served)))
            refused = served.post_raw("/v1/jobs", b"video", "video/mp4")
        wait_until(lambda: not waiting(served))
        wait_until(lambda: served.post_raw("/v1/jobs", b"video", "video/mp4").status_code == 202)

    assert (429, "rate_limited") == (refused.status_code, refused.json()["code"])
    assert refused.headers["retry-after"].isdigit()
