"""What every answer says to browsers: not to guess, not to frame, not to keep; and whose pages may ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.edge_settings import Http
from upscale_server.service import VideoService
from upscale_server.web import doorway

APP, EVIL = "https://app.example", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}


@pytest.fixture(scope="module")
def with_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a server that pages of one site may ask."""
    folder = tmp_path_factory.mktemp("cors")
    settings = settings_in(folder, http=Http(cors_origins=(APP,)), api_keys="a-long-key")
    with serving(VideoService(settings, IdlePool())) as served:
        yield served


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/livez", "/health", "/stats", "/limits", "/v1/jobs", "/nothing", "/openapi.json"])
def test_every_answer_is_safe_in_a_browser(refusing: Served, path: str) -> None:
    """Answers of routes and refusals alike."""
    headers = refusing.client.get(path).headers

    assert {name: headers[name] for name in doorway.SAFE_HEADERS} == doorway.SAFE_HEADERS


@pytest.mark.parametrize("path", ["/", "/docs", "/static/style.css"])
def test_pages_keep_their_own_policy_and_are_never_framed(refusing: Served, path: str) -> None:
    """A page needs its scripts; it must not lose them to the rule of all answers."""
    headers = refusing.client.get(path, headers={"Accept": "text/html"}).headers

    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "DENY" == headers["X-Frame-Options"]
    assert path.startswith("/static") or "style-src" in headers["Content-Security-Policy"]


def test_the_headers_come_from_the_door_alone(refusing: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard's tooth: without it an answer says none of it."""
    monkeypatch.setattr(doorway, "SAFE_HEADERS", {})

    assert "X-Frame-Options" not in refusing.client.get("/limits").headers


def test_no_page_of_others_may_ask_by_default(refusing: Served) -> None:
    """No answer, not even to a preflight, lets a browser hand it to another site's page."""
    asked = refusing.client.options("/v1/jobs", headers={"Origin": EVIL, **PREFLIGHT})
    seen = refusing.client.get("/livez", headers={"Origin": EVIL})

    assert 403 == asked.status_code
    assert [] == [name for reply in (asked, seen) for name in reply.headers if name.startswith("access-control")]


def test_pages_of_a_named_site_may_ask_with_a_key(with_site: Served) -> None:
    """The preflight passes without a key, the question needs one, and the page may read what it needs."""
    asked = with_site.client.options("/v1/jobs", headers={"Origin": APP, **PREFLIGHT})
    refused = with_site.client.get("/v1/jobs", headers={"Origin": APP})
    served = with_site.client.get("/v1/jobs", headers={"Origin": APP, "X-API-Key": "a-long-key"})

    assert [204, 401, 200] == [asked.status_code, refused.status_code, served.status_code]
    assert [APP] * 3 == [reply.headers["access-control-allow-origin"] for reply in (asked, refused, served)]
    assert "X-API-Key" in asked.headers["access-control-allow-headers"]
    assert "Retry-After" in served.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in served.headers


@pytest.mark.parametrize("origin", [EVIL, f"{APP}.evil.example", "https://APP.example.", "null", f"{APP}:8443"])
def test_pages_of_other_sites_may_still_not(with_site: Served, origin: str) -> None:
    """A name that merely looks like the named one gets nothing."""
    asked = with_site.client.options("/v1/jobs", headers={"Origin": origin, **PREFLIGHT})
    seen = with_site.client.get("/livez", headers={"Origin": origin})

    assert asked.status_code in (401, 405)
    assert [] == [name for reply in (asked, seen) for name in reply.headers if name.startswith("access-control")]
    assert "Origin" in seen.headers["vary"]


@pytest.mark.slow
def test_a_named_site_may_ask_a_server_without_keys(tmp_path: Path) -> None:
    """Whose pages may drive a keyless server is the operator's word, and nobody else's are let in beside them."""
    settings = settings_in(tmp_path, http=Http(cors_origins=(APP,)))
    with serving(VideoService(settings, IdlePool())) as served:
        statuses = [served.client.get("/v1/jobs", headers={"Origin": one}).status_code for one in (APP, EVIL)]

    assert [200, 403] == statuses


@pytest.mark.parametrize("wrong", ["*", "https://app.example/", "app.example", "null", "https://*.example", "file://x"])
def test_what_is_no_origin_is_refused_at_the_start(wrong: str) -> None:
    """`*` would let any page use a key that it is given; a slash at the end would never match."""
    with pytest.raises(ValueError, match="is no origin"):
        Http(cors_origins=(wrong,))
