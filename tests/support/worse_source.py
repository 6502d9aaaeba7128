"""More ways in which a source misbehaves: encodings, heads and lengths that only an attacker sends.

The usual ones are `bad_source`'s.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.support.bad_source import BadSource
from tests.support.raw_server import Asked, Reset, head, range_start

BOMB_BYTES = 1 << 26
"""What a compressed answer would unpack to: far over the limit that the tests set."""


@dataclass
class WorseSource(BadSource):
    """The server; `with WorseSource(body=...) as source: source.url("gzipbomb")`."""

    def _gzipbomb(self, _: Asked) -> Iterator[bytes]:
        yield head(content_encoding="gzip", content_length=len(_gzipped())) + _gzipped()

    def _gzipbombchunked(self, _: Asked) -> Iterator[bytes]:
        yield head(content_encoding="gzip", transfer_encoding="chunked")
        yield b"%x\r\n" % len(_gzipped()) + _gzipped() + b"\r\n0\r\n\r\n"

    def _deflatebomb(self, _: Asked) -> Iterator[bytes]:
        yield head(content_encoding="deflate", content_length=len(_deflated())) + _deflated()

    def _br(self, _: Asked) -> Iterator[bytes]:
        """Call a plain file compressed."""
        yield head(content_encoding="br", content_length=len(self.body)) + self.body

    def _encodings(self, _: Asked) -> Iterator[bytes]:
        """Name an encoding that is allowed first and another one after it."""
        begun = head(content_encoding="identity", content_length=len(self.body))[:-2]
        yield begun + b"Content-Encoding: br\r\n\r\n" + self.body

    def _transfer(self, _: Asked) -> Iterator[bytes]:
        """Compress what is transferred, not what is there."""
        packed = gzip.compress(self.body)
        yield head(transfer_encoding="gzip, chunked") + b"%x\r\n" % len(packed) + packed + b"\r\n0\r\n\r\n"

    def _lengthandchunks(self, _: Asked) -> Iterator[bytes]:
        """Give two lengths that contradict each other."""
        yield head(content_length=10, transfer_encoding="chunked") + b"%x\r\n" % len(self.body)
        yield self.body + b"\r\n0\r\n\r\n"

    def _breaks(self, _: Asked) -> Iterator[bytes]:
        """Reset after 100 kB, always, and know nothing of Range."""
        yield head(content_length=len(self.body)) + self.body[:100_000]
        raise Reset

    def _shortrest(self, asked: Asked) -> Iterator[bytes]:
        """Break once; then send ten bytes of the rest, in an answer that is whole by its own length."""
        start, total = range_start(asked), len(self.body)
        if not start:
            yield head(content_length=total, etag='"v1"') + self.body[: total - 1000]
            raise Reset
        place = f"bytes {start}-{total - 1}/{total}"
        yield head(206, content_length=10, content_range=place, etag='"v1"') + self.body[start : start + 10]

    def _manyheaders(self, _: Asked) -> Iterator[bytes]:
        """Send more headers than are taken, within the bytes that are."""
        more = {f"x_{index}": "y" for index in range(120)}
        yield head(content_length=len(self.body), **more) + self.body

    def _longheader(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=len(self.body), x_long="y" * 9000) + self.body

    def _trailers(self, _: Asked) -> Iterator[bytes]:
        """End the body and go on with headers for ever."""
        yield head(transfer_encoding="chunked") + b"%x\r\n" % len(self.body) + self.body + b"\r\n0\r\n"
        while True:
            yield b"X: y\r\n" * 100
            self.wait(0.01)

    def _slowly(self, _: Asked) -> Iterator[bytes]:
        """Send the whole file, its last bytes one by one over two seconds and a half."""
        yield head(content_length=len(self.body)) + self.body[:-50]
        for byte in self.body[-50:]:
            yield bytes([byte])
            self.wait(0.05)

    def _sleeps(self, asked: Asked) -> Iterator[bytes]:
        """Say nothing for five seconds; then answer well."""
        yield b""
        self.wait(5)
        yield from self._ok(asked)

    def _elf(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=9004, content_type="video/mp4") + b"\x7fELF" + bytes(9000)

    def _png(self, _: Asked) -> Iterator[bytes]:
        yield head(content_length=len(_png()), content_type="video/mp4") + _png()

    def _wide(self, _: Asked) -> Iterator[bytes]:
        page = "<!doctype html><p>a page in sixteen bits".encode("utf-16") * 200
        yield head(content_length=len(page), content_type="video/mp4") + page

    def _evilname(self, asked: Asked) -> Iterator[bytes]:
        yield from self._named(Asked(asked.mode, {"as": '"../../../../etc/cron.d/x"'}, asked.headers))


def make_bombs() -> None:
    """Pack them beforehand, so that the time of a download is not that of its attacker."""
    _gzipped()
    _deflated()


@cache
def _gzipped() -> bytes:
    return gzip.compress(bytes(BOMB_BYTES), mtime=0)


@cache
def _deflated() -> bytes:
    return zlib.compress(bytes(BOMB_BYTES), 9)


@cache
def _png() -> bytes:
    """Return a grey picture of one pixel."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0\0")),
        (b"IEND", b""),
    )
    packed = [
        struct.pack(">I", len(inside)) + name + inside + struct.pack(">I", zlib.crc32(name + inside))
        for name, inside in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
