"""What was found out on this machine, in a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from upscale_server.models.remembered import Remembered


def test_a_disk_that_is_full_collects_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the record nor half of it stays, and the old one is as it was."""
    memory = Remembered(tmp_path / "memory.json")
    memory.put("key", {"value": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    memory.put("key", {"value": 2})

    assert {"value": 1} == memory.get("key")
    assert ["memory.json"] == [path.name for path in tmp_path.iterdir()]
