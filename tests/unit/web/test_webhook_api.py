"""Webhooks as callers meet them: what is refused at the door, what is never shown, and a message for a real job.

How messages are kept and tried again is tested in `unit/jobs/test_webhooks`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.support.killing import wait_until
from tests.support.receiver import Receiver
from tests.support.served import NO_TLS, IdlePool, Served, fail_next, finish_next, serving, settings_in
from upscale_server.errors import SourceTruncated
from upscale_server.jobs.webhooks import signature_of
from upscale_server.server_settings import Fetch, Webhooks
from upscale_server.service import VideoService

SECRET = "a shared secret"  # noqa: S105 - of these tests alone
JOB = {"payload_url": "http://127.0.0.1/clip.mp4", "scale": 2}


@contextmanager
def told_server(folder: Path, **settings: Any) -> Iterator[Served]:  # noqa: ANN401 - whatever settings hold
    """Serve with a secret."""
    given = settings_in(folder, **{"webhooks": Webhooks(secret=SecretStr(SECRET)), **settings})
    with serving(VideoService(given, IdlePool())) as served:
        yield served


@pytest.mark.slow
def test_a_real_server_tells_of_its_jobs(tmp_path: Path) -> None:
    """The message comes by itself, its link opens the result without a key, and no answer shows the address."""
    with Receiver() as receiver, told_server(tmp_path) as served:
        accepted = served.client.post("/v1/jobs", json={**JOB, "webhook_url": receiver.url()})
        sent = served.client.post("/v1/jobs", json={**JOB, "webhook_url": receiver.url()})
        finish_next(served.service, tmp_path, b"the result")
        fail_next(served.service, SourceTruncated("it ends early"))
        wait_until(lambda: len(receiver.told) == 2)
        messages = [json.loads(told.body) for told in receiver.told]
        shown = served.client.get(f"/v1/jobs/{accepted.json()['id']}")
        link = next(one["job"]["result"]["url"] for one in messages if one["job"]["result"])
        content = served.client.get(link).content

    assert {("job.succeeded", accepted.json()["id"]), ("job.failed", sent.json()["id"])} == {
        (message["type"], message["job"]["id"]) for message in messages
    }
    assert "/files/" in link
    assert b"the result" == content
    assert 202 == accepted.status_code
    assert "hidden" not in accepted.text + shown.text
    told = receiver.told[0]
    assert told.headers["x-signature"] == signature_of(SECRET, told.headers["x-timestamp"], told.body)


@pytest.mark.slow
def test_a_job_shows_how_far_its_message_is(tmp_path: Path) -> None:
    """Alone and in a list, before the end and after it; never the address. The figures count what was given up."""
    with Receiver(410) as receiver, told_server(tmp_path) as served:
        jobs = [served.client.post("/v1/jobs", json={**JOB, "webhook_url": receiver.url()}).json() for _ in range(2)]
        plain = served.client.post("/v1/jobs", json=JOB).json()
        fail_next(served.service, SourceTruncated("it ends early"))
        given_up = {"state": "given_up", "attempts": 1, "last_error": "answered with status 410"}
        path = f"/v1/jobs/{jobs[0]['id']}"
        wait_until(lambda: served.client.get(path).json()["webhook"] == given_up)
        listed = served.client.get("/v1/jobs")
        figures = served.client.get("/metrics").text

    waiting = {"state": "waiting", "attempts": 0, "last_error": None}
    assert [waiting, None] == [jobs[0]["webhook"], plain["webhook"]]
    assert [None, waiting, given_up] == [one["webhook"] for one in listed.json()["jobs"]]
    assert "hidden" not in listed.text
    assert 'upscale_webhooks{state="given_up"} 1.0' in figures
    assert "webhook" not in json.loads(receiver.told[0].body)["job"]


@pytest.mark.slow
def test_a_link_in_a_message_is_whole_where_the_servers_address_is_known(tmp_path: Path) -> None:
    """A receiver has no page whose host it could put before a path."""
    with Receiver() as receiver, told_server(tmp_path, public_url="https://video.example.org/") as served:
        served.client.post("/v1/jobs", json={**JOB, "webhook_url": receiver.url()})
        finish_next(served.service, tmp_path)
        wait_until(lambda: bool(receiver.told))

    link = json.loads(receiver.told[0].body)["job"]["result"]["url"]
    assert link.startswith("https://video.example.org/files/")


def test_a_webhook_is_refused_where_nothing_can_be_signed(served: Served) -> None:
    """400 with the setting, by address and before an upload is read; nothing is queued."""
    asked = served.client.post("/v1/jobs", json={**JOB, "webhook_url": "https://example.org/hook"})
    sent = served.post_raw("/v1/jobs?webhook_url=https://example.org/hook", b"video", "video/mp4")

    for reply in (asked, sent):
        assert (400, "bad_request") == (reply.status_code, reply.json()["code"])
        assert "UPSCALE_WEBHOOKS__SECRET" in reply.json()["hint"]
    assert 0 == served.service.counts().queued


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("http://127.0.0.1:9/hook?hidden", 403, "forbidden"),
        ("http://[::ffff:10.0.0.1]/hook?hidden", 403, "forbidden"),
        ("http://0x7f000001/hook?hidden", 403, "forbidden"),
        ("http://localhost/hook?hidden", 403, "forbidden"),
        ("http://169.254.169.254/hook?hidden", 403, "forbidden"),
        ("ftp://example.org/hook?hidden", 400, "bad_scheme"),
        ("https://user:hidden@example.org/hook", 400, "bad_url"),
    ],
)
def test_an_address_that_may_not_be_told_is_refused_at_the_door(
    tmp_path: Path, url: str, status: int, code: str
) -> None:
    """The rules are those of sources, and the address is not repeated."""
    with told_server(tmp_path, fetch=Fetch()) as served:
        reply = served.client.post("/v1/jobs", json={**JOB, "payload_url": "https://example.org/a", "webhook_url": url})

    assert (status, code) == (reply.status_code, reply.json()["code"])
    assert "webhook_url" in reply.json()["detail"]
    assert "hidden" not in reply.text


@pytest.mark.slow
def test_the_receiver_of_the_documentation_takes_what_is_genuine_and_nothing_else(
    repository: Path, tmp_path: Path
) -> None:
    """The program as it is printed, against messages of ours: taken once, refused when a byte or the time differs."""
    page = (repository / "docs/howto/receive-webhooks.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "receiver.py").write_text(program, encoding="utf-8")
    with _running(tmp_path / "receiver.py") as (url, process):
        body = json.dumps({"id": "1", "type": "job.succeeded", "job": {"id": "abc"}}).encode()
        statuses = [
            _told(url, body, body), _told(url, body, body), _told(url, body, body.replace(b"abc", b"abd")),
            _told(url, body, body, age=600), _told(url, body, body, secret=SECRET[1:]),
        ]  # fmt: skip
        odd = [_odd(url, *lines) for lines in (["Content-Length: -1"], ["Content-Length: 2", "X-Signature: \xfc"], [])]
        process.terminate()
        assert process.stdout is not None
        printed = process.stdout.read()

    assert [204, 204, 401, 401, 401] == statuses
    assert [b"413", b"401", b"413"] == odd, "a length or a signature that no honest sender has is refused at once"
    assert "job.succeeded abc\n" == printed


def _told(url: str, signed: bytes, sent: bytes, age: int = 0, secret: str = SECRET) -> int:
    timestamp = str(int(time.time()) - age)
    headers = {"X-Timestamp": timestamp, "X-Signature": signature_of(secret, timestamp, signed)}
    return httpx.post(url, content=sent, headers=headers, **NO_TLS).status_code


def _odd(url: str, *lines: str) -> bytes:
    """Return the status of a request with such headers, whose sender keeps the connection open."""
    port = int(url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall("\r\n".join(["POST / HTTP/1.0", *lines, "", "{}"]).encode("latin-1"))
        return caller.recv(1 << 16).split(b" ")[1]


@contextmanager
def _running(program: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the receiver on a free port, and wait until it answers."""
    with Receiver() as receiver:
        port = receiver.port  # free again when it has closed
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    command = [sys.executable, str(program)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}/"
            wait_until(lambda: _answers(url))
            yield url, process
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        httpx.get(url, **NO_TLS)
    except httpx.TransportError:
        return False
    return True
