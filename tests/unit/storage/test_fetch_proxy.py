"""Sources and webhooks through an operator's proxy: it alone is connected to, and what a URL tells is still judged."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.raw_server import Asked, RawServer, head
from upscale_server.errors import BadRequest, SourceForbidden, SourceUnreachable
from upscale_server.server_settings import Fetch
from upscale_server.storage.addresses import Guard
from upscale_server.storage.fetch import FetchRules, check_url, fetch
from upscale_server.storage.posting import PostRules, post
from upscale_server.storage.proxy import proxy_of

FILM = b"\0\0\0\x20ftypisom" + bytes(100)


@dataclass
class Proxy(RawServer):
    """Answers for every host with the same film; connects nowhere."""

    status: int = 200

    def _film(self, _: Asked) -> Iterator[bytes]:
        yield head(self.status, content_length=len(FILM)) + FILM

    def _(self, _: Asked) -> Iterator[bytes]:
        """Refuse a tunnel, whose target has no path."""
        yield head(403, content_length=0)


def rules_by(proxy: Proxy, **more: object) -> FetchRules:
    """Return rules by which a proxy is used and names are asked for here in vain."""

    def unknown(host: str, port: int) -> list[str]:
        if host == "127.0.0.1":
            return [host]
        raise socket.gaierror(f"{host}:{port} was looked up here")

    settings = Fetch(proxy=f"http://127.0.0.1:{proxy.port}", attempts=1, **more)  # type: ignore[arg-type]
    return dataclasses.replace(FetchRules.of(settings), resolver=unknown)


def run(url: str, folder: Path, rules: FetchRules) -> int:
    """Download and return the bytes."""
    return fetch(url, folder / "source", rules, lambda _done, _total: None).byte_count


def test_a_source_comes_through_the_proxy_that_is_named(tmp_path: Path) -> None:
    """The name is not looked up here; the proxy is asked with the whole address and with our own headers alone."""
    with Proxy() as proxy:
        came = run("http://films.test/film", tmp_path, rules_by(proxy))

    assert len(FILM) == came
    assert "films.test" == proxy.asked[0].headers["host"]
    assert "identity" == proxy.asked[0].headers["accept-encoding"]
    assert "proxy-authorization" not in proxy.asked[0].headers


def test_a_webhook_goes_through_it_too() -> None:
    """There is one way out."""
    with Proxy() as proxy:
        rules = rules_by(proxy)
        own = PostRules(rules.guard, 10.0, rules.resolver, rules.proxy)
        assert 200 == post("http://hooks.test/film", b"{}", {}, own, lambda: None)

    assert "hooks.test" == proxy.asked[0].headers["host"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/film", "http://10.0.0.1/film", "http://metadata.google.internal/film"]
)
def test_what_a_url_tells_is_judged_before_the_proxy_is_asked(url: str, tmp_path: Path) -> None:
    """Literal addresses and metadata services; where a name leads, only the proxy knows."""
    with Proxy() as proxy:
        with pytest.raises(SourceForbidden):
            run(url, tmp_path, rules_by(proxy))
        with pytest.raises(SourceForbidden):
            check_url(url, rules_by(proxy))

    assert [] == proxy.asked


def test_a_list_of_hosts_holds_behind_a_proxy(tmp_path: Path) -> None:
    """It is the operator's way to bound where the proxy is asked to go."""
    with Proxy() as proxy, pytest.raises(SourceForbidden, match="may not come from host"):
        run("http://elsewhere.test/film", tmp_path, rules_by(proxy, allowed_hosts=("films.test",)))

    assert [] == proxy.asked


def test_a_proxy_that_refuses_is_named_without_its_words(tmp_path: Path) -> None:
    """A tunnel for https that it does not make is a failure that may pass."""
    with Proxy() as proxy, pytest.raises(SourceUnreachable, match="proxy of this server does not connect"):
        run("https://films.test/film", tmp_path, rules_by(proxy))


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
def test_a_proxy_of_the_environment_is_not_used(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the setting counts."""
    with Proxy() as proxy, Proxy() as source:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        rules = dataclasses.replace(rules_by(proxy), proxy=None, guard=Guard.of(["127.0.0.0/8"], []))
        run(source.url("film"), tmp_path, rules)

    assert [] == proxy.asked
    assert 1 == len(source.asked)


@pytest.mark.parametrize("setting", ["proxy.lan:3128", "socks5://proxy.lan", "http://user:word@proxy.lan:3128"])
def test_what_is_no_proxy_stops_the_start(setting: str) -> None:
    """The message names the setting and repeats no password."""
    with pytest.raises(BadRequest, match="UPSCALE_FETCH__PROXY") as caught:
        proxy_of(setting)

    assert "word" not in caught.value.detail.replace("password", "")
