"""Pictures whose headers lie or bomb: sizes, text, profiles, scans, frames, pages that point to themselves.

What is refused must be refused on the header, before the memory that it names is taken.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tests.support.corpus.boxes import patched
from tests.support.corpus.entry import Entry, Expect
from tests.support.corpus.odd_pictures import encoded, picture

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _RGB = 0, 2
_MIB = 1 << 20
_IHDR = struct.Struct(">IIBBBBB")


def lying_pictures() -> Iterator[Entry]:
    """Yield all of them."""
    yield from quick_lies()
    yield from (Entry("i_lie", name, content, expect) for name, content, expect in (*_png_bombs(), *_png_chunks()))


def quick_lies() -> Iterator[Entry]:
    """Yield those that are made in no time: nothing in them is a gigabyte of zeros."""
    for name, content, expect in (*_png_sizes(), *_jpegs(), *_others()):
        yield Entry("i_lie", name, content, expect)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _head(width: int, height: int, bits: int = 8, colour: int = _RGB, interlace: int = 0) -> bytes:
    return _SIGNATURE + _chunk(b"IHDR", _IHDR.pack(width, height, bits, colour, 0, 0, interlace))


def _png(head: bytes, packed: bytes, before: bytes = b"") -> bytes:
    return head + before + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _zeros(count: int) -> bytes:
    """Return so many zeros, deflated, without holding them at once."""
    pack, block = zlib.compressobj(9), bytes(_MIB)
    parts = [pack.compress(block) for _ in range(count // _MIB)]
    return b"".join([*parts, pack.compress(bytes(count % _MIB)), pack.flush()])


def _png_sizes() -> Iterator[tuple[str, bytes, Expect]]:
    largest = 2**31 - 1
    few = zlib.compress(bytes(100))
    for width, height in ((100000, 100000), (largest, largest), (65535, 65535), (0, 10), (10, 0), (largest, 1)):
        yield f"ihdr_{width}x{height}.png", _png(_head(width, height), few), "reject"


def _png_bombs() -> Iterator[tuple[str, bytes, Expect]]:
    whole, one_bit = _zeros(16000 * (16000 * 3 + 1)), _head(9000, 9000, 1, _GRAY)
    yield "bomb_16000x16000.png", _png(_head(16000, 16000), whole), "reject"  # 768 MB in 0.7
    yield "bomb_9000x9000_1bit.png", _png(one_bit, _zeros(9000 * (9000 // 8 + 1))), "reject"  # 81 MP in some kB
    yield "big_ok_6000x6000_1bit.png", _png(_head(6000, 6000, 1, _GRAY), _zeros(6000 * (6000 // 8 + 1))), "either"
    yield "interlace_bomb.png", _png(_head(9000, 9000, interlace=1), _zeros(9000 * 9000 * 3 + 9000 * 8)), "reject"


def _png_chunks() -> Iterator[tuple[str, bytes, Expect]]:
    head, pixels = _head(8, 8), zlib.compress(bytes(8 * 25))
    text = _chunk(b"zTXt", b"k\0\0" + _zeros(64 * _MIB))
    texts = _chunk(b"zTXt", b"k\0\0" + _zeros(900_000)) * 100
    yield "idat_overlong.png", _png(head, _zeros(64 * _MIB)), "either"
    yield "ztxt_bomb.png", _png(head, pixels, text), "reject"  # 64 MiB of text
    yield "text_many.png", _png(head, pixels, texts), "either"
    yield "iccp_bomb.png", _png(head, pixels, _chunk(b"iCCP", b"k\0\0" + _zeros(64 * _MIB))), "either"
    yield "bad_crc.png", encoded(picture(), "PNG")[:-20] + bytes(20), "either"
    yield "no_idat.png", head + _chunk(b"IEND", b""), "reject"
    yield "chunk_len_max.png", _SIGNATURE + b"\xff\xff\xff\xffIHDR" + bytes(100), "reject"
    yield "apng_10000.png", _png(head + _chunk(b"acTL", struct.pack(">II", 0x7FFFFFFF, 0)), pixels), "either"


def _jpegs() -> Iterator[tuple[str, bytes, Expect]]:
    plain = encoded(picture(), "JPEG")
    frame = plain.find(b"\xff\xc0")
    for width, height in ((65535, 65535), (65500, 65500), (0, 10), (10, 0)):
        yield f"sof_{width}x{height}.jpg", patched(plain, frame + 5, struct.pack(">HH", height, width)), "reject"
    scans = encoded(picture(64, 64), "JPEG", progressive=True)
    first = scans.find(b"\xff\xda")
    yield "jpeg_many_scans.jpg", scans[:-2] + scans[first:-2] * 2000 + b"\xff\xd9", "either"
    block = b"\xff\xe1" + struct.pack(">H", 65533) + b"Exif\0\0" + bytes(65525)
    yield "jpeg_exif_bomb.jpg", plain[:2] + block * 100 + plain[2:], "either"


def _others() -> Iterator[tuple[str, bytes, Expect]]:
    gif, tiff, bmp = encoded(picture(mode="P"), "GIF"), encoded(picture(), "TIFF"), encoded(picture(), "BMP")
    yield "gif_screen_65535.gif", patched(gif, 6, struct.pack("<HH", 65535, 65535)), "reject"
    (page,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, page)
    yield "tiff_ifd_loop.tif", patched(tiff, page + 2 + 12 * count, struct.pack("<I", page)), "either"
    yield "bmp_65535.bmp", patched(bmp, 18, struct.pack("<ii", 65535, 65535)), "reject"
    yield "bmp_neg.bmp", patched(bmp, 18, struct.pack("<ii", 32, -24)), "either"
    yield "bmp_minint.bmp", patched(bmp, 18, struct.pack("<ii", 32, -(2**31))), "reject"
    size = struct.pack("<I", 16382 | 16382 << 14)
    lossless = b"WEBPVP8L" + struct.pack("<I", 18) + b"\x2f" + size + bytes(13)
    yield "webp_16383.webp", b"RIFF" + struct.pack("<I", 30) + lossless, "reject"
