"""What the tests of the web face share: a server whose workers do nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.service import VideoService


@pytest.fixture
def pool() -> IdlePool:
    """Give workers that do nothing."""
    return IdlePool()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give one running server to all tests of a module that are only refused and therefore leave nothing behind."""
    with pytest.MonkeyPatch.context() as patch:  # fixtures of single tests come later than this one
        for name in [name for name in os.environ if name.startswith("UPSCALE_")]:
            patch.delenv(name)
        with serving(VideoService(settings_in(tmp_path_factory.mktemp("refusing")), IdlePool())) as running:
            yield running


@pytest.fixture
def served(tmp_path: Path, pool: IdlePool) -> Iterator[Served]:
    """Give a running server."""
    with serving(VideoService(settings_in(tmp_path), pool)) as running:
        yield running
