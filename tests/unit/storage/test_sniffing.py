"""First bytes: pages, playlists, text and archives are turned away, everything else is left to the demuxer."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscale_server.errors import NotMedia
from upscale_server.storage.sniffing import BLANK_BYTES, SNIFFED_BYTES, refuse_blank, refuse_non_media


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "empty"),
        (b"\n\n <!DOCTYPE HTML>", "web page"),
        (b"\xef\xbb\xbf<html>", "web page"),
        (b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1/", "playlist"),
        (b"ffconcat version 1.0\nfile 'x'", "playlist"),
        (b"<MPD xmlns=''>", "playlist"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "text"),
        (b'{"error": "expired"}', "text"),
        (b"<?xml version='1.0'?><Error/>", "text"),
        (("a" + "é" * 3000).encode()[:SNIFFED_BYTES], "text"),  # ends in the middle of a letter
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"\x1f\x8b\x08" + bytes(100), "gzip"),
        (b"\x7fELF" + bytes(100), "program"),
        (b"MZ" + bytes(100), "program"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0" + bytes(100), "xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "zstandard"),
        (b"film" + bytes(253) + b"ustar\x0000", "tar"),
        (b"SQLite format 3\0" + bytes(100), "database"),
        ("<!doctype html>".encode("utf-16"), "text"),
        (("é" * 3000).encode("utf-16")[:SNIFFED_BYTES], "text"),
    ],
)
def test_what_is_no_media_is_named(head: bytes, what: str) -> None:
    """The message says what it is."""
    with pytest.raises(NotMedia, match=what):
        refuse_non_media(head)


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x20ftypisom", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI LIST", b"\x47" + bytes(187), b"FLV\x01",
        b"YUV4MPEG2 W16 H16 F25:1\nFRAME\n" + b"A" * 5000, b"\x89PNG\r\n\x1a\n", b"\xff\xfe" + bytes(range(256)),
        b"text" + b"\xff\xfe" * 100, b"OggS\0",
    ],
)  # fmt: skip
def test_what_may_be_media_passes(head: bytes) -> None:
    """Containers, raw video, and bytes that nobody knows."""
    refuse_non_media(head[:SNIFFED_BYTES])


def test_zeros_as_far_as_a_demuxer_looks_are_no_media() -> None:
    """Padding may come first; a mebibyte of it is a file without a beginning."""
    with pytest.raises(NotMedia, match="zero bytes"):
        refuse_blank(bytes(BLANK_BYTES))
    refuse_blank(bytes(BLANK_BYTES - 1) + b"\1")
    refuse_blank(bytes(5000))


def test_the_bundled_clip_passes(bundled_clip: Path) -> None:
    """A real file."""
    refuse_non_media(bundled_clip.read_bytes()[:SNIFFED_BYTES])
