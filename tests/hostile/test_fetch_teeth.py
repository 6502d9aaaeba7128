"""Each guard of fetching is taken out in turn, and the attack that it is there for then gets through.

What is shown is the way through the HTTP API to the desk, which opens files: a file that reached it passed every guard
before. The switches are here; the product has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.canary import ALLOWED, Canary, watched_dials
from tests.support.certificates import certificate_for, serving_as
from tests.support.fetch_served import HASTY_SECONDS, Attacked, attacked, fetch_settings, padded_clip
from tests.support.raw_server import Asked, head
from tests.support.strange_hosts import hostile_names
from tests.support.worse_source import WorseSource
from upscale_server.errors import SourceForbidden
from upscale_server.server_settings import Fetch
from upscale_server.storage import addresses, dialling, download, urls
from upscale_server.storage.addresses import Guard
from upscale_server.storage.dialling import GuardedBackend
from upscale_server.storage.download import Download
from upscale_server.storage.host_list import HostRule
from upscale_server.storage.sentry import Sentry
from upscale_server.storage.urls import parse_url
from upscale_server.storage.watchdog import Watchdog

pytestmark = pytest.mark.timeout(300)
Remove = Callable[[pytest.MonkeyPatch], None]
MOST_BYTES = 4 << 20
OPEN = ("127.0.0.0/8",)


def passes(*_: object) -> None:
    """Stand in place of a check."""


@dataclass(frozen=True, slots=True)
class Tooth:
    """A guard: what it keeps out (a form of source), with which code, and how it is taken out."""

    name: str
    form: str
    code: str
    remove: Remove
    hosts: tuple[str, ...] = ()
    total_seconds: float = 120.0
    max_bytes: int = MOST_BYTES
    window_seconds: float = 60.0


def without(owner: object, name: str, instead: object = passes) -> Remove:
    """Return what puts something else in a guard's place."""
    return lambda patch: patch.setattr(owner, name, instead)


def _first_hop_alone(patch: pytest.MonkeyPatch) -> None:
    """Check a host where it is asked for and not where it is redirected to."""
    check, seen = Guard.check_host, []

    def once(self: Guard, host: str, port: int) -> None:
        if len(seen) < 2:  # at the door and for the first request
            seen.append(host)
            check(self, host, port)

    patch.setattr(Guard, "check_host", once)


def _count_alone(patch: pytest.MonkeyPatch) -> None:
    """Let the watchdog ask whether to go on, and compare nothing with the clock, nor anybody in its place."""
    patch.setattr(Watchdog, "look", lambda self: self._watch(self.done, self.total))
    patch.setattr(Sentry, "_stand", passes)


TEETH = (
    Tooth("scheme", "ws://127.0.0.1:PORT/ok", "bad_scheme",
          without(urls, "DEFAULT_PORTS", {"http": 80, "https": 443, "ws": 80})),
    Tooth("user name", "http://user:word@127.0.0.1:PORT/ok", "bad_url", without(urls, "_check_authority")),
    Tooth("characters", "http://127.0.0.1:PORT/ok?a\\b", "bad_url", without(urls, "_check_characters")),
    Tooth("list of hosts", "http://127.0.0.1:PORT/ok", "source_forbidden",
          without(HostRule, "admits", lambda *_: True), hosts=("films.test",)),
    Tooth("port of a listed host", "http://127.0.0.1:PORT/ok", "source_forbidden",
          without(HostRule, "admits", lambda self, host, _port: host == self.name), hosts=("127.0.0.1:443",)),
    Tooth("each hop", "redirect?to=http://localhost:PORT/ok", "source_forbidden", _first_hop_alone,
          hosts=("127.0.0.1",)),
    Tooth("number of hops", "chain?n=20", "source_not_found", without(download, "MAX_REDIRECTS", 50)),
    Tooth("encoding", "br", "unsupported_format", without(download, "_headers", lambda reply, name: [
        value.decode() for key, value in reply.headers if key.lower() == name and name != b"content-encoding"])),
    Tooth("second encoding", "encodings", "unsupported_format", without(download, "_headers", lambda reply, name: [
        value.decode() for key, value in reply.headers if key.lower() == name][:1])),
    Tooth("headers", "manyheaders", "source_error", without(download, "_check_head")),
    Tooth("length of a header", "longheader", "source_error", without(download, "LONGEST_HEADER", 1 << 20)),
    Tooth("exact length", "shortrest", "source_error", without(Download, "_check_whole")),
    Tooth("length announced", "ok", "source_too_large", without(Download, "_check_size"), max_bytes=100_000),
    Tooth("size while writing", "chunked", "source_too_large", without(Download, "_check_size"), max_bytes=100_000),
    Tooth("watchdog", "slowly", "source_timeout", _count_alone, total_seconds=1.0),
    Tooth("least rate", "slowly", "source_timeout", without(Watchdog, "_look_at_rate"),
          window_seconds=HASTY_SECONDS),
    Tooth("sniffing", "html", "not_media", without(download, "refuse_non_media")),
    Tooth("blank beginning", "blank", "not_media", without(download, "refuse_blank")),
)  # fmt: skip
"""A form with a scheme is an address of its own; the others are paths of the source."""


@dataclass
class TeethSource(WorseSource):
    """A source with a form for a guard that no other form meets alone."""

    def _blank(self, _: Asked) -> Iterator[bytes]:
        """Send two mebibytes of zeros, and something after them."""
        yield head(content_length=(2 << 20) + 2000) + bytes(2 << 20) + self.body[:2000]


@pytest.fixture(autouse=True)
def _names() -> Iterator[None]:
    """Let no name be looked up outside, and no connection leave the machine."""
    with hostile_names(), watched_dials():
        yield


@contextmanager
def mouth(folder: Path, tooth: Tooth) -> Iterator[tuple[Attacked, str]]:
    """Start a source and a server with a guard's settings; give the address of the attack."""
    fetch = Fetch(
        allowed_networks=OPEN, allowed_hosts=tooth.hosts, attempts=3, max_bytes=tooth.max_bytes, idle_seconds=60.0,
        total_seconds=tooth.total_seconds,
    )  # fmt: skip
    settings = fetch_settings(folder / "state", fetch)
    with TeethSource(body=padded_clip()) as source, attacked(settings, tooth.window_seconds) as server:
        form = tooth.form.replace("PORT", str(source.port))
        is_whole = "://" in form.split("?")[0]
        yield server, form if is_whole else source.url(form)


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.name)
def test_without_its_guard_an_attack_reaches_the_desk(
    tooth: Tooth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the guard the code is right and nothing is opened; without it the file lies before the desk."""
    with mouth(tmp_path, tooth) as (server, url):
        _, code = server.fetched(url)
        reached_before = len(server.pool.reached)
        tooth.remove(monkeypatch)
        server.fetched(url)
        reached_after = len(server.pool.reached)

    assert tooth.code == code
    assert (0, 1) == (reached_before, reached_after)


def test_without_its_guard_the_rest_of_another_file_is_joined_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that breaks off and goes on with another file: the desk gets one file, and without the guard two."""
    beginnings = []
    for is_guarded in (True, False):
        with mouth(tmp_path, Tooth("same file", "swaps", "", passes)) as (server, url):
            if not is_guarded:
                monkeypatch.setattr(Download, "_check_rest", passes)
                monkeypatch.setattr(download, "refuse_blank", passes)  # what is joined on is zeros here
            server.fetched(url)
            beginnings += server.pool.reached

    assert [padded_clip()[:64], bytes(64)] == beginnings


@pytest.mark.parametrize(
    ("owner", "name", "instead"),
    [(Guard, "check_address", passes), (GuardedBackend, "_vetted", lambda _self, _host, found: found)],
    ids=["what is allowed", "where it is dialled"],
)
def test_without_the_check_of_addresses_the_canary_is_reached(
    owner: type, name: str, instead: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a name that leads there at once, and by one that turns there after its first look-up."""
    fetch = Fetch(allowed_networks=(f"{ALLOWED}/32",), attempts=1)
    with Canary() as canary, attacked(fetch_settings(tmp_path, fetch)) as server:
        url = f"http://turned-0.test:{canary.port}/go"
        _, code = server.fetched(url)
        before = canary.visits
        monkeypatch.setattr(owner, name, instead)
        server.fetched(url)
        after = canary.visits

    assert "source_forbidden" == code
    assert (0, 1) == (before, after)


def test_without_its_guard_a_metadata_service_is_reached_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its address looks like any other of an allowed network."""
    with Canary() as canary, attacked(fetch_settings(tmp_path, Fetch(allowed_networks=OPEN, attempts=1))) as server:
        url = f"http://metadata.goog:{canary.port}/computeMetadata/v1/"
        _, code = server.fetched(url)
        before = canary.visits
        monkeypatch.setattr(addresses, "NEVER_NAMED", frozenset())
        server.fetched(url)
        after = canary.visits

    assert "source_forbidden" == code
    assert (0, 1) == (before, after)


@pytest.mark.parametrize(
    ("name", "address", "network"),
    [
        ("NEVER", "169.254.169.254", "169.254.0.0/16"),
        ("NEVER", "fd00:ec2::254", "fd00::/8"),
        ("NEVER", "100.100.100.200", "100.64.0.0/10"),
        ("_carried", "2002:a9fe:a9fe::1", "2002::/16"),
        ("_carried", "2001::5601:5601", "2001::/32"),
        ("_carried", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1::/48"),
        ("_carried", "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1::/48"),
        ("_carried", "::169.254.169.254", "::/96"),
        ("_carried", "fd12::5efe:169.254.169.254", "fd00::/8"),
    ],
)
def test_without_its_guard_a_metadata_service_passes_in_an_allowed_network(
    name: str, address: str, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As itself, and as what a gateway would find in an IPv6 address."""
    guard = Guard.of([network], [])
    with pytest.raises(SourceForbidden):
        guard.check_address(address)

    monkeypatch.setattr(addresses, name, () if name == "NEVER" else lambda _address: [])
    guard.check_address(address)


def test_without_its_guard_a_read_that_never_asks_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL can be kept inside one read: here each lasts an hour, and a thread of its own cuts the line."""
    monkeypatch.setattr(dialling, "SLICE_SECONDS", 3600)
    certificate = certificate_for("films.test", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fetch = Fetch(allowed_networks=OPEN, attempts=1, idle_seconds=2.0, least_bytes_per_second=0)
    with (
        TeethSource(body=padded_clip(), tls=serving_as(certificate)) as source,
        attacked(fetch_settings(tmp_path, fetch)) as server,
    ):
        url = source.url("sleeps", "films.test")
        _, code = server.fetched(url)
        monkeypatch.setattr(Sentry, "_stand", passes)
        again, _ = server.fetched(url)

    assert ("source_timeout", 201) == (code, again)


def test_without_its_guard_https_is_given_up_for_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect to plain http is taken, and the file comes over a line that anybody can read."""
    certificate = certificate_for("films.test", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    body = padded_clip()
    fetch = Fetch(allowed_networks=OPEN, attempts=1)
    with (
        TeethSource(body=body, tls=serving_as(certificate)) as secure,
        TeethSource(body=body) as plain,
        attacked(fetch_settings(tmp_path, fetch)) as server,
    ):
        url = secure.url(f"redirect?to={plain.url('ok')}", "films.test")
        _, code = server.fetched(url)
        asked_before = len(plain.asked)
        monkeypatch.setattr(download, "follow", lambda _here, redirect: parse_url(redirect))
        again, _ = server.fetched(url)

    assert ("bad_scheme", 0, 201) == (code, asked_before, again)
