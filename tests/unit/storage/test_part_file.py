"""A source that has its name is whole, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from upscale_server.storage.part_file import PartFile, Version


def test_the_bytes_are_on_the_disk_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds the name trusts the file, so the order matters."""
    happened: list[str] = []
    synced, renamed = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (happened.append("synced"), synced(number))[1])
    monkeypatch.setattr(Path, "replace", lambda old, new: (happened.append("named"), renamed(old, new))[1])

    with PartFile(tmp_path / "source", "http://a/v.mp4") as part:
        part.restart(Version('"e"', "", 3))
        part.write(b"abc")
        part.finish()

    assert ["synced", "named"] == happened[:2]
    assert b"abc" == (tmp_path / "source").read_bytes()
