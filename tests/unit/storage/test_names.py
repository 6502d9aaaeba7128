"""Names for downloads: safe in a header and in a folder, whatever a stranger called the file."""

from __future__ import annotations

import re
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale_server.storage.names import clean_name, disposition


@given(st.text())
def test_a_name_is_one_name(text: str) -> None:
    """No folder, no control or direction character, no hidden file, no more bytes than a file system takes."""
    name = clean_name(text, "download")

    assert name
    assert not re.search(r"[/\\\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", name)
    assert name not in (".", "..")
    assert not name.startswith(".")
    assert len(name.encode()) <= 200


@given(st.text())
def test_a_header_is_plain_ascii_on_one_line(text: str) -> None:
    """It cannot end early or hold another header, and readers of RFC 8187 get the whole name."""
    header = disposition(text)
    message = Message()
    message["Content-Disposition"] = header.replace(re.findall(r'filename="[^"]*"; ', header)[0], "")

    assert re.fullmatch(r"attachment; filename=\"[A-Za-z0-9._ -]+\"; filename\*=UTF-8''[A-Za-z0-9._~%-]+", header)
    assert clean_name(text, "download") == message.get_filename()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("film.mp4", "film.mp4"),
        ("映画.mp4", "映画.mp4"),
        ("../../etc/cron.d/x", "_.._etc_cron.d_x"),
        ('a";\r\nX-Evil: 1.mp4', "a_;X-Evil_ 1.mp4"),
        ("\u202egpj.exe", "gpj.exe"),
        ("...", "download"),
        ("", "download"),
        ("a" * 300 + ".mp4", "a" * 196 + ".mp4"),
        ("映" * 300 + ".mp4", "映" * 65 + ".mp4"),
        ("a" * 300 + "." + "b" * 9, "a" * 200),
        ("a" + " ." * 200_000 + "映" * 9, "a"),
        (" ." * 200_000 + "映 .mp4. ", "映 .mp4"),
    ],
)
def test_what_becomes_of_some_names(text: str, expected: str) -> None:
    """Letters of all languages stay; what could do harm goes; a long name keeps its suffix."""
    assert expected == clean_name(text, "download")
