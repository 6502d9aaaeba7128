"""Free memory is what the system has and what the container's limit leaves, whichever is less."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscale_server.models import host_memory

GIB = 1 << 30


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a system with 64 GiB free and a container that holds 10 of its 16 GiB, 3 of them files' pages."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {64 * GIB // 1024} kB\n")
    (tmp_path / "memory.max").write_text(f"{16 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{10 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {7 * GIB}\ninactive_file {2 * GIB}\nactive_file {GIB}\nslab 5\n")
    monkeypatch.setattr(host_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(host_memory, "_CGROUP", tmp_path)
    return tmp_path


def test_the_containers_limit_counts(told: Path) -> None:
    """What is used and cannot be dropped is taken off; without a limit the system's word holds."""
    assert 9 * GIB == host_memory.free_bytes()
    (told / "memory.max").write_text("max\n")
    assert 64 * GIB == host_memory.free_bytes()
    (told / "memory.max").unlink()
    assert 64 * GIB == host_memory.free_bytes()
    (told / "meminfo").unlink()
    assert host_memory.free_bytes() is None
