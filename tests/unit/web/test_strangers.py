"""No stranger's web page drives a server that needs no key, and those who ask as documented are served as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.errors import Forbidden
from upscale_server.service import VideoService
from upscale_server.web.own_names import OwnNames

JOB = {"payload_url": "http://127.0.0.1/v.mp4", "scale": 2}
UPLOAD = {"Content-Type": "video/mp4"}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a server without keys that has names besides loopback."""
    settings = settings_in(
        tmp_path_factory.mktemp("named"), public_url="https://video.example/up", allowed_hosts=("Miner.lan",)
    )
    with serving(VideoService(settings, IdlePool())) as running:
        yield running


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:3000", "https://video.example.evil"]
)
def test_a_page_of_another_site_changes_nothing(named: Served, origin: str) -> None:
    """A browser sends an upload for any page, without asking first; cancelling needs not even a body."""
    job = named.client.post("/v1/jobs", json=JOB).json()["id"]

    upload = named.client.post("/v1/jobs", content=b"video", headers=UPLOAD | {"Origin": origin})
    cancel = named.client.post(f"/v1/jobs/{job}/cancel", headers={"Origin": origin})

    assert [(403, "forbidden")] * 2 == [(one.status_code, one.json()["code"]) for one in (upload, cancel)]
    assert "queued" == named.client.get(f"/v1/jobs/{job}").json()["state"]
    assert "access-control-allow-origin" not in upload.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:29115", "localhost.evil.example", "localhost@evil"])
def test_a_name_that_was_turned_to_us_reads_nothing(named: Served, host: str) -> None:
    """DNS rebinding: the page's own name leads here, so that the browser takes our answers for its own."""
    reply = named.client.get("/v1/jobs", headers={"Host": host, "Origin": f"http://{host}"})

    assert (403, "forbidden") == (reply.status_code, reply.json()["code"])
    assert "UPSCALE_ALLOWED_HOSTS" in reply.json()["hint"]
    assert 200 == named.client.get("/livez", headers={"Host": host}).status_code


@pytest.mark.parametrize("host", ["localhost:29115", "127.0.0.1:29115", "[::1]:8003", "video.example", "miner.LAN:80"])
def test_own_names_and_own_pages_are_served(named: Served, host: str) -> None:
    """The documented curl sends no Origin; a page that we served ourselves sends ours."""
    plain = named.client.get("/v1/jobs", headers={"Host": host})
    own = named.client.get("/v1/jobs", headers={"Host": host, "Origin": f"https://{host}"})
    before_a_proxy = named.client.get("/v1/jobs", headers={"Host": host, "Origin": "https://video.example"})

    assert [200] * 3 == [one.status_code for one in (plain, own, before_a_proxy)]


@pytest.mark.slow
def test_with_a_key_the_key_decides(tmp_path: Path) -> None:
    """No browser sends a key by itself, and proxies may use any name."""
    service = VideoService(settings_in(tmp_path, api_keys=SecretStr("k")), IdlePool())
    with serving(service, **{"X-API-Key": "k"}) as served:
        reply = served.client.get("/v1/jobs", headers={"Host": "any.example", "Origin": "https://other.example"})

    assert 200 == reply.status_code


@pytest.mark.parametrize("reached_at", ["127.0.0.1", "127.0.0.7", "::1", "::ffff:127.0.0.1"])
def test_every_loopback_address_is_one(reached_at: str) -> None:
    """Also the mapped form that a socket of both families reports."""
    with pytest.raises(Forbidden):
        OwnNames(frozenset()).check({"host": "evil.example"}, reached_at)


@pytest.mark.parametrize("reached_at", ["192.0.2.7", "2001:db8::7", ""])
def test_a_server_that_is_open_to_the_network_is_asked_by_any_name(reached_at: str) -> None:
    """Containers and machines call each other by names that nobody has listed; only pages of others stay out."""
    OwnNames(frozenset()).check({"host": "upscaler:29115"}, reached_at)

    with pytest.raises(Forbidden):
        OwnNames(frozenset()).check({"host": "upscaler:29115", "origin": "http://evil.example"}, reached_at)
