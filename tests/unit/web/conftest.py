"""What the tests of the web face share: a server whose workers do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.service import VideoService


@pytest.fixture
def pool() -> IdlePool:
    """Give workers that do nothing."""
    return IdlePool()


@pytest.fixture
def served(tmp_path: Path, pool: IdlePool) -> Iterator[Served]:
    """Give a running server."""
    with serving(VideoService(settings_in(tmp_path), pool)) as running:
        yield running
