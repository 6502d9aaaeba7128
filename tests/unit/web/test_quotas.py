"""A greedy key is told to come back, and nobody else notices it."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from tests.support.image_served import image_settings, serving_images
from tests.support.killing import wait_until
from tests.support.served import IdlePool, LookingPool, Served, finish_next, serving, settings_in
from upscale_server.edge_settings import Quotas
from upscale_server.jobs.day_quota import DayQuota, quota_at
from upscale_server.jobs.job import Asked, NewJob, Source
from upscale_server.jobs.store import JobStore
from upscale_server.jobs.usage import Usage
from upscale_server.server_settings import Fetch
from upscale_server.service import VideoService
from upscale_server.web.rates import Rates

GREEDY, OTHER = {"X-API-Key": "greedy-key"}, {"X-API-Key": "other-key"}
WISH = {"payload_url": "http://127.0.0.1:9/clip.mp4", "scale": 2}
DAY = 86_400.0


def service_with(folder: Path, quotas: Quotas) -> VideoService:
    """Return a service of two keys."""
    return VideoService(settings_in(folder, api_keys="greedy-key,other-key", quotas=quotas), IdlePool())


def assert_limited(reply: httpx.Response, setting: str) -> None:
    """Hold an answer to what a client can obey."""
    assert (429, "rate_limited") == (reply.status_code, reply.json()["code"])
    assert int(reply.headers["Retry-After"]) >= 1
    assert setting in reply.json()["detail"]


def hand_in(served: Served, key: dict[str, str]) -> httpx.Response:
    """Hand in a job."""
    return served.client.post("/v1/jobs", json=WISH, headers=key)


@pytest.mark.slow
def test_requests_of_a_key_are_counted_and_those_of_others_and_probes_are_not(tmp_path: Path) -> None:
    """The third request of a minute is refused where two are taken; probes are always answered."""
    with serving(service_with(tmp_path, Quotas(requests_per_minute=2))) as served:
        answers = [served.client.get("/limits", headers=GREEDY) for _ in range(3)]

        assert [200, 200, 429] == [one.status_code for one in answers]
        assert_limited(answers[-1], "UPSCALE_QUOTAS__REQUESTS_PER_MINUTE")
        assert 200 == served.client.get("/limits", headers=OTHER).status_code
        assert [200, 200] == [served.client.get(path, headers=GREEDY).status_code for path in ("/health", "/livez")]


@pytest.mark.slow
def test_requests_are_not_refused_where_nobody_bounds_them(tmp_path: Path) -> None:
    """The guard's tooth: without the setting the same requests pass."""
    with serving(service_with(tmp_path, Quotas())) as served:
        assert [200] * 5 == [served.client.get("/limits", headers=GREEDY).status_code for _ in range(5)]


@pytest.mark.slow
def test_a_wrong_key_costs_the_right_one_nothing(tmp_path: Path) -> None:
    """Who guesses keys is refused as before and uses up nobody's minute."""
    with serving(service_with(tmp_path, Quotas(requests_per_minute=1))) as served:
        guesses = [served.client.get("/limits", headers={"X-API-Key": f"guess-{n}"}).status_code for n in range(4)]

        assert [401] * 4 == guesses
        assert 200 == served.client.get("/limits", headers=GREEDY).status_code


def test_time_gives_requests_back() -> None:
    """A key that waits as long as it was told is served."""
    now = [100.0]
    rates = Rates(6, lambda: now[0])
    for _ in range(6):
        rates.count("key")
    with pytest.raises(Exception, match="6 requests a minute") as caught:
        rates.count("key")

    assert 10 == getattr(caught.value, "retry_after", None)
    now[0] += 10
    rates.count("key")


@pytest.mark.slow
def test_waiting_jobs_of_a_key_are_bounded(tmp_path: Path) -> None:
    """The second job is refused where one may wait, before an upload is read too; another key's is taken."""
    with serving(service_with(tmp_path, Quotas(queued=1))) as served:
        assert 202 == hand_in(served, GREEDY).status_code

        assert_limited(hand_in(served, GREEDY), "UPSCALE_QUOTAS__QUEUED")
        upload = served.client.post("/v1/jobs", content=b"x", headers=GREEDY | {"Content-Type": "video/mp4"})
        assert_limited(upload, "UPSCALE_QUOTAS__QUEUED")
        assert 202 == hand_in(served, OTHER).status_code


@pytest.mark.slow
def test_a_request_that_is_repeated_is_no_further_job(tmp_path: Path) -> None:
    """An Idempotency-Key finds its job again though no further one would be taken."""
    with serving(service_with(tmp_path, Quotas(queued=1))) as served:
        again = GREEDY | {"Idempotency-Key": "same"}

        assert hand_in(served, again).json()["id"] == hand_in(served, again).json()["id"]


def test_running_jobs_of_a_key_are_bounded(tmp_path: Path) -> None:
    """With one running, a key's next job is passed over for another key's; without the bound it is taken first."""
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    wish = Asked(Source("url", WISH["payload_url"]))  # type: ignore[arg-type]  # the address is a text
    first, second, others = (store.add(NewJob(wish, key_id=key), 9) for key in ("greedy", "greedy", "other"))

    claims = [store.claim("server", 60, each=1) for _ in range(3)]

    assert [first.id, others.id, None] == [claim and claim.job.id for claim in claims]
    unbounded = store.claim("server", 60)
    assert unbounded is not None
    assert second.id == unbounded.job.id
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quotas", "used"),
    [(Quotas(bytes_a_day=100), {"byte_count": 100}), (Quotas(pixels_a_day=100), {"pixels": 100})],
    ids=["bytes", "pixels"],
)
def test_a_days_quota_outlives_a_restart(tmp_path: Path, quotas: Quotas, used: dict[str, int]) -> None:
    """What a key used before the restart counts after it; another key has its own day."""
    with serving(service_with(tmp_path, quotas)) as served:
        first = hand_in(served, GREEDY).json()["id"]
        key_id = served.service._store.get(first).key_id
        served.service.quota.add(key_id, **used)
    with serving(service_with(tmp_path, quotas)) as served:
        assert_limited(hand_in(served, GREEDY), "_A_DAY")
        source = served.client.post("/v1/sources", content=b"x", headers=GREEDY | {"Content-Type": "video/mp4"})
        assert_limited(source, "_A_DAY")
        assert_limited(served.client.post(f"/v1/jobs/{first}/retry", headers=GREEDY), "_A_DAY")
        assert_limited(served.client.post("/v1/plan", json={**WISH, "measure": True}, headers=GREEDY), "_A_DAY")
        assert 202 == hand_in(served, OTHER).status_code
        finish_next(served.service, tmp_path)


@pytest.mark.slow
def test_bytes_of_an_upload_are_counted(tmp_path: Path) -> None:
    """What was sent counts though it is no video, or trash could be sent all day."""
    with serving(service_with(tmp_path, Quotas(bytes_a_day=5))) as served:
        video = GREEDY | {"Content-Type": "video/mp4"}
        assert 202 == served.client.post("/v1/jobs?scale=2", content=b"trash", headers=video).status_code

        assert_limited(served.client.post("/v1/jobs?scale=2", content=b"trash", headers=video), "BYTES_A_DAY")


def in_form(name: str, end: bytes = b"--b--\r\n") -> bytes:
    """Return a form with five bytes of trash in a file's field."""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
    return head.encode() + b"trash\r\n" + end


VIDEO, FORM = {"Content-Type": "video/mp4"}, {"Content-Type": "multipart/form-data; boundary=b"}
FAILING = {
    "too large": (413, b"trash" * 500, VIDEO),
    "in another field": (400, in_form("file", b"") + in_form("more"), FORM),
    "cut form": (400, in_form("file", b""), FORM),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/sources"])
@pytest.mark.parametrize("case", sorted(FAILING))
def test_bytes_of_an_upload_that_fails_are_counted(tmp_path: Path, path: str, case: str) -> None:
    """What was sent counts although it never became a file; no size is announced, so that it is read."""
    status, content, kind = FAILING[case]
    more = {"quotas": Quotas(bytes_a_day=5), "fetch": Fetch(max_bytes=2000)}
    with serving(VideoService(settings_in(tmp_path, api_keys="greedy-key,other-key", **more), IdlePool())) as served:
        failed = served.client.post(path, content=iter([content]), headers=GREEDY | kind)

        assert status == failed.status_code, failed.text
        assert_limited(served.client.post(path, content=b"x", headers=GREEDY | kind), "BYTES_A_DAY")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/sources"])
def test_bytes_of_an_upload_that_breaks_off_are_counted(tmp_path: Path, path: str) -> None:
    """Who hangs up before the end has sent what came so far."""
    with serving(service_with(tmp_path, Quotas(bytes_a_day=1_000_000))) as served:
        host, _, port = served.url.removeprefix("http://").partition(":")
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: greedy-key\r\nContent-Type: video/mp4\r\n"
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(head.encode() + b"Content-Length: 9000000\r\n\r\n" + bytes(2_000_000))
            wait_until(lambda: bool(list(served.service.uploads.iterdir())))
        wait_until(lambda: hand_in(served, GREEDY).status_code == 429)

        assert_limited(hand_in(served, GREEDY), "BYTES_A_DAY")
        assert 202 == hand_in(served, OTHER).status_code


@pytest.mark.slow
def test_bytes_of_a_source_are_counted_once(tmp_path: Path) -> None:
    """Its bytes, whether we open it or not; counting an upload and what is kept of it would be twice."""
    with serving(VideoService(settings_in(tmp_path, quotas=Quotas(bytes_a_day=1000)), LookingPool())) as served:
        refused = served.client.post("/v1/sources", content=b"trash", headers=VIDEO)

        assert (415, 5) == (refused.status_code, served.service._store.usage.today("").byte_count)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (in_form("file", b""), 400),
        (in_form("file", b"") + in_form("file"), 400),
        (in_form("file").replace(b"trash", b"trash" * 500), 413),
        (in_form("file", b'--b\r\nContent-Disposition: form-data; name="sharpen"\r\n\r\n3\r\n--b--\r\n'), 400),
    ],
    ids=["cut form", "two files", "too large", "unknown word"],
)
@pytest.mark.parametrize("path", ["/upscale", "/upscale_batch"])
def test_bytes_of_a_picture_that_fails_are_counted(tmp_path: Path, path: str, content: bytes, status: int) -> None:
    """As on the video server."""
    image = {"max_bytes": 2000, "batch_bytes": 2000, "batch_files": 1}
    settings = image_settings(tmp_path, image=image, api_keys=SecretStr("greedy-key"), quotas=Quotas(bytes_a_day=5))
    if path == "/upscale_batch":
        content = content.replace(b'"file"', b'"files"')
    with serving_images(settings) as images:
        failed = images.client.post(path, content=iter([content]), headers=GREEDY | FORM)

        assert status == failed.status_code, failed.text
        assert_limited(images.client.post(path, content=in_form("file"), headers=GREEDY | FORM), "BYTES_A_DAY")


@pytest.mark.slow
def test_a_wrong_word_is_refused_before_the_picture_is_read(tmp_path: Path) -> None:
    """The answer is there although not a byte of the body has come."""
    with serving_images(image_settings(tmp_path)) as images:
        host, _, port = images.url.removeprefix("http://").partition(":")
        head = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: 1000\r\n\r\n"
        for path in ("/upscale?upscale=3", "/upscale_batch?sharpen=1"):
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall(head.format(path, FORM["Content-Type"]).encode())

                assert b" 400 " in connection.recv(1024).splitlines()[0]


def test_a_new_day_is_a_new_quota_and_the_old_one_is_forgotten(tmp_path: Path) -> None:
    """At midnight UTC everything is there again; Retry-After is not longer than that."""
    now = [DAY * 20_000 + DAY - 30]
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite", clock=lambda: now[0])
    quota = DayQuota(Quotas(bytes_a_day=10), store.usage)
    quota.add("key", 4)
    quota.add("key", 6)
    with pytest.raises(Exception, match="10 bytes of sources today; the limit is 10") as caught:
        quota.check("key")

    assert 31 == getattr(caught.value, "retry_after", None)
    now[0] += 31
    quota.check("key")
    quota.add("key", 1)
    with store._database.reading() as connection:
        assert 1 == len(connection.exec_driver_sql("select * from upscale_usage").all())
    store.close()


def test_processes_of_an_image_server_count_together_and_over_restarts(tmp_path: Path) -> None:
    """Its counts lie in a file of their own; without a bound there is none."""
    quotas = Quotas(pixels_a_day=10)
    quota_at(tmp_path / "usage.db", quotas).add("key", pixels=10)

    with pytest.raises(Exception, match="10 pixels of results today"):
        quota_at(tmp_path / "usage.db", quotas).check("key")
    quota_at(tmp_path / "none.db", Quotas()).check("key")
    assert not (tmp_path / "none.db").exists()


def test_nothing_is_asked_of_the_database_where_there_is_no_bound() -> None:
    """Who sets no quota pays nothing for it."""
    broken = Usage(None)  # type: ignore[arg-type]  # whatever it is asked, it fails
    quota = DayQuota(Quotas(), broken)

    quota.add("key", 1, 1)
    quota.check("key")
