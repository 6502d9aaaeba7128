"""The options that FFmpeg is given for a stranger's file, each with what happens where it is taken out.

FFmpeg takes an option that it does not know in silence: one that is never missed may never have been there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.support.canary import Canary
from tests.support.corpus.films import Film, film
from upscale_server import whole
from upscale_server.errors import SourceError, SourceTruncated
from upscale_server.media import source
from upscale_server.media.probe import probe_with_index
from upscale_server.wish import Wish


def _opens(path: Path) -> int:
    """Return how many frames come out of a file, 0 where none does."""
    try:
        with source.open_source(path) as opened:
            return sum(1 for _ in opened.decode(video=0))
    except (SourceError, av.FFmpegError):
        return 0


def test_no_protocol_but_files_is_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocols by list: where a playlist is let in, its address is dialled without it."""
    monkeypatch.setitem(source._OPTIONS, "format_whitelist", "hls,mpegts")
    with Canary() as canary:
        address = f"http://127.0.0.1:{canary.port}/a.ts"
        playlist = tmp_path / "a.m3u8"
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")

        _opens(playlist)
        kept = canary.visits
        monkeypatch.setitem(source._OPTIONS, "protocol_whitelist", "file,http,tcp")
        _opens(playlist)

        assert (0, True) == (kept, canary.visits > 0)


def test_no_other_file_is_read_in_the_place_of_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """References of QuickTime: without the option, the pictures of the film beside it come out of an empty one."""
    secret = film(Film(count=3))
    (tmp_path / "secret.mp4").write_bytes(secret)
    path = tmp_path / "a.mp4"
    path.write_bytes(_referring(_emptied(secret), b"secret.mp4"))

    assert 0 == _opens(path)

    monkeypatch.setitem(source._OPTIONS, "enable_drefs", "1")
    assert 3 == _opens(path)


def test_half_a_file_is_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part that must be there: without it, what came before the line broke is upscaled as if it were all."""
    path = tmp_path / "a.mkv"
    content = film(Film("matroska", count=50))
    path.write_bytes(content[: len(content) // 2])
    probed = probe_with_index(path)
    there, wish = len(probed.index.pts), Wish(scale=2, allow_partial=False)

    with pytest.raises(SourceTruncated):
        whole.check_enough(there, whole.least_frames(probed, wish, there))

    monkeypatch.setattr(whole, "LEAST_PART", 0.0)
    whole.check_enough(there, whole.least_frames(probed, wish, there))


def _emptied(content: bytes) -> bytes:
    """Return an MP4 whose media are all zero."""
    at, size = next((at, size) for kind, at, size in _boxes(content, 0, len(content)) if kind == b"mdat")
    return content[: at + 8] + bytes(size - 8) + content[at + size :]


def _referring(content: bytes, name: bytes) -> bytes:
    """Return an MP4 whose media are said to lie in a file beside it.

    Source: FFmpeg, libavformat/mov.c, `mov_read_dref`: an alias record with levels and an absolute path.
    """
    path = b"/x/" + name
    alias = bytes(10) + b"\4" + b"disk".ljust(27, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    alias += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    alias += struct.pack(">HH", 2, len(path)) + path + bytes(len(path) % 2) + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    made = bytearray(content)
    outer = list(_down_to(content, b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"))
    at, size = outer.pop()
    made[at : at + size] = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    for place, length in outer:
        made[place : place + 4] = struct.pack(">I", length + 16 + len(entry) - size)
    return bytes(made)


def _down_to(content: bytes, *kinds: bytes) -> Iterator[tuple[int, int]]:
    """Yield place and size of a box, of one within it, and so on."""
    at, end = 0, len(content)
    for wanted in kinds:
        place, size = next((at, size) for kind, at, size in _boxes(content, at, end) if kind == wanted)
        yield place, size
        at, end = place + 8, place + size


def _boxes(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place and size of the boxes of one level."""
    while at + 8 <= end:
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        yield kind, at, size
        at += size
