"""Each guard around media, with an attack that it stops and that gets through where the guard is taken out.

A guard that is never missed is none: PyAV takes any option in silence, and most of these were written twice.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from tests.support import attacked, inmates
from tests.support.corpus.films import Film, film
from upscale_server.cage import Bounds, Cage, InmateDied
from upscale_server.errors import (
    Canceled,
    CodecNotAllowed,
    NotMedia,
    SourceCorrupt,
    SourceError,
    SourceTooLarge,
    TooManyPixels,
    UnsupportedFormat,
    UpscaleError,
)
from upscale_server.media import admission, decode, image, image_meta, poster, probe, source
from upscale_server.media.types import Segment, Tally

_WHOLE = Segment(0, None, None, None)
_MIB = 1 << 20


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _sizes(path: Path) -> list[tuple[int, ...]]:
    """Return the sizes of the frames that come out of a file."""
    info = probe.probe(path)
    return [frame.planes[0].shape[::-1] for frame in decode.decode_segment(info, _WHOLE, Tally())]


def test_text_that_names_a_file_is_not_followed_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Demuxers by list: without it, a text called .mp4 gives the pictures of the film beside it."""
    _file(tmp_path, "secret.mp4", film(Film(count=3)))
    text = _file(tmp_path, "a.mp4", b"ffconcat version 1.0\nfile secret.mp4\n")

    with pytest.raises(SourceError):
        source.open_source(text)

    monkeypatch.setitem(source._OPTIONS, "format_whitelist", "concat,mov")
    with source.open_source(text) as opened:
        assert (64, 48) == (opened.streams.video[0].width, opened.streams.video[0].height)


def test_codec_that_nobody_needs_meets_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codecs by list, ours: PyAV's decoders know of no allow-list; without it, MagicYUV's pictures come out."""
    path = _file(tmp_path, "a.avi", film(Film("avi", "magicyuv", count=3, pixel_format="yuv444p")))

    with pytest.raises(CodecNotAllowed, match="magicyuv"):
        probe.probe(path)
    with pytest.raises(CodecNotAllowed, match="magicyuv"):
        poster.poster_of(path)

    monkeypatch.setattr(admission, "VIDEO", admission.VIDEO | {"magicyuv"})
    assert [(64, 48)] * 3 == _sizes(path)


def test_codec_that_nobody_needs_is_not_decoded_while_a_file_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codecs by list, FFmpeg's: to learn a pixel format it decodes by itself, before anybody can look at the codec."""
    path = _file(tmp_path, "a.avi", film(Film("avi", "magicyuv", count=3, pixel_format="yuv444p")))

    with source.open_source(path) as opened:
        assert opened.streams.video[0].codec_context.pix_fmt is None

    monkeypatch.setattr(source, "decoders", lambda: "magicyuv")
    with source.open_source(path) as opened:
        assert "yuv444p" == opened.streams.video[0].codec_context.pix_fmt


def test_stream_that_grows_takes_no_memory_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`max_pixels` on the decoder: it fails the packets; without it, the pictures are decoded and refused too late."""
    path, tally = _file(tmp_path, "a.h264", attacked.raw(16, 16) + attacked.raw(2048, 1088)), Tally()
    info = probe.probe(path)

    list(decode.decode_segment(info, _WHOLE, tally))
    assert 5 == tally.packets_failed

    monkeypatch.setattr(decode, "bound_decoder", lambda *_: None)
    with pytest.raises(UnsupportedFormat, match="2048x1088"):
        list(decode.decode_segment(info, _WHOLE, Tally()))


def test_header_that_names_a_huge_picture_is_refused_on_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size on the header: without it, the decoder is asked for its pictures."""
    path = _file(tmp_path, "a.mp4", film(Film(width=640, height=480, count=3)))

    with pytest.raises(TooManyPixels, match="640x480"):
        probe.probe(path, 640 * 480 - 1)

    monkeypatch.setattr(admission, "check_pixels", lambda *_: None)
    assert 640 == probe.probe(path, 640 * 480 - 1).size.width


def test_every_frame_is_looked_at_while_a_file_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of each frame: five are small, the sixth is not, and the header is believed here."""
    path = _file(tmp_path, "a.h264", attacked.raw(64, 48) + attacked.raw(640, 480))
    monkeypatch.setattr(probe, "admit", lambda *_: None)

    with pytest.raises(TooManyPixels, match="640x480"):
        probe.probe(path, 64 * 48)

    monkeypatch.setattr(probe, "of_size", lambda frames, *_: frames)
    assert 64 == probe.probe(path, 64 * 48).size.width


def test_frame_of_another_size_goes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One size for a whole job: without the check, filters, networks and encoders meet planes of another."""
    path = _file(tmp_path, "a.h264", attacked.raw(64, 48) + attacked.raw(128, 96))

    with pytest.raises(UnsupportedFormat, match="128x96"):
        _sizes(path)

    monkeypatch.setattr(decode, "_of_one_size", lambda frames, *_: frames)
    assert {(64, 48), (128, 96)} == set(_sizes(path))


def test_file_of_too_many_streams_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams by number, FFmpeg's and ours: each costs a decoder's memory. Without either, all are there."""
    path = _file(tmp_path, "a.mkv", attacked.many_streams(600))

    with pytest.raises(UnsupportedFormat, match="more than 500 streams"):
        source.open_source(path)

    monkeypatch.setitem(source._OPTIONS, "max_streams", "1000")
    with pytest.raises(UnsupportedFormat, match="more than 500 streams"):
        source.open_source(path)
    monkeypatch.setattr(source, "MOST_STREAMS", 1000)
    with source.open_source(path) as opened:
        assert 600 == len(opened.streams)


@pytest.fixture(scope="module")
def cage() -> Iterator[Cage]:
    """Give a cage whose inmates know these attacks."""
    one = Cage((inmates.__name__, attacked.__name__))
    yield one
    one.close()


def test_memory_without_end_is_not_there(cage: Cage) -> None:
    """The bound on memory: without it, what a header promises is taken."""
    with pytest.raises(SourceTooLarge):
        cage.call(attacked.takes, 2048 * _MIB, kind=int, bounds=Bounds(memory_bytes=1024 * _MIB))

    assert 2048 * _MIB == cage.call(attacked.takes, 2048 * _MIB, kind=int, bounds=Bounds(memory_bytes=1 << 46))


def test_nothing_is_written_by_who_reads(cage: Cage, tmp_path: Path) -> None:
    """The bound on files: without it, an inmate that was taken over fills the disk."""
    with pytest.raises(UpscaleError, match="File too large"):
        cage.call(attacked.writes, tmp_path / "a", kind=int, bounds=Bounds(writes=(tmp_path,)))

    may_write = Bounds(file_bytes=_MIB, writes=(tmp_path,))
    assert 5000 == cage.call(attacked.writes, tmp_path / "b", kind=int, bounds=may_write)


def test_reading_that_goes_no_further_is_ended() -> None:
    """The watchdog: without it, a decoder in a loop is waited for until somebody cancels the job."""
    watched, unwatched = _waiting_cage(1.0), _waiting_cage(3600.0)

    with pytest.raises(InmateDied, match="no packet further"):
        watched.call(inmates.hangs, "loops", kind=None)
    with pytest.raises(Canceled, match="nobody ended it"):
        unwatched.call(inmates.hangs, "loops", kind=None)

    for one in (watched, unwatched):
        one.close()


def _waiting_cage(silent_seconds: float) -> Cage:
    """Return a cage whose requests are given up after thirty looks, three seconds, by somebody else."""
    looks = iter(range(30))

    def check() -> None:
        if next(looks, None) is None:
            raise Canceled("nobody ended it")

    return Cage((inmates.__name__,), silent_seconds=silent_seconds, check=check)


@pytest.mark.parametrize("kind", ["PCX", "SGI", "DDS"])
def test_picture_of_a_kind_that_nobody_asked_for_is_not_opened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Formats by name: without it, whatever Pillow has a plugin for is parsed."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, kind)
    path = _file(tmp_path, "a.png", content.getvalue())

    with pytest.raises((NotMedia, UnsupportedFormat)):
        image.load(path)

    monkeypatch.setattr(image, "FORMATS", None)
    assert (16, 16) == image.load(path).pixels.shape[1::-1]


def test_bomb_is_refused_before_it_is_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size on the header: not a row is decoded; without it, four megapixels come out of two kilobytes."""
    content = io.BytesIO()
    Image.new("1", (2000, 2000)).save(content, "PNG")
    path = _file(tmp_path, "a.png", content.getvalue())
    loaded: list[str] = []
    load = PngImagePlugin.PngImageFile.load
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: loaded.append("a") or load(self))

    with pytest.raises(TooManyPixels, match="2000x2000"):
        image.load(path, max_pixels=1_000_000)
    assert [] == loaded

    monkeypatch.setattr(image, "check_size", lambda *_, **__: None)
    assert 2000 * 2000 == image.load(path, max_pixels=1_000_000).pixels.size


def test_metadata_without_end_are_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest block: without it, seventeen megabytes of text go along into every result."""
    path = _file(tmp_path, "a.png", _png_with(b"tEXt", b"k\0" + b"x" * 17 * _MIB))

    assert () == image.load(path).attachments.png_chunks

    monkeypatch.setattr(image_meta, "_MAX_BYTES", 1 << 40)
    assert 17 * _MIB < sum(len(body) for _, body in image.load(path).attachments.png_chunks)


def test_text_that_inflates_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest text, Pillow's own: without it, 64 MiB are inflated from 64 KiB."""
    path = _file(tmp_path, "a.png", _png_with(b"zTXt", b"k\0\0" + zlib.compress(bytes(64 * _MIB))))

    with pytest.raises(SourceCorrupt, match="too large"):
        image.load(path)

    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 40)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1 << 40)
    assert (8, 8) == image.load(path).pixels.shape[:2]


def _png_with(kind: bytes, body: bytes) -> bytes:
    """Return a small PNG with one chunk more."""
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    whole, head = content.getvalue(), 33  # the signature and IHDR
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return whole[:head] + chunk + whole[head:]
