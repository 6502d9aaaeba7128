"""Heads and bodies that no honest client sends, byte for byte, each with the statuses that refuse it.

They are made while they are sent, so that a large one costs the sender no memory.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

JSON = "application/json"
FORM = "multipart/form-data; boundary=b"
ANSWER_SECONDS = 120
"""Longest wait for an answer on a busy machine; a limit and no expectation."""
NEVER = -1
"""The status of a server that neither answers to the end nor drops the line in that time; no attack allows it."""
_PIECE = 65_536

Part = bytes | tuple[bytes, int]
"""Bytes, or bytes and how often they are repeated."""


@dataclass(frozen=True, slots=True)
class Attack:
    """A request piece by piece; 0 among the statuses allows the server to drop it without an answer."""

    name: str
    pieces: Iterator[bytes]
    statuses: frozenset[int]


def attacks(path: str, mebi: int) -> Iterator[Attack]:
    """Yield every attack on a route that takes JSON and forms; large bodies have so many MiB."""
    for name, pieces, *statuses in (*_heads(path), *_json_bodies(path, mebi << 20), *_forms(path, mebi << 20)):
        yield Attack(name, pieces, frozenset(statuses))


def said_to(address: tuple[str, int], attack: Attack, seconds: float = ANSWER_SECONDS) -> tuple[int, bytes]:
    """Send an attack; return the status of the answer, 0 without one, and everything that was heard.

    A line on which nothing moves for so many seconds is `NEVER`, whatever was heard before.
    """
    heard, late = bytearray(), threading.Event()
    with socket.create_connection(address, timeout=seconds) as line:
        reader = threading.Thread(target=_read_all, args=(line, heard, late))
        reader.start()
        with _until_dropped(late):
            for piece in attack.pieces:
                line.sendall(piece)
        reader.join()
    words = bytes(heard).split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return NEVER if late.is_set() else status, bytes(heard)


def _read_all(line: socket.socket, heard: bytearray, late: threading.Event) -> None:
    with _until_dropped(late):
        while more := line.recv(_PIECE):
            heard += more


@contextmanager
def _until_dropped(late: threading.Event) -> Iterator[None]:
    """Take the end of a line as an end, and note where it was ours because the time was over."""
    try:
        yield
    except TimeoutError:
        late.set()
    except OSError:
        return


def _head(path: str, kind: str, length: int | None, *more: str) -> bytes:
    """Return a head; without a length its body comes in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Type: {kind}", size, *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _whole(path: str, kind: str, *parts: Part) -> Iterator[bytes]:
    """Send a body whose length is announced rightly."""
    given = [(part, 1) if isinstance(part, bytes) else part for part in parts]
    yield _head(path, kind, sum(len(text) * times for text, times in given))
    for text, times in given:
        at_once = max(1, _PIECE // max(1, len(text)))
        for start in range(0, times, at_once):
            yield text * min(at_once, times - start)


def _chunks(path: str, count: int) -> Iterator[bytes]:
    yield _head(path, JSON, None)
    for _ in range(count // 1000):
        yield b"1\r\n \r\n" * 1000
    yield b"0\r\n\r\n"


Row = tuple[str, Iterator[bytes], int] | tuple[str, Iterator[bytes], int, int]


def _heads(path: str) -> Iterator[Row]:
    get = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    many = [f"X-{number}: y" for number in range(101)]
    yield "head of 4 MiB", iter([get + b"X: ", *[b"a" * _PIECE] * 64]), 431, 0
    yield "50,000 headers", iter([get, *[b"X-A: y\r\n" * 1000] * 50]), 431, 0
    yield "101 headers", iter([_head(path, JSON, 2, *many), b"{}"]), 431
    yield "two lengths", iter([_head(path, JSON, 2, "Content-Length: 3"), b"{} "]), 400
    yield "a length and chunks", iter([_head(path, JSON, 2, "Transfer-Encoding: chunked"), b"0\r\n\r\n"]), 400
    yield "a negative length", iter([_head(path, JSON, -1)]), 400
    yield "HTTP/0.9", iter([b"GET /health\r\n\r\n"]), 400
    yield "a null byte in a header", iter([get + b"X: a\x00b\r\n\r\n"]), 400
    yield "an announced petabyte", iter([_head(path, FORM, 10**15), b"--b"]), 413, 507


def _json_bodies(path: str, size: int) -> Iterator[Row]:
    deep = (b'{"a":', 100_000), b"1", (b"}", 100_000)
    url = b'"payload_url": "http://127.0.0.1/a"'
    yield "JSON 100,000 deep", _whole(path, JSON, *deep), 413
    yield "JSON 9,000 deep", _whole(path, JSON, (b'{"a":', 9000), b"1", (b"}", 9000)), 400
    yield "lists 60,000 deep", _whole(path, JSON, (b"[", 60_000)), 400
    yield "large JSON", _whole(path, JSON, b'{"a":"', (b"x", size), b'"}'), 413
    yield "a number of 60,000 digits", _whole(path, JSON, b'{"scale":', (b"9", 60_000), b"}"), 400
    yield "NaN", _whole(path, JSON, b'{"scale": NaN, ' + url + b"}"), 400
    yield "a field twice", _whole(path, JSON, b"{" + url + b"," + url + b"}"), 400
    yield "half a surrogate", _whole(path, JSON, b'{"payload_url": "\\ud800"}'), 400
    yield "null bytes", _whole(path, JSON, (b"\0", 1000)), 400
    yield "JSON that is said to be text", _whole(path, "text/plain", b"{}"), 415
    yield "70,000 chunks", _chunks(path, 70_000), 400, 413


def _forms(path: str, size: int) -> Iterator[Row]:
    begin, end = b'--b\r\nContent-Disposition: form-data; name="', b"--b--\r\n"
    file = begin + b'file"; filename="a"\r\n\r\nx\r\n'
    evil = b'other"; filename="../../../etc/passwd\\x00\\r\\nX-Evil: 1.png"\r\n\r\nx\r\n'
    yield "2,000 files", _whole(path, FORM, (file, 2000), end), 400
    yield "a large field", _whole(path, FORM, begin + b'scale"\r\n\r\n', (b"x", size), b"\r\n" + end), 400, 413
    part = file.partition(b"\r\n\r\n")[0] + b"\r\nX: "
    yield "a large head of a part", _whole(path, FORM, part, (b"y", size), b"\r\n\r\nx\r\n" + end), 400, 413
    yield "line ends before the form", _whole(path, FORM, (b"\r\n", size // 2), file + end), 400, 413
    yield "a form without an end", _whole(path, FORM, file), 400
    yield "a boundary of 1,000 letters", _whole(path, FORM + "b" * 1000, b""), 400
    yield "a file in a field of another name", _whole(path, FORM, begin + evil + end), 400
