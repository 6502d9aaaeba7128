"""Sixteen secrets are handed to a real server, every way of failing is forced, and none is found in what it leaves.

Looked through are its log, its stderr, every byte below its state folder while jobs wait, run, fail and are done, and
every answer: errors, job views, events, `/stats`, `/metrics`, `/limits`.
"""

from __future__ import annotations

import base64
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.bad_source import BadSource
from tests.support.canaries import Canaries, found_below, found_in_texts
from tests.support.cli_runner import COMMAND, environment_for
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.raw_server import RawServer, head
from tests.support.receiver import Receiver
from tests.support.server import Server, running

ENDED = {"succeeded", "failed", "canceled"}
ENDED_SECONDS = 600
REFUSED_SECONDS = 300
"""Longest that jobs take, and the start of a server that cannot start; limits and no expectations."""


class Echo(RawServer):
    """A store that refuses everybody and repeats all that it was sent, as the kindest real ones do."""

    def _talk(self, connection: socket.socket) -> None:
        sent = connection.recv(65536)
        body = (
            b"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>"
            + sent.hex().encode()
            + sent
            + b"</StringToSign></Error>"
        )
        connection.sendall(head(403, content_length=len(body), content_type="application/xml") + body)


@dataclass
class Attacked:
    """A server that holds secrets, and every answer that it gave."""

    server: Server
    client: httpx.Client
    canaries: Canaries
    source: BadSource
    receiver: Receiver
    answers: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - as httpx takes them
        """Ask, and keep the answer with its headers."""
        reply = self.client.request(method, path, **more)
        self.answers.append(f"{method} {reply.status_code} {dict(reply.headers)} {reply.text}")
        return reply

    def job(self, mode: str, **fields: object) -> str:
        """Hand in a job whose source has a mode of the bad source; its address and its receiver hold secrets."""
        joint = "&" if "?" in mode else "?"
        url = self.source.url(mode) + self.canaries.query.replace("?", joint, 1)
        hook = self.receiver.url(f"/{self.canaries.webhook_path}?token={self.canaries.webhook_token}")
        asked = {"payload_url": url, "webhook_url": hook, "scale": 2, **fields}
        reply = self.ask("POST", "/v1/jobs", json=asked)
        assert 202 == reply.status_code, reply.text
        return str(reply.json()["id"])

    def wait(self, happened: Callable[[], bool]) -> None:
        """Wait for a fact; how long it takes is the machine's business."""
        ends_at = time.monotonic() + ENDED_SECONDS
        while not happened():
            assert time.monotonic() < ends_at, self.states()
            time.sleep(0.2)

    def states(self) -> list[str]:
        """Return the states of all jobs."""
        return [job["state"] for job in self.client.get("/v1/jobs?limit=200").json()["jobs"]]


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    """Give fresh secrets."""
    return Canaries()


def settings_with(canaries: Canaries) -> dict[str, str]:
    """Return an environment full of secrets."""
    return {
        "UPSCALE_API_KEYS": canaries.api_key,
        "UPSCALE_WEBHOOKS__SECRET": canaries.webhook_secret,
        "UPSCALE_STORAGE__S3__ACCESS_KEY": canaries.s3_access_key,
        "UPSCALE_STORAGE__S3__SECRET_KEY": canaries.s3_secret_key,
        "UPSCALE_LOG_LEVEL": "debug",
        "UPSCALE_FETCH__ATTEMPTS": "1",
        "UPSCALE_FETCH__IDLE_SECONDS": "1",
        "UPSCALE_WORKERS__LANES": "1",
    }


def storage_at(store: Echo) -> dict[str, str]:
    """Return the settings of an object store that is tried once."""
    return {
        "UPSCALE_STORAGE__KIND": "s3",
        "UPSCALE_STORAGE__S3__ENDPOINT": f"http://127.0.0.1:{store.port}",
        "UPSCALE_STORAGE__RETRY_SECONDS": "0",
    }


@pytest.fixture(scope="module")
def attacked(canaries: Canaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """Give a running server, a source that misbehaves, and a receiver that refuses."""
    folder = tmp_path_factory.mktemp("secrets")
    write_clip(Clip(pictures=(Picture(width=64, height=48, frame_count=3),)), folder / "clip.mp4")
    with ExitStack() as stack:
        source = stack.enter_context(BadSource(body=(folder / "clip.mp4").read_bytes()))
        receiver = stack.enter_context(Receiver(*[500] * 100))
        store = stack.enter_context(Echo())
        settings = settings_with(canaries) | storage_at(store)
        server = stack.enter_context(running(folder / "state", environment=settings))
        headers = {"X-API-Key": canaries.api_key, "Cookie": f"session={canaries.cookie}"}
        client = stack.enter_context(httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False))
        yield Attacked(server, client, canaries, source, receiver)


FAILING = (
    "status?c=404", "status?c=500", "status?c=403", "rst", "half", "html", "json", "m3u8", "zip", "empty", "noreply",
    "loop", "nolocation", "gzip", "clen_negative", "http09",
)  # fmt: skip
"""Modes of the source; each ends a job with an error of its own, and `ok` with one of the store."""


def force_refusals(attacked: Attacked) -> None:
    """Be refused in every way that a door can refuse."""
    canaries, signed = attacked.canaries, f"http://127.0.0.1:9/a.mp4{attacked.canaries.query}"
    bad_urls = [
        f"http://{canaries.source_user}:{canaries.source_user}@127.0.0.1/a.mp4", signed.replace("http", "ftp"),
        signed.replace("127.0.0.1", "10.0.0.1"), f"{signed} ", signed + "x" * 5000, signed.replace("//", "\\\\"),
        f"http://[::{canaries.signature}]/", f"http://127.0.0.1:{canaries.signature}/",
    ]  # fmt: skip
    for url in bad_urls:
        for path in ("/v1/jobs", "/v1/plan", "/v1/sources", "/upscale-video", "/v1/previews"):
            attacked.ask("POST", path, json={"payload_url": url, "task_type": "SD2HD"})
        attacked.ask("POST", "/v1/jobs", json={"payload_url": signed, "scale": 2, "webhook_url": url})
        attacked.ask("POST", "/upscale", json={"video_paths": [url], "scale": 2, "task_id": "t"})
    for body in ({"payload_url": [signed]}, {"payload_url": {"a": signed}}, {"payload_url": signed, "scale": signed}):
        attacked.ask("POST", "/v1/jobs", json=body)
    attacked.ask("POST", f"/v1/jobs?token={canaries.query_token}", json={"payload_url": 7})
    attacked.ask("GET", f"/v1/jobs?state=wrong&signature={canaries.query_token}")
    attacked.ask("GET", f"/files/results/a.mp4?expires=1&signature={canaries.query_token}")
    attacked.ask("GET", f"/v1/jobs/none?token={canaries.query_token}")
    for headers in ({"Authorization": f"Bearer {canaries.authorization}"}, {"X-API-Key": canaries.wrong_api_key}):
        attacked.ask("GET", "/v1/jobs", headers={"X-API-Key": "", **headers})


def force_failures(attacked: Attacked) -> list[str]:
    """Hand in jobs that fail in every way; return their names."""
    hidden = f"http://10.0.0.1/a.mp4?X-Amz-Signature={attacked.canaries.redirect_signature}"
    modes = [*FAILING, f"redirect?to={hidden.replace('?', '%3F').replace('=', '%3D')}", "ok"]
    return [attacked.job(mode) for mode in modes]


def look_around(attacked: Attacked, job_ids: list[str]) -> None:
    """Ask for everything that is told to anybody."""
    for path in ("/stats", "/metrics", "/limits", "/health", "/queue", "/v1/jobs?limit=200", "/v1/models"):
        attacked.ask("GET", path)
    for job_id in job_ids:
        attacked.ask("GET", f"/v1/jobs/{job_id}")
        attacked.ask("GET", f"/v1/jobs/{job_id}/events")
        attacked.ask("GET", f"/v1/jobs/{job_id}/audit")


def test_no_secret_is_left_or_told(attacked: Attacked, report: Callable[[str, dict[str, object]], None]) -> None:
    """Nothing is found while jobs wait and fail, nothing when they have ended, and nothing in any answer."""
    force_refusals(attacked)
    job_ids = force_failures(attacked)
    while_working = found_below(attacked.server.state, attacked.canaries)
    attacked.wait(lambda: set(attacked.states()) <= ENDED and len(attacked.receiver.told) > 0)
    look_around(attacked, job_ids)
    faults = attacked.client.get("/v1/jobs?limit=200").json()["jobs"]
    attacked.server.process.send_signal(signal.SIGTERM)
    attacked.server.line("event=server_stopped")

    assert {"failed"} == {job["state"] for job in faults}
    assert {"storage_error", "source_not_found", "not_media", "source_forbidden"} <= {
        job["fault"]["code"] for job in faults
    }
    assert {} == while_working
    assert {} == found_below(attacked.server.state, attacked.canaries)
    assert {} == found_in_texts(attacked.server.lines, attacked.canaries)
    assert {} == {text: names for text, names in found_in_texts(attacked.answers, attacked.canaries).items() if names}
    assert len((attacked.server.state / "server.log").read_bytes()) > 1000
    log_lines = len(attacked.server.lines)
    report(
        "secrets",
        {
            "canaries": len(attacked.canaries.words()),
            "answers": len(attacked.answers),
            "jobs": len(job_ids),
            "log_lines": log_lines,
            "found": 0,
        },
    )


@pytest.mark.parametrize("which", ["database", "keys", "group"])
def test_a_server_that_cannot_start_tells_no_secret(which: str, canaries: Canaries, tmp_path: Path) -> None:
    """A database that is away, malformed settings: it ends with one line and without a secret."""
    wrong = {
        "database": {"UPSCALE_DATABASE_URL": f"postgresql://me:{canaries.database_password}@127.0.0.1:1/jobs"},
        "keys": {"UPSCALE_API_KEYS": f"sha256:{canaries.api_key}"},
        "group": {"UPSCALE_STORAGE__S3": f'{{"secret_key": "{canaries.s3_secret_key}"'},
    }[which]
    given = {"UPSCALE_STATE_DIR": str(tmp_path / "state"), **settings_with(canaries), **wrong}
    with (tmp_path / "said").open("wb") as said:
        command = [*COMMAND, "serve", "video", "--port", "0"]
        process = subprocess.Popen(command, env=environment_for(given), stdout=said, stderr=said)
        try:
            code = process.wait(REFUSED_SECONDS)
        finally:
            process.kill()
            process.wait()

    assert code > 0, (tmp_path / "said").read_text(encoding="utf-8")
    assert {} == found_below(tmp_path, canaries)


def test_the_search_finds_what_is_there(tmp_path: Path, canaries: Canaries) -> None:
    """The tooth: a secret in a file, in base64 within one, and in a text is found, and nothing else is."""
    (tmp_path / "plain").write_bytes(b"x" + canaries.cookie.encode())
    (tmp_path / "coded").write_bytes(base64.b64encode(b"ab" + canaries.signature.encode() + b"tail"))
    (tmp_path / "clean").write_text("nothing", encoding="utf-8")

    assert {"plain": {"cookie"}, "coded": {"signature"}} == found_below(tmp_path, canaries)
    assert {"a " + canaries.api_key: {"api_key"}} == found_in_texts(["a " + canaries.api_key, "b"], canaries)
