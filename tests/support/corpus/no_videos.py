"""What is no video: playlists and other texts that name files and addresses, archives, programs, nothing at all.

None of them may be followed; the addresses are loopback's discard port.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator

from tests.support.corpus.entry import Entry
from tests.support.corpus.odd_videos import bases, zipped

_GROUP = "v_notmedia"
_PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s\n#EXT-X-ENDLIST\n"
_CONCAT = b"ffconcat version 1.0\n"
_DASH = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
    b'<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    b"<BaseURL>file:///etc/passwd</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
_SDP = (
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
_ENTITY = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="http://127.0.0.1:9/x"/></svg>'
_STYLED = b"[Script Info]\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,x,,0,0,0,,hi\n"
_HUGE_Y4M = b"YUV4MPEG2 W65535 H65535 F25:1 Ip A1:1 C420\nFRAME\n" + bytes(1000)


def no_videos() -> Iterator[Entry]:
    """Yield all of them; each must be refused, but for one that a text demuxer may take for a picture."""
    for name, content in {**_references(), **_texts(), **_bytes()}.items():
        yield Entry(_GROUP, name, content, "either" if name == "ansi.nfo" else "reject")


def _references() -> dict[str, bytes]:
    return {
        "hls_http.mp4": _PLAYLIST % b"http://127.0.0.1:9/x.ts",
        "hls_file.m3u8": _PLAYLIST % b"file:///etc/passwd",
        "hls_master.m3u8": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:9/c.m3u8\n",
        "hls_concat.m3u8": _PLAYLIST % b"concat:http://127.0.0.1:9/a|file:///etc/passwd",
        "hls_subfile.m3u8": _PLAYLIST % b"subfile,,start,0,end,64,,:/etc/passwd",
        "ffconcat_abs.mp4": _CONCAT + b"file /etc/passwd\n",
        "ffconcat_sibling.mp4": _CONCAT + b"file base.mp4\nfile base.mp4\n",
        "ffconcat_dotdot.mp4": _CONCAT + b"file ../v_base/base.mp4\n",
        "ffconcat_http.mp4": _CONCAT + b"file http://127.0.0.1:9/x\n",
        "sdp.mp4": _SDP,
        "dash.mp4": _DASH,
        "xml.mp4": _ENTITY,
        "svg.mp4": _SVG,
    }


def _texts() -> dict[str, bytes]:
    return {
        "text.mp4": b"hello world\n" * 500,
        "html_200.mp4": b"<!doctype html><html><body>Not found</body></html>" * 20,
        "json.mp4": json.dumps({"error": "x"}).encode(),
        "shell.mp4": b"#!/bin/sh\nid\n",
        "srt.mp4": b"1\n00:00:00,000 --> 00:00:10,000\nhi\n",
        "ass.mp4": _STYLED,
        "ffmeta.mp4": b";FFMETADATA1\ntitle=x\n",
        "ansi.nfo": b"\x1b[31mansi art\x1b[0m\n" * 50,
        "pdf.mp4": b"%PDF-1.4\n1 0 obj<<>>endobj\n%%EOF",
        "y4m_huge.y4m": _HUGE_Y4M,
    }


def _bytes() -> dict[str, bytes]:
    rng = random.Random(7)
    return {
        "empty.mp4": b"",
        "one_byte.mp4": b"\0",
        "zeros_1M.mp4": bytes(1 << 20),
        "random_256k.mp4": rng.randbytes(1 << 18),
        "elf.mp4": b"\x7fELF\2\1\1" + rng.randbytes(4096),
        "zip.mp4": zipped(bases()["mp4"]),
        "gzip.mp4": gzip.compress(bases()["mp4"], mtime=0),
    }
