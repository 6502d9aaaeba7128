"""One running server for most of these tests, and the sources that it is asked to fetch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.server import Server, running, serving

LONG_SECONDS = 100.0
"""Limit of a blocking call: far above what these tiny clips take on a busy machine."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Clips in a folder that is served on loopback."""

    folder: Path
    url: str

    def address(self, name: str) -> str:
        """Return the address of a clip."""
        return f"{self.url}/{name}"


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    """Give small clips: three pictures are enough for every step, and 8K of them is still quick."""
    folder = tmp_path_factory.mktemp("sources")
    tone = (Sound(seconds=0.1),)
    write_clip(Clip(pictures=(Picture(width=96, height=54, frame_count=3),), sounds=tone), folder / "small.mp4")
    write_clip(Clip(pictures=(Picture(width=54, height=96, frame_count=3),)), folder / "portrait.mp4")
    write_clip(Clip(pictures=(Picture(width=1920, height=1080, frame_count=2),)), folder / "full-hd.mp4")
    write_clip(Clip(pictures=(Picture(width=160, height=90, frame_count=12),)), folder / "round-1.mp4")
    write_clip(Clip(pictures=(Picture(width=176, height=100, frame_count=12),)), folder / "round-2.mp4")
    write_clip(Clip(pictures=(Picture(width=320, height=180, frame_count=24),)), folder / "long.mp4")
    (folder / "page.mp4").write_text("<html>not found</html>")
    (folder / "cut.mp4").write_bytes((folder / "small.mp4").read_bytes()[:-300])
    with serving(folder) as url:
        yield Sources(folder, url)


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder that callers by path share with the server."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, shared_root: Path) -> Iterator[Server]:
    """Give a video server that works with Lanczos, which needs no time; networks are tested with the scripts."""
    environment = {"MODEL_PATH": "lanczos", "UPSCALE_SUBNET__SHARED_ROOT": str(shared_root)}
    with running(tmp_path_factory.mktemp("compat"), environment=environment) as one:
        yield one


@pytest.fixture(scope="session")
def http(server: Server) -> Iterator[httpx.Client]:
    """Give a plain HTTP client that knows nothing of us, as old callers are."""
    with httpx.Client(base_url=server.url, timeout=LONG_SECONDS, trust_env=False) as one:
        yield one
