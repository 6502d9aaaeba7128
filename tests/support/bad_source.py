"""An HTTP source on loopback that misbehaves in one named way per path, for everything that downloads.

`GET /MODE?name=value`; each mode is a method.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.raw_server import Asked, RawServer, Reset, as_video, head, range_start

BODY = bytes(range(256)) * 4096
"""1 MiB that is no text."""
ETAG = '"v1"'


@dataclass
class BadSource(RawServer):
    """The server; `with BadSource() as source: source.url("stall")`."""

    body: bytes = BODY

    # what a good server does

    def _ok(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=len(self.body), content_type="video/mp4") + self.body

    def _chunked(self, _: Asked) -> Iterator[bytes]:
        yield head(transfer_encoding="chunked")
        for start in range(0, len(self.body), 4096):
            piece = self.body[start : start + 4096]
            yield b"%x\r\n" % len(piece) + piece + b"\r\n"
        yield b"0\r\n\r\n"

    def _noclen(self, _: Asked) -> Iterator[bytes]:
        yield head() + self.body

    def _named(self, asked: Asked) -> Iterator[bytes]:
        name = asked.query["as"].encode("latin-1")
        begun = head(content_length=len(self.body))[:-2]
        yield begun + b"Content-Disposition: attachment; filename=" + name + b"\r\n\r\n" + self.body

    def _resume(self, asked: Asked) -> Iterator[bytes]:
        """Break every answer after 300 kB, and go on with Range."""
        start = range_start(asked)
        yield self._rest_head(start) + self.body[start : start + 300_000]
        if start + 300_000 < len(self.body):
            raise Reset

    def _rest_head(self, start: int, etag: str = ETAG) -> bytes:
        total = len(self.body)
        if not start:
            return head(content_length=total, etag=etag, accept_ranges="bytes")
        return head(206, content_length=total - start, content_range=f"bytes {start}-{total - 1}/{total}", etag=etag)

    def _halts(self, asked: Asked) -> Iterator[bytes]:
        """Stop for ever after 300 kB the first time; go on with Range later."""
        start = range_start(asked)
        self.failed["halts"] += 1
        if self.failed["halts"] == 1:
            yield self._rest_head(0) + self.body[:300_000]
            self.wait()
        yield self._rest_head(start) + self.body[start:]

    # servers that break off or go on with something else

    def _changes(self, asked: Asked) -> Iterator[bytes]:
        """Break once; then be another file, as an honest server says (200 to If-Range)."""
        self.failed["changes"] += 1
        if self.failed["changes"] == 1:
            yield self._rest_head(0) + b"\0" * 300_000
            raise Reset
        yield from self._ok(asked)

    def _swaps(self, asked: Asked) -> Iterator[bytes]:
        """Break once; then send the rest of another file as if it were the same."""
        start = range_start(asked)
        if start:
            yield self._rest_head(start, '"v2"') + self.body[start:]
            return
        self.failed["swaps"] += 1
        yield self._rest_head(0, ETAG if self.failed["swaps"] == 1 else '"v2"')
        if self.failed["swaps"] == 1:
            yield b"\0" * 300_000
            raise Reset
        yield self.body

    def _shifts(self, asked: Asked) -> Iterator[bytes]:
        """Break, then go on ten bytes further than asked."""
        start = range_start(asked)
        if start:
            yield self._rest_head(start + 10) + self.body[start + 10 :]
            return
        self.failed["shifts"] += 1
        yield self._rest_head(0)
        if self.failed["shifts"] == 1:
            yield self.body[:300_000]
            raise Reset
        yield self.body

    def _half(self, _: Asked) -> Iterator[bytes]:
        """Break at 50 %, always, without Range."""
        yield head(content_length=len(self.body)) + self.body[: len(self.body) // 2]
        raise Reset

    def _short(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=len(self.body) * 2) + self.body

    def _long(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=5000) + self.body

    def _rst(self, _: Asked) -> Iterator[bytes]:
        yield b""
        raise Reset

    def _hangup(self, _: Asked) -> Iterator[bytes]:
        yield b""

    def _flaky(self, asked: Asked) -> Iterator[bytes]:
        """Answer `n` times with status `c`, then well."""
        self.failed["flaky"] += 1
        if self.failed["flaky"] <= int(asked.query.get("n", "2")):
            yield head(int(asked.query.get("c", "503")), content_length=0)
            return
        yield from self._ok(asked)

    def _busy(self, asked: Asked) -> Iterator[bytes]:
        """Say when to come back, `n` times; then answer well."""
        self.failed["busy"] += 1
        if self.failed["busy"] <= int(asked.query.get("n", "9")):
            yield head(429, content_length=0, retry_after=asked.query["after"])
            return
        yield from self._ok(asked)

    # servers that lie about length or encoding

    def _clen_huge(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=10**15) + self.body[:5000]
        self.wait()

    def _clen_negative(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=-5) + self.body

    def _clen_two(self, _: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\n" + self.body[:20]

    def _endless(self, _: Asked) -> Iterator[bytes]:
        yield head(transfer_encoding="chunked")
        while True:
            yield b"%x\r\n" % 65536 + BODY[:65536] + b"\r\n"

    def _gzip(self, _: Asked) -> Iterator[bytes]:
        packed = gzip.compress(self.body)
        yield head(content_encoding="gzip", content_length=len(packed)) + packed

    def _partial(self, _: Asked) -> Iterator[bytes]:
        total = len(self.body)
        yield head(206, content_range=f"bytes 100-199/{total}", content_length=100) + self.body[100:200]

    # slow servers

    def _noreply(self, _: Asked) -> Iterator[bytes]:
        yield b""
        self.wait()

    def _stall(self, asked: Asked) -> Iterator[bytes]:
        yield head(content_length=len(self.body)) + self.body[: int(asked.query.get("after", "5000"))]
        self.wait()

    def _drip(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=len(self.body))
        for byte in self.body:
            yield bytes([byte])
            self.wait(0.05)

    def _slowhead(self, _: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        for index in range(10**6):
            yield b"X-%d: y\r\n" % index
            self.wait(0.05)

    def _flood100(self, _: Asked) -> Iterator[bytes]:
        while True:
            yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100
            self.wait(0.01)

    def _chunkext(self, _: Asked) -> Iterator[bytes]:
        """Send chunks of one byte under kilobytes of extension: many bytes a second, and no body to speak of."""
        yield head(transfer_encoding="chunked")
        while True:
            yield b"1;" + b"x" * 4096 + b"\r\n\0\r\n"
            self.wait(0.01)

    # what is no HTTP

    def _bighead(self, _: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nX: " + b"a" * (8 << 20) + b"\r\n\r\n"

    def _manyhead(self, _: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % index for index in range(100_000)) + b"\r\n"

    def _bigext(self, _: Asked) -> Iterator[bytes]:
        yield head(transfer_encoding="chunked") + b"5;" + b"x" * (4 << 20) + b"\r\nhello\r\n0\r\n\r\n"

    def _badchunk(self, _: Asked) -> Iterator[bytes]:
        yield head(transfer_encoding="chunked") + b"zz\r\nhello\r\n"

    def _http09(self, _: Asked) -> Iterator[bytes]:
        yield self.body

    # redirects and statuses

    def _redirect(self, asked: Asked) -> Iterator[bytes]:
        yield head(int(asked.query.get("c", "302")), location=asked.query["to"], content_length=0)

    def _chain(self, asked: Asked) -> Iterator[bytes]:
        left = int(asked.query["n"]) - 1
        yield head(302, location=f"/chain?n={left}" if left else "/ok", content_length=0)

    def _loop(self, _: Asked) -> Iterator[bytes]:
        yield head(302, location="/loop", content_length=0)

    def _nolocation(self, _: Asked) -> Iterator[bytes]:
        yield head(302, content_length=0)

    def _status(self, asked: Asked) -> Iterator[bytes]:
        yield head(int(asked.query["c"]), content_length=19) + b"secret of the peer!"

    # what is no media; each says that it is

    def _zeros(self, _: Asked) -> Iterator[bytes]:
        """Send zeros for ever."""
        yield head(content_type="video/mp4")
        while True:
            yield b"\0" * 65536

    def _html(self, _: Asked) -> Iterator[bytes]:
        yield from as_video(b"\n <!DOCTYPE html>" + b"x" * 9000)

    def _html_endless(self, _: Asked) -> Iterator[bytes]:
        """Begin a page of megabytes: it is refused long before its end."""
        yield head(content_length=8 << 20, content_type="video/mp4") + b"<html>" + b"x" * 9000
        self.wait()

    def _m3u8(self, _: Asked) -> Iterator[bytes]:
        inner = self.url("inner").encode()
        yield from as_video(b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n" + inner + b"\n#EXT-X-ENDLIST\n")

    def _json(self, _: Asked) -> Iterator[bytes]:
        yield from as_video(b'{"error": "no such file"}')

    def _zip(self, _: Asked) -> Iterator[bytes]:
        yield from as_video(b"PK\x03\x04" + bytes(9000))

    def _empty(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=0, content_type="video/mp4")
