"""The S3 store against a real S3 server, through a proxy that does what networks and stores do at their worst."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.cli_runner import environment_for
from tests.support.fault_proxy import FaultProxy
from tests.support.killing import wait_until
from tests.support.s3_server import BUCKET, SECRET_KEY, Swift, running_swift
from tests.support.s3_upload import memory_in
from upscale_server.errors import Canceled, Conflict, StorageError
from upscale_server.storage.base import About, UploadMemory
from upscale_server.storage.retrying import Patience
from upscale_server.storage.s3 import S3Store

KEY = "results/00112233445566778899aabbccddeeff.mp4"
LARGE = (17 << 20) + 5
"""Three parts of 8 MiB, the last one short."""


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """Give a real S3 server."""
    with running_swift(tmp_path_factory.mktemp("swift")) as started:
        yield started


@pytest.fixture
def proxy(swift: Swift) -> Iterator[FaultProxy]:
    """Give a proxy before the server; the bucket is emptied after the test."""
    with FaultProxy(swift.port) as started:
        yield started
    swift.empty()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Give a file of three parts that repeats nowhere."""
    path = tmp_path / "film.mp4"
    path.write_bytes(hashlib.shake_128(b"film").digest(LARGE))
    return path


class Memory:
    """Remembers an upload as a job's row does."""

    def __init__(self, upload_id: str | None = None) -> None:
        self.said: list[str | None] = []
        self.upload = UploadMemory(upload_id, self.said.append)


def patient(swift: Swift, proxy: FaultProxy, seconds: float = 600.0, **changes: object) -> S3Store:
    """Return a store behind the proxy that tries again soon."""
    return S3Store(swift.settings(proxy.port, **changes), Patience(seconds, first_pause_seconds=0.01))


def test_a_large_file_goes_in_parts_whose_upload_is_remembered_first(
    swift: Swift, proxy: FaultProxy, film: Path
) -> None:
    """Asked first; when the id is remembered no part has been sent; at the end it is forgotten, the bytes the same."""
    sent_before: list[int] = []
    said: list[str | None] = []

    def remember(upload_id: str | None) -> None:
        said.append(upload_id)
        sent_before.append(proxy.passed)

    patient(swift, proxy).put(film, KEY, About(), UploadMemory(None, remember))

    assert sent_before[1] < 8 << 20 < sent_before[-1]
    assert [None, said[1], None] == said
    assert said[1]
    assert film.read_bytes() == swift.body(KEY)
    assert [] == swift.uploads()


def test_an_outage_is_sat_out(swift: Swift, proxy: FaultProxy, film: Path) -> None:
    """A store that refuses connections for a while, then takes the file: put just returns later."""
    proxy.down = True

    def sleep(_seconds: float) -> None:
        proxy.down = proxy.refused < 12

    store = S3Store(swift.settings(proxy.port), Patience(60, 0.01, sleep=sleep))

    assert LARGE == store.put(film, KEY, About(), Memory().upload).byte_count
    assert 12 <= proxy.refused
    assert film.read_bytes() == swift.body(KEY)


@pytest.mark.parametrize("trouble", [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable")])
@pytest.mark.parametrize("byte_count", [1000, LARGE])
def test_a_store_in_trouble_is_asked_again(
    byte_count: int, trouble: tuple[int, str], swift: Swift, proxy: FaultProxy, film: Path
) -> None:
    """Answers that pass are outlasted, for one request and for many."""
    os.truncate(film, byte_count)
    proxy.answers.extend([trouble] * 7)

    stored = patient(swift, proxy).put(film, KEY, About(), Memory().upload)

    assert byte_count == stored.byte_count
    assert 7 == proxy.refused
    assert film.read_bytes() == swift.body(KEY)


@pytest.mark.parametrize("reset_after", [1 << 20, 9 << 20, 17 << 20])
def test_a_reset_in_the_middle_of_a_part_costs_that_part(
    reset_after: int, swift: Swift, proxy: FaultProxy, film: Path
) -> None:
    """The rest is not sent again: less than two parts more than the file go over the wire."""
    proxy.reset_after = reset_after

    patient(swift, proxy).put(film, KEY, About(), Memory().upload)

    assert 1 == proxy.refused
    assert proxy.passed < LARGE + (17 << 20)
    assert film.read_bytes() == swift.body(KEY)
    assert [] == swift.uploads()


def test_a_lost_answer_to_the_last_request_is_no_failure(swift: Swift, proxy: FaultProxy, film: Path) -> None:
    """The store has finished the object, only its word was lost: the object is found, and sent once."""
    proxy.drop_replies_to = [r"POST .*uploadId="]

    stored = patient(swift, proxy).put(film, KEY, About(), Memory().upload)

    assert LARGE == stored.byte_count
    assert 1 <= proxy.refused
    assert film.read_bytes() == swift.body(KEY)
    assert [] == swift.uploads()


def test_a_slow_store_is_only_slow(swift: Swift, proxy: FaultProxy, film: Path) -> None:
    """Ten megabytes a second: nothing is tried twice."""
    proxy.bytes_per_second = 10 << 20

    patient(swift, proxy).put(film, KEY, About(), Memory().upload)

    assert proxy.passed < LARGE + (1 << 20)
    assert film.read_bytes() == swift.body(KEY)


def test_a_store_that_stays_away_is_named_and_the_upload_stays_remembered(
    swift: Swift, proxy: FaultProxy, film: Path
) -> None:
    """After `retry_seconds` the job fails; what could not be aborted is known for later."""
    memory = Memory()

    def stop(upload_id: str | None) -> None:
        memory.said.append(upload_id)
        if upload_id is not None:
            proxy.down = True
            proxy.cut()

    with pytest.raises(StorageError, match="cannot be reached") as caught:
        patient(swift, proxy, seconds=0.5).put(film, KEY, About(), UploadMemory(None, stop))

    assert "UPSCALE_STORAGE__S3__ENDPOINT" in str(caught.value.hint)
    assert swift.uploads() == [memory.said[-1]]


REFUSALS = {
    "wrong secret": ({"secret_key": SecretStr("canary")}, "SignatureDoesNotMatch", "SECRET_KEY"),
    "wrong key": ({"access_key": SecretStr("canary")}, "InvalidAccessKeyId|SignatureDoesNotMatch", "ACCESS_KEY"),
    "wrong bucket": ({"bucket": "no-such-bucket"}, "NoSuchBucket", "BUCKET"),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("byte_count", [1000, LARGE])
def test_a_refusal_comes_out_at_once_and_names_the_setting(
    byte_count: int, case: str, swift: Swift, proxy: FaultProxy, film: Path
) -> None:
    """No amount of waiting helps: nobody sleeps, for putting or checking, and no secret is repeated."""
    changes, said, setting = REFUSALS[case]
    os.truncate(film, byte_count)
    store = S3Store(swift.settings(proxy.port, **changes), Patience(900, sleep=never))

    for use in (lambda: store.put(film, KEY, About(), Memory().upload), store.check):
        with pytest.raises(StorageError, match=said) as caught:
            use()

        assert f"UPSCALE_STORAGE__S3__{setting}" in str(caught.value.hint)
        assert "canary" not in f"{caught.value.detail} {caught.value.hint}"


def never(_seconds: float) -> None:
    """Fail where somebody sleeps over a fault that does not pass."""
    raise AssertionError("slept over a refusal")


def test_a_region_that_spoils_the_links_is_found_by_the_check(swift: Swift, proxy: FaultProxy) -> None:
    """Boto3 corrects a wrong region in its own requests, but not in links: the check follows one."""
    store = S3Store(swift.settings(proxy.port, region="eu-central-7"), Patience(900, sleep=never))

    with pytest.raises(StorageError, match="not by a signed link") as caught:
        store.check()

    assert "UPSCALE_STORAGE__S3__REGION" in str(caught.value.hint)
    assert [] == swift.keys()


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"])
def test_expired_credentials_in_the_middle_fail_fast_and_leave_nothing(
    code: str, swift: Swift, proxy: FaultProxy, film: Path
) -> None:
    """They expire between two parts: the upload is aborted when it can be, and the hint says what to do."""
    memory = Memory()

    def expire(upload_id: str | None) -> None:
        memory.said.append(upload_id)
        if len(memory.said) == 1:
            proxy.cut()
            proxy.answers.append((403, code))

    with pytest.raises(StorageError, match=code) as caught:
        patient(swift, proxy).put(film, KEY, About(), UploadMemory(None, expire))

    assert caught.value.hint
    assert [] == swift.uploads()
    assert memory.said[-1] is None
    assert [] == swift.keys()


def test_what_the_memory_raises_ends_the_upload(swift: Swift, proxy: FaultProxy, film: Path) -> None:
    """A cancelled job's upload waits for its abort, which is another's to ask for; a taken over one for its owner."""
    store = patient(swift, proxy)
    for error in (Canceled("no longer wanted"), Conflict("another owner has it")):
        said: list[str] = []

        def refuse(upload_id: str | None, error: Exception = error, said: list[str] = said) -> None:
            if upload_id:
                said.append(upload_id)
                raise error

        with pytest.raises(type(error)):
            store.put(film, KEY, About(), UploadMemory(None, refuse))

        assert said == swift.uploads()
        store.abort(KEY, said[0])
        store.abort(KEY, said[0])  # of none: nothing happens
        assert [] == swift.uploads()


@pytest.mark.parametrize("fate", ["go on", "changed file", "forgotten", "small file"])
def test_a_killed_upload_is_gone_on_with_or_aborted(
    fate: str, swift: Swift, proxy: FaultProxy, film: Path, tmp_path: Path
) -> None:
    """`kill -9` after two parts: the next try sends one part, or all, and nothing is left beside the object."""
    memory = tmp_path / "memory"
    kill_in_the_middle(swift, proxy, film, memory)
    assert [memory.read_text()] == swift.uploads()
    sent_before = proxy.passed
    if fate == "changed file":
        film.write_bytes(hashlib.shake_128(b"another").digest(LARGE))
    elif fate == "forgotten":
        swift.client.abort_multipart_upload(Bucket=BUCKET, Key=KEY, UploadId=memory.read_text())
    elif fate == "small file":
        os.truncate(film, 1000)

    patient(swift, proxy).put(film, KEY, About(), memory_in(memory))

    sent = proxy.passed - sent_before
    assert film.read_bytes() == swift.body(KEY)
    assert [] == swift.uploads()
    assert "" == memory.read_text()
    assert sent < 10 << 20 if fate in ("go on", "small file") else sent > LARGE


def test_an_upload_that_nobody_remembers_is_swept(swift: Swift, proxy: FaultProxy, film: Path, tmp_path: Path) -> None:
    """Old ones of ours are aborted; young ones, and those of other programs in the bucket, are not."""
    kill_in_the_middle(swift, proxy, film, tmp_path / "memory")
    swift.client.create_multipart_upload(Bucket=BUCKET, Key="backups/of-another-program")
    store = patient(swift, proxy)

    named = [one.key for prefix in (KEY, "results/", "results/another") for one in store.uploads(prefix)]
    assert 0 == store.sweep(3600)
    assert 1 == store.sweep(-60)

    assert [KEY, KEY] == named
    assert 1 == len(swift.uploads())


def kill_in_the_middle(swift: Swift, proxy: FaultProxy, film: Path, memory: Path) -> None:
    """Start storing in another process and kill it when two parts are in the store and the third is on its way."""
    settings = swift.settings(proxy.port).model_dump(mode="json")
    settings["s3"]["access_key"], settings["s3"]["secret_key"] = "test:tester", SECRET_KEY
    proxy.bytes_per_second = 40 << 20
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.s3_upload", json.dumps(settings), film, KEY, memory],
        env=environment_for(),
    )
    try:
        wait_until(lambda: process.poll() is not None or proxy.passed > 16 << 20)
        proxy.bytes_per_second = 1000  # so that it cannot finish before it is killed
        process.send_signal(signal.SIGKILL)
        assert -signal.SIGKILL == process.wait(60)
    finally:
        process.kill()
        process.wait()
        proxy.bytes_per_second = None
        proxy.cut()


def answer(url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Get an address; return status, body and headers in lower case."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:  # noqa: S310 - loopback
            return reply.status, reply.read(), {name.lower(): value for name, value in reply.headers.items()}
    except urllib.error.HTTPError as err:
        with err:
            return err.code, b"", {}


def test_a_link_gives_the_object_to_anyone_and_only_that(swift: Swift, proxy: FaultProxy, film: Path) -> None:
    """With Range, a safe name and the right type; not tampered with, not without a signature, not by another secret."""
    store = patient(swift, proxy)
    store.put(film, KEY, About(file_name='映画 "a"\r\nX-Evil: 1.mp4'), Memory().upload)
    about = About(file_name='映画 "a"\r\nX-Evil: 1.mp4')
    link = store.link(KEY, about, 600)

    status, body, headers = answer(link)
    assert (200, film.read_bytes()) == (status, body)
    assert "video/mp4" == headers["content-type"]
    assert headers["content-disposition"].startswith("attachment; filename=")
    assert "x-evil" not in headers
    assert (206, film.read_bytes()[5:10]) == answer(link, Range="bytes=5-9")[:2]

    stranger = patient(swift, proxy, secret_key=SecretStr("wrong"))
    changed = link.replace("X-Amz-Signature=", "X-Amz-Signature=0")
    for bad in (
        changed,
        link.split("?")[0],
        link.replace("Expires=600", "Expires=601"),
        stranger.link(KEY, about, 600),
    ):
        assert answer(bad)[0] in (400, 403)


def test_a_link_expires(swift: Swift, proxy: FaultProxy, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed an hour ago for a minute, it gives nothing."""
    store = patient(swift, proxy)
    store.put(film, KEY, About(), Memory().upload)
    botocore_auth = pytest.importorskip("botocore.auth")
    then = botocore_auth.get_current_datetime() - timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(botocore_auth, "get_current_datetime", lambda *_args, **_kwargs: then)
        link = store.link(KEY, About(), 60)

    assert 403 == answer(link)[0]


def test_links_are_signed_for_the_public_address(swift: Swift, proxy: FaultProxy, film: Path) -> None:
    """What is stored through the inner address is fetched through the other one."""
    with FaultProxy(swift.port) as public:
        store = patient(swift, proxy, public_endpoint=f"http://localhost:{public.port}")
        store.put(film, KEY, About(), Memory().upload)
        proxy.down = True
        link = store.link(KEY, About(), 600)

        assert link.startswith(f"http://localhost:{public.port}/{BUCKET}/{KEY}?")
        assert (200, film.read_bytes()) == answer(link)[:2]


def test_no_file_is_held_in_memory(swift: Swift, proxy: FaultProxy, tmp_path: Path) -> None:
    """Four parts are stored by a process whose memory grows by less than one."""
    film = tmp_path / "zeros.mp4"
    with film.open("wb") as file:
        file.truncate(32 << 20)
    code = (
        "import resource, sys; from pathlib import Path; from upscale_server.server_settings import Storage\n"
        "from upscale_server.storage.base import About, UploadMemory; from upscale_server.storage.s3 import S3Store\n"
        "store = S3Store(Storage.model_validate_json(sys.argv[1])); store.check()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); store.put(Path(sys.argv[2]), sys.argv[3], About(), UploadMemory(None, lambda _: None))\n"
        "print(peak() - before)"
    )
    settings = swift.settings(proxy.port).model_dump(mode="json")
    settings["s3"]["access_key"], settings["s3"]["secret_key"] = "test:tester", SECRET_KEY

    ran = subprocess.run(
        [sys.executable, "-c", code, json.dumps(settings), film, KEY],
        env=environment_for(), capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert int(ran.stdout) < 8 << 20


def test_nobody_home_is_told_by_the_check_at_once(swift: Swift, proxy: FaultProxy) -> None:
    """The start of a server does not wait for a store that is away."""
    proxy.down = True
    slept: list[float] = []
    store = S3Store(swift.settings(proxy.port), Patience(900, sleep=slept.append))

    with pytest.raises(StorageError, match="cannot be reached"):
        store.check()

    assert [] == slept
