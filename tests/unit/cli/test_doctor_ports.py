"""What `upscale doctor` says of who holds a port: ours is known by its own words, strangers get no key and no time."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.served import LOADING, IdlePool, serving, settings_in
from upscale_server import __version__
from upscale_server.cli import check_ports, doors
from upscale_server.cli.check_ports import port_check
from upscale_server.cli.check_servers import server_checks
from upscale_server.service import VideoService

KEY = "a-key-that-is-long-enough"
Answers = Callable[[str], tuple[int, bytes]]


@contextmanager
def answering(answers: Answers) -> Iterator[tuple[int, list[str]]]:
    """Run somebody else's web server; gives its port, and all that it was sent."""
    sent: list[str] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(f"{self.requestline}\n{self.headers}")
            status, body = answers(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    try:
        yield server.server_address[1], sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def alive_and(other: bytes) -> Answers:
    """Answer a probe as ours do, and everything else with a body."""
    return lambda path: (200, b'{"status": "alive"}' if path == "/livez" else other)


@pytest.mark.parametrize(
    "answers",
    [
        lambda _: (200, b"<html>somebody else's page</html>"),
        lambda _: (200, b"{}"),
        lambda _: (200, b'{"status": "alive"}'),
        lambda _: (200, b"[" * 100_000),
        alive_and(json.dumps({"info": {"title": "another program", "version": "1"}}).encode()),
    ],
    ids=["a page", "an object", "every probe", "a depth", "another title"],
)
def test_port_that_somebody_else_has_is_found(answers: Answers) -> None:
    """The other program is not ours to stop; the command starts our server on a port that is free."""
    with answering(answers) as (port, _):
        found = port_check("video", port)

    assert ("warning", f"port {port} on 127.0.0.1 is in use") == (found.verdict, found.found)
    doors.listening("127.0.0.1", int(found.fix.removeprefix("upscale serve video --port "))).close()


def test_no_key_is_sent_to_who_holds_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any user of the machine may listen there and wait for an operator."""
    settings = settings_in(tmp_path, api_keys=SecretStr(KEY))
    monkeypatch.setenv("UPSCALE_API_KEY", KEY)
    with answering(alive_and(b"{}")) as (port, sent):
        monkeypatch.setattr("upscale_server.cli.check_servers.PORTS", {"video": port})
        next(server_checks(settings))

    assert 2 == len(sent), "the probe and the description were asked for"
    assert [] == [one for one in sent if KEY in one or "authorization" in one.lower() or "x-api-key" in one.lower()]


def test_what_a_stranger_says_does_not_move_the_terminal() -> None:
    """Who imitates us can say what he likes, in printable signs."""
    told = {"info": {"title": "upscale-server", "version": "\x1b[2J9"}, "detail": "\x1b]0;title\x07" + "x" * 10_000}
    with answering(alive_and(json.dumps(told).encode())) as (port, _):
        found = port_check("video", port)

    assert found.found.isprintable()
    assert len(found.found) < 1000


@pytest.mark.parametrize("trickle", [b"", b"HTTP/1.0 200 OK\r\n"], ids=["mute", "trickling"])
def test_port_that_does_not_answer_is_not_waited_for(trickle: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One limit holds for the whole answer: neither silence nor one byte after the other makes it longer."""
    monkeypatch.setattr(check_ports, "_ANSWER_SECONDS", 0.2)
    done = threading.Event()

    def hold(door: socket.socket) -> None:
        one, _ = door.accept()
        with one:
            one.settimeout(60)  # longer than any limit here; what ends it is that the check hangs up, or gave up
            one.sendall(trickle)
            while not done.wait(0.05):
                try:
                    one.sendall(trickle[:1])
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=hold, args=(door,))
        thread.start()
        checking = threading.Thread(target=port_check, args=("image", door.getsockname()[1]), daemon=True)
        checking.start()
        checking.join(20)  # a hundred times the limit: only a check that waits for the other side is still there
        held = checking.is_alive()
        done.set()
        thread.join()

    assert not held


def test_port_whose_holder_hangs_up_is_found() -> None:
    """A program that speaks no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def refuse() -> None:
            door.accept()[0].close()

        thread = threading.Thread(target=refuse)
        thread.start()
        found = port_check("image", door.getsockname()[1])
        thread.join()

    assert ("warning", True) == (found.verdict, found.fix.startswith("upscale serve image --port "))


def test_free_port_is_told() -> None:
    """It is taken for a moment, and given back; who chose another port learns that it is not looked for."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]

    found = port_check("image", port)

    assert ("ok", "free for the image server (one with another --port is not looked for)") == (
        found.verdict, found.found
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["", KEY, f"sha256:{'0' * 64}"])
def test_own_server_is_asked_how_it_is(tmp_path: Path, keys: str) -> None:
    """Its version and that it is ready; one that hides behind keys still says that it is there."""
    settings = settings_in(tmp_path, api_keys=SecretStr(keys))
    with serving(VideoService(settings, IdlePool())) as served:
        found = port_check("video", int(served.url.rsplit(":", 1)[1]))

    shown = "a server of ours, whose version needs its key," if keys else f"upscale-server {__version__}"
    assert ("ok", f"{shown} answers and is ready") == (found.verdict, found.found)


@pytest.mark.slow
def test_own_server_that_is_not_ready_is_found(tmp_path: Path) -> None:
    """It answers, and can do no job: with the reason, and where to ask again."""
    with serving(VideoService(settings_in(tmp_path), IdlePool(LOADING))) as served:
        port = int(served.url.rsplit(":", 1)[1])
        found = port_check("video", port)

    assert ("warning", f"curl http://127.0.0.1:{port}/readyz") == (found.verdict, found.fix)
    assert "0 of 1 lanes are ready" in found.found
