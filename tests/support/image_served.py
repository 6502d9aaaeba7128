"""Serve the image service on loopback in a thread: real HTTP, real guard, real pictures, and models of one's choice.

`Gate` makes a real model wait, so that a test decides when a picture is under way; it computes nothing itself.
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.support.cli_runner import COMMAND
from tests.support.served import settings_in
from tests.support.server import Server, starting, url_of
from upscale_server.events import Observer
from upscale_server.image_settings import ImageSettings
from upscale_server.media.types import Size
from upscale_server.models.base import Upscaler
from upscale_server.service.image import ImageService, Opener
from upscale_server.service.picture_facts import Ask, Facts
from upscale_server.service.picture_models import PictureModels, open_models
from upscale_server.settings import Settings
from upscale_server.web.image_app import create_app
from upscale_server.web.serve import server_of

COMMAND_IMAGE = (*COMMAND, "serve", "image")
WAIT_SECONDS = 60.0
"""Longest wait for a fact on a busy machine; a limit and no expectation."""


@dataclass(slots=True)
class Gate:
    """Models that begin a picture only when `open` is set; `entered` counts those that wait or went through."""

    inner: PictureModels
    open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def facts(self) -> Facts:
        """Return what runs."""
        return self.inner.facts

    def at(self, ask: Ask, size: Size, observer: Observer) -> Sequence[Upscaler]:
        """Wait for the gate, then return the passes."""
        self.entered.release()
        if not self.open.wait(WAIT_SECONDS):
            raise TimeoutError
        return self.inner.at(ask, size, observer)

    def close(self) -> None:
        """Release the models."""
        self.inner.close()


@dataclass(frozen=True, slots=True)
class ImagesServed:
    """A running image server: its service, its address, and a client that talks to it."""

    service: ImageService
    url: str
    client: httpx.Client

    def upscale(self, content: bytes, name: str = "in.png", **words: Any) -> httpx.Response:  # noqa: ANN401 - a query
        """Send one picture."""
        return self.client.post("/upscale", files={"file": (name, content)}, params=words)


def image_settings(folder: Path, **more: Any) -> Settings:  # noqa: ANN401 - whatever settings hold
    """Return settings of a server that works with Lanczos, which needs no time."""
    given = {"model": "lanczos", **more.pop("image", {})}
    return settings_in(folder, image=ImageSettings(**given), **more)


@contextmanager
def serving_images(settings: Settings, opener: Opener = open_models, **headers: str) -> Iterator[ImagesServed]:
    """Serve until the block ends, then drain; the models are loaded when it begins, where they can be."""
    told = threading.Event()
    service = ImageService(settings, opener, told.set)
    door = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    server = server_of(create_app(service))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, name="server")
    thread.start()
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=WAIT_SECONDS, trust_env=False) as client:
            client.get("/livez").raise_for_status()  # waits in the door's queue until the server is there
            if opener is open_models:
                assert told.wait(WAIT_SECONDS)
            yield ImagesServed(service, url, client)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def running_images(
    state: Path, *flags: str | Path, environment: dict[str, str] | None = None, command: Sequence[str] = ()
) -> Iterator[Server]:
    """Start an image server as a process and wait until its models are loaded."""
    start = command or COMMAND_IMAGE
    with starting(state, *flags, environment=environment, command=start) as server:
        server.url = url_of(server)
        server.line("ready at http")
        yield server


def picture_file(width: int = 32, height: int = 24, kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    """Return the file of a smooth picture: a gradient, so that an enlargement can be told from another picture."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), np.full_like(x, 90)], axis=2)
    image = Image.fromarray(rgb.astype(np.uint8)).convert(mode)
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def opened(content: bytes) -> Image.Image:
    """Return a loaded picture."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image
