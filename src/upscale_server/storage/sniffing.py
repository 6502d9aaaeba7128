"""Turns away what is plainly no media by its first bytes, so that a web page is not downloaded to its end.

What a file really is, the demuxer decides; names and content types are looked at nowhere.
"""

from __future__ import annotations

import re

from upscale_server.errors import NotMedia

SNIFFED_BYTES = 4096
"""A box or a header of any container shows a byte that no text has long before."""
BLANK_BYTES = 1 << 20
"""The demuxers look no further for the beginning of a file than this."""

_MARKS = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"!<arch>\n", "an ar archive"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"SQLite format 3\0", "a database"),
)
_TAR_AT, _TAR = 257, b"ustar"
_TEXT_MEDIA = b"YUV4MPEG2"
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def refuse_non_media(head: bytes) -> None:
    """Refuse a file by its first bytes (up to `SNIFFED_BYTES` of them).

    Raises:
        NotMedia: it is empty, a page, a playlist or other text, an archive, a document or a program.
    """
    if not head:
        raise NotMedia("the source is empty (0 bytes)")
    for mark, what in _MARKS:
        if head.startswith(mark):
            raise NotMedia(f"the source is {what}; a video file is expected")
    if head[_TAR_AT:].startswith(_TAR):
        raise NotMedia("the source is a tar archive; a video file is expected")
    start = head.removeprefix(_BYTE_ORDER_MARK).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        raise NotMedia("the source is a web page; a video file is expected", hint="use the link to the file itself")
    if start.startswith((b"#extm3u", b"ffconcat", b"<mpd")):
        raise NotMedia("the source is a playlist; what it names is not fetched", hint="use the link to the file itself")
    if _is_text(head):
        raise NotMedia("the source is text; a video file is expected")


def refuse_blank(head: bytes) -> None:
    """Refuse a file whose first `BLANK_BYTES` say nothing, before its gigabytes come.

    Raises:
        NotMedia: they are all zeros.
    """
    if len(head) >= BLANK_BYTES and not head.strip(b"\0"):
        raise NotMedia(f"the source begins with {BLANK_BYTES} zero bytes; a video file is expected")


def _is_text(head: bytes) -> bool:
    if head.startswith(_TEXT_MEDIA):
        return False
    if head.startswith(_WIDE_MARKS):  # UTF-16, half of whose bytes are zero
        return _decodes(head[: len(head) & ~1], "utf-16", spare=2)
    if _NO_TEXT.search(head) is not None:
        return False
    return _decodes(head, "utf-8", spare=3)


def _decodes(head: bytes, encoding: str, spare: int) -> bool:
    """Tell whether bytes are text in an encoding, whose last letter may be cut in half where there is more of it."""
    try:
        head.decode(encoding)
    except UnicodeDecodeError as err:
        return len(head) == SNIFFED_BYTES and err.start >= len(head) - spare
    return True
