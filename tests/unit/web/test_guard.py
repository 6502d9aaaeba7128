"""One connection can cost only so much: each bound of the protocol bites, and none of them hits an honest client."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.killing import wait_until
from upscale_server.logs import configure
from upscale_server.web.faults import SAFE_HEADERS
from upscale_server.web.guard import HEAD_BYTES, Bounds, GuardedProtocol

QUICK = Bounds(look_seconds=0.02)
BODY_OF_RESPONSE = 64 << 20  # far beyond what the kernel's and uvicorn's buffers hold


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer; /large answers with more than any buffer holds."""
    if scope["type"] != "http":
        return
    more = scope["method"] == "POST" and scope["path"] != "/unread"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    size = BODY_OF_RESPONSE if scope["path"] == "/large" else 2
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    for begin in range(0, size, 1 << 20):
        left = size - begin
        await send({"type": "http.response.body", "body": b"x" * min(left, 1 << 20), "more_body": left > (1 << 20)})


@contextmanager
def guarded(bounds: Bounds, served: ASGIApp = application) -> Iterator[tuple[str, int]]:
    """Serve an application with these bounds."""
    protocol = type("Quick", (GuardedProtocol,), {"bounds": bounds})
    door = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        served, http=protocol, lifespan="off", log_config=None, log_level="critical",
        h11_max_incomplete_event_size=HEAD_BYTES, ws="none",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    try:
        yield door.getsockname()
    finally:
        server.should_exit = True
        thread.join()


def conversation(address: tuple[str, int], said: bytes) -> bytes:
    """Return everything that the server answers until it closes the connection."""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(said)
        heard = b""
        try:
            while more := connection.recv(65536):
                heard += more
        except ConnectionResetError:
            pass
        return heard


def status_of(heard: bytes) -> int:
    """Return the status of the first answer."""
    return int(heard.split(b" ", 2)[1])


HEAD = b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bounds", "said", "expected"),
    [
        (replace(QUICK, head_seconds=0.2), b"GET / HTTP/1.1\r\nHost: x\r\n", 408),
        (replace(QUICK, body_idle_seconds=0.2), HEAD + b"some", 408),
        (replace(QUICK, body_window_seconds=0.2, body_bytes_per_second=1e9), HEAD + b"some", 408),
        (QUICK, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (QUICK, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", 431),
        (QUICK, b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (QUICK, b"GET / HTTP/1.1\r\n\r\n", 400),
        (replace(QUICK, connections=0, reserve=0), b"", 429),
    ],
    ids=["slow head", "silent body", "slow body", "large head", "many headers", "TLS", "no host", "too many"],
)
def test_a_client_beyond_a_bound_is_told_so_and_dropped(bounds: Bounds, said: bytes, expected: int) -> None:
    """The answer is a problem object with the right status, and the connection is closed."""
    with guarded(bounds) as address:
        heard = conversation(address, said)

    assert expected == status_of(heard)
    problem = json.loads(heard.partition(b"\r\n\r\n")[2])
    codes = {400: "bad_request", 408: "request_too_slow", 429: "rate_limited", 431: "head_too_large"}
    assert (expected, codes[expected]) == (problem["status"], problem["code"])


@pytest.mark.parametrize(("path", "expected"), [("/livez", 200), ("/readyz", 200), ("/health", 200), ("/queue", 429)])
def test_a_server_without_a_free_connection_still_answers_probes(path: str, expected: int) -> None:
    """It is busy and not dead; everything else is told to come back, and named like any other answer."""
    with guarded(replace(QUICK, connections=0)) as address:
        heard = conversation(address, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert expected == status_of(heard)
    assert (expected == 429) == (b"x-request-id" in heard.lower())


def test_those_who_ask_for_nothing_make_room_for_those_who_ask() -> None:
    """With every place and the reserve held by slow heads, an honest request of any kind is answered."""
    bounds = replace(QUICK, connections=3, reserve=0, quiet_seconds=0.0)
    with guarded(bounds) as address, ExitStack() as held:
        for _ in range(3):
            slow = held.enter_context(socket.create_connection(address, timeout=30))
            slow.sendall(b"GET / HTTP/1.1\r\nHost")

        ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        wait_until(lambda: 200 == status_of(conversation(address, ask)))  # when what they have said so far was read


def test_whose_request_waits_to_be_read_makes_no_room() -> None:
    """It has asked; it is the server that was held up, here by a request whose body is still to come."""
    bounds = replace(QUICK, connections=2, reserve=0, quiet_seconds=0.0)
    ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    held, let_go = threading.Event(), threading.Event()

    async def holding(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/held":
            held.set()
            let_go.wait()
        await application(scope, receive, send)

    with guarded(bounds, holding) as address, ExitStack() as stack:
        at_work = stack.enter_context(socket.create_connection(address, timeout=30))
        at_work.sendall(HEAD.replace(b"/up", b"/held"))
        held.wait()
        lines = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(2)]
        for line in lines:
            line.sendall(ask)
        let_go.set()
        heard = [line.recv(65536) for line in lines]

    assert [200, 429] == [status_of(one) for one in heard]


@pytest.mark.slow
def test_those_who_ask_for_nothing_leave_the_reserve_again() -> None:
    """Slow heads that come again and again fill the reserve only for a moment each, and a probe finds a place."""
    bounds = replace(QUICK, connections=0, reserve=2, quiet_seconds=0.1)
    with guarded(bounds) as address, ExitStack() as held:
        slow = [held.enter_context(socket.create_connection(address, timeout=30)) for _ in range(2)]
        for one in slow:
            one.sendall(b"GET / HTTP/1.1\r\nHost")
        for one in slow:
            with pytest.raises(ConnectionResetError):
                one.recv(1)

        assert 200 == status_of(conversation(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"))


def test_a_place_that_is_free_again_is_given_though_others_wait_in_the_reserve() -> None:
    """Those in the reserve are answered probes alone, and take no place of those who ask for work."""
    bounds = replace(QUICK, connections=1, reserve=8, quiet_seconds=60.0)
    with guarded(bounds) as address, ExitStack() as held:
        placed, _extra = (held.enter_context(socket.create_connection(address, timeout=30)) for _ in range(2))
        placed.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while placed.recv(65536):
            pass

        assert 200 == status_of(conversation(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))


def test_nobody_makes_room_who_has_asked_a_moment_ago() -> None:
    """The tooth of the test above: where no place is given up, only a refusal is left."""
    bounds = replace(QUICK, connections=2, reserve=0, quiet_seconds=60.0)
    with guarded(bounds) as address, ExitStack() as held:
        for _ in range(2):
            held.enter_context(socket.create_connection(address, timeout=30)).sendall(b"GET / HTTP/1.1\r\nHost")

        assert 429 == status_of(conversation(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))


def test_no_probe_keeps_a_place_of_the_reserve() -> None:
    """Those who watch ask on one connection for ever; over the bound each answer ends its connection."""
    with guarded(replace(QUICK, connections=0)) as address:
        heard = conversation(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")

    assert 200 == status_of(heard)
    assert b"connection: close" in heard.lower()


def test_what_is_refused_before_any_route_has_an_id_too() -> None:
    """The reader of the log finds it again."""
    with guarded(QUICK) as address:
        head, _, body = conversation(address, b"GET / HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")

    assert f"X-Request-ID: {json.loads(body)['request_id']}".encode() in head


def test_what_is_refused_before_any_route_is_logged_under_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    """Too many connections, and no HTTP at all."""
    configure("info", "console")
    with guarded(replace(QUICK, connections=0)) as address:
        narrow = conversation(address, b"GET /queue HTTP/1.1\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")[2]
        broken = conversation(address, b"GET / HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")[2]

    written = "".join(capsys.readouterr())
    for body, status in ((narrow, 429), (broken, 400)):
        refused = next(line for line in written.splitlines() if json.loads(body)["request_id"] in line)
        assert "event=request_refused" in refused
        assert f"status={status}" in refused


@pytest.mark.parametrize("line", [b"X-API-Key canary", b"Authorization Bearer canary", b"canary: \x00", b"\x00canary"])
def test_what_no_rule_reads_is_repeated_to_nobody(line: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """A key whose colon was forgotten stands neither in the log nor in the answer."""
    configure("info", "console")
    with guarded(QUICK) as address:
        heard = conversation(address, b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")

    written = "".join(capsys.readouterr())
    assert 400 == status_of(heard)
    assert "event=request_refused" in written
    assert "canary" not in written + heard.decode()


@pytest.mark.parametrize("bounds", [QUICK, replace(QUICK, connections=0)], ids=["by hand", "too many"])
def test_what_is_refused_before_any_route_is_as_safe_as_other_answers(bounds: Bounds) -> None:
    """No browser guesses its type, frames it or keeps it."""
    said = b"GET / HTTP/1.1\r\n\r\n" if bounds is QUICK else b"GET /queue HTTP/1.1\r\nHost: x\r\n\r\n"
    with guarded(bounds) as address:
        head = conversation(address, said).partition(b"\r\n\r\n")[0].decode().lower()

    assert [f"{name}: {value}".lower() in head for name, value in SAFE_HEADERS.items()] == [True] * len(SAFE_HEADERS)


@pytest.mark.slow
def test_a_client_that_reads_far_too_slowly_is_dropped() -> None:
    """A byte now and then is progress and keeps no connection for ever."""
    with (
        guarded(replace(QUICK, stalled_seconds=1e9, slow_reader_seconds=0.3)) as address,
        socket.socket() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        watched = select.poll()
        watched.register(connection, 0)

        told = watched.poll(30_000)

    assert told


@pytest.mark.slow
def test_a_connection_on_which_nothing_is_said_is_closed_without_a_word() -> None:
    """An idle connection does not stay for ever."""
    with guarded(replace(QUICK, head_seconds=0.2)) as address:
        heard = conversation(address, b"")

    assert b"" == heard


@pytest.mark.slow
def test_a_client_that_reads_nothing_is_dropped() -> None:
    """A response that nobody reads holds its connection only so long, and nothing of it stays in the kernel."""
    with guarded(replace(QUICK, stalled_seconds=0.3)) as address, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        watched = select.poll()
        watched.register(connection, 0)  # errors and hang-ups are told without being asked for

        told = watched.poll(30_000)

    assert told


@pytest.mark.slow
def test_a_body_that_nobody_wants_is_read_away_only_so_long() -> None:
    """A client that is answered and still sends is dropped."""
    with guarded(replace(QUICK, unread_seconds=0.2)) as address:
        heard = conversation(address, b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome")

    assert 200 == status_of(heard)


def test_no_answer_waits_for_the_client_to_confirm_its_first_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head and a body that are sent apart would meet a delayed acknowledgement, and every small answer 40 ms."""
    delays: list[int] = []
    made = GuardedProtocol.connection_made

    def noting(protocol: GuardedProtocol, transport: asyncio.Transport) -> None:
        made(protocol, transport)
        delays.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(GuardedProtocol, "connection_made", noting)
    with guarded(QUICK) as address:
        conversation(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert [1] == delays


def test_an_honest_client_is_served_several_times_on_one_connection() -> None:
    """Keep-alive works behind the guard, for heads and bodies that come in pieces."""
    call = b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n%s\r\n" + b"z" * 40_000
    with guarded(QUICK) as address:
        heard = conversation(address, call % b"" + call % b"" + call % b"Connection: close\r\n")

    assert 3 == heard.count(b"HTTP/1.1 200 OK")
