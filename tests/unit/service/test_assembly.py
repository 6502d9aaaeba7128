"""What a server is made of that must stay the same from one start to the next."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from upscale_server.service.assembly import owner_name


def test_a_server_keeps_its_name_when_its_host_gets_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container has a new host name at every start; its leases are its own all the same."""
    before = owner_name(tmp_path)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="another"))

    assert before == owner_name(tmp_path)
    assert 0o600 == (tmp_path / "owner.id").stat().st_mode & 0o777


def test_two_servers_have_two_names(tmp_path: Path) -> None:
    """Two containers may share host name and path; neither takes the other's jobs back."""
    first, second = tmp_path / "a", tmp_path / "b"

    assert owner_name(first) != owner_name(second)
