"""Downloads over TLS: the certificate must be the host's own, and a handshake cannot hold a place."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bad_source import BODY, BadSource
from tests.support.certificates import certificate_for, serving_as
from upscale_server.errors import BadScheme, SourceTimeout, SourceUnreachable
from upscale_server.server_settings import Fetch
from upscale_server.storage.fetch import Fetched, FetchRules, fetch

HOST = "films.test"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a certificate for one name, with its key in the same file."""
    return certificate_for(HOST, tmp_path_factory.mktemp("tls"))


@pytest.fixture
def source(certificate: Path) -> Iterator[BadSource]:
    """Give a source that speaks https as `films.test`."""
    with BadSource(tls=serving_as(certificate)) as started:
        yield started


@pytest.fixture
def _trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the certificate's authority known, as an operator with one of his own does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


def run(url: str, folder: Path, **limits: float) -> Fetched:
    """Download with names that all lead to loopback."""
    settings = Fetch(allowed_networks=("127.0.0.0/8",), attempts=1, **limits)
    rules = dataclasses.replace(FetchRules.of(settings), resolver=lambda _host, _port: ["127.0.0.1"])
    return fetch(url, folder / "source", rules, lambda _done, _total: None)


@pytest.mark.usefixtures("_trusted")
def test_a_file_arrives_over_tls(source: BadSource, tmp_path: Path) -> None:
    """The address is vetted and dialled as a number; the certificate is checked against the name."""
    assert len(BODY) == run(source.url("ok", HOST), tmp_path).byte_count
    assert f"{HOST}:{source.port}" == source.asked[0].headers["host"]


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
def test_a_certificate_of_another_host_is_refused(host: str, source: BadSource, tmp_path: Path) -> None:
    """No request is sent."""
    with pytest.raises(SourceUnreachable, match="has no valid certificate"):
        run(source.url("ok", host), tmp_path)

    assert [] == source.asked


def test_an_unknown_authority_is_refused_and_the_way_out_is_named(source: BadSource, tmp_path: Path) -> None:
    """There is no switch that turns the check off."""
    with pytest.raises(SourceUnreachable, match="has no valid certificate") as caught:
        run(source.url("ok", HOST), tmp_path)

    assert "SSL_CERT_FILE" in str(caught.value.hint)
    assert [] == source.asked


@pytest.mark.slow
@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize("mode", ["stall", "noreply"])
def test_limits_hold_under_tls(mode: str, source: BadSource, tmp_path: Path) -> None:
    """The watchdog is asked between slices of a wait there, too."""
    with pytest.raises(SourceTimeout, match=r"sent nothing for 0\.5 s"):
        run(source.url(mode, HOST), tmp_path, idle_seconds=0.5)


@pytest.mark.usefixtures("_trusted")
def test_a_redirect_to_plain_http_is_not_followed(source: BadSource, tmp_path: Path) -> None:
    """Neither to another host nor to the same."""
    with pytest.raises(BadScheme, match="from https to http"):
        run(source.url(f"redirect?to=http://{HOST}/ok", HOST), tmp_path)


def test_a_server_that_does_not_speak_tls_is_named(tmp_path: Path) -> None:
    """A plain answer to a handshake is an error of its own, not a hang."""
    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=answer_once, args=(plain,))
        thread.start()
        with pytest.raises(SourceUnreachable, match="does not speak TLS"):
            run(f"https://{HOST}:{plain.getsockname()[1]}/", tmp_path)
        thread.join()


def answer_once(server: socket.socket) -> None:
    """Answer a handshake in plain text."""
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.slow
def test_a_handshake_that_stalls_is_given_up(tmp_path: Path) -> None:
    """It is part of connecting, and has that limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SourceTimeout, match="TLS handshake"):
        run(f"https://{HOST}:{silent.getsockname()[1]}/", tmp_path, connect_seconds=0.5)
