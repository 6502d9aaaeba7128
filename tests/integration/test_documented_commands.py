"""The commands of the documentation, run as they stand there, page by page, each page in a folder of its own.

What an address or a file stands for is put in its place: a real server, a real clip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from tests.support import tiny_models
from tests.support.cli_runner import environment_for
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.documented import PAGES, ROOT, Block, blocks_of
from tests.support.image_served import COMMAND_IMAGE
from tests.support.server import LOOPBACK, running, serving, starting, url_of

LIMIT_SECONDS = 240
_SCRIPTS = ("*.py", "*.sh", "scripts", "deploy", "src", "examples", "constraints.txt")
RUN = {page: [block for block in blocks_of(page) if block.mark == "run"] for page in PAGES}
PAGES_TO_RUN = [page for page, blocks in RUN.items() if blocks]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder as a reader has it: a checkout's files, and some clips and pictures of their own."""
    for pattern in _SCRIPTS:
        for found in ROOT.glob(pattern):
            (tmp_path / found.name).symlink_to(found)
    clip = write_clip(Clip(pictures=(Picture(width=64, height=48, frame_count=12),)), tmp_path / "in.mp4")
    (tmp_path / "clips").mkdir()
    for copy in ("in.mkv", "film.mp4", "video.mp4", "clips/a.mp4", "clips/b.mp4"):
        shutil.copyfile(clip, tmp_path / copy)
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    (tmp_path / "images").mkdir()
    for name in ("photo.png", "input.png", "a.png", "b.jpg", "images/c.png"):
        picture.save(tmp_path / name)
    tiny_models.bilinear(tmp_path / "my_sr.onnx", tiny_models.Form())
    (tmp_path / "bin").mkdir()
    command = f'#!/bin/sh\nexec "{sys.executable}" -m upscale_server.cli.main "$@"\n'
    for name, text in (("upscale", command), ("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """Give an environment whose home is the folder, with the command on its path."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return environment_for({"HOME": str(folder), "PATH": path, "XDG_STATE_HOME": "", **LOOPBACK})


@pytest.mark.timeout(900)  # a page's commands are small, and there are many on a machine that may be busy
@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_work_as_they_stand(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Each block ends with exit code 0, one after the other, as a reader would go through the page."""
    with ExitStack() as stack:
        places = dict(_places(stack, folder, {block.about for block in RUN[page]}))
        for block in RUN[page]:
            _run(block, folder, environment, places)


def _places(stack: ExitStack, folder: Path, needed: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what stands in the pages and what is really there; servers run as long as the stack is open."""
    state = folder / ".local" / "state" / "upscale-server"
    if "video server" in needed:
        yield "https://example.com", stack.enter_context(serving(folder))
        yield "localhost:29115", stack.enter_context(running(state)).url.removeprefix("http://")
    if "image server" in needed:
        server = stack.enter_context(starting(state, command=COMMAND_IMAGE))
        server.line("ready at http")
        url = url_of(server)
        yield "http://127.0.0.1:8090", url
        yield "tsdsr_client.py", f"tsdsr_client.py --port {url.rpartition(':')[2]}"


def _run(block: Block, folder: Path, environment: dict[str, str], places: dict[str, str]) -> None:
    text = block.text
    for written, real in places.items():
        text = text.replace(written, real)
    done = subprocess.run(
        ["bash", "-eu", "-c", text],  # noqa: S607 - the shell that readers have
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
    )  # fmt: skip

    assert 0 == done.returncode, f"{block}\n{text}\n{done.stdout}\n{done.stderr}"
