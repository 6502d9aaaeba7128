"""The parts of several processes that can be seen without starting them: GPUs, and who takes a connection."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from tests.support.image_served import image_settings
from upscale_server.cli.named import IMAGE_GROUP, fill_in
from upscale_server.image_settings import Tsdsr
from upscale_server.web import image_child
from upscale_server.web.image_child import VISIBLE, gpu_for
from upscale_server.web.shared_door import Acceptor


@pytest.mark.parametrize(
    ("index", "visible", "count", "expected"),
    [
        (0, None, 1, None),
        (3, None, 0, None),
        (0, None, 2, "0"),
        (1, None, 2, "1"),
        (2, None, 2, "0"),
        (1, "4,6", 8, "6"),
        (1, "4", 8, None),
        (1, "", 2, None),
    ],
)
def test_processes_spread_over_the_gpus_that_may_be_seen(
    index: int, visible: str | None, count: int, expected: str | None
) -> None:
    """In turns; what CUDA_VISIBLE_DEVICES hides stays hidden, and one GPU is shared without a word."""
    assert expected == gpu_for(index, visible, count)


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("cuda:1", None, ("1", "cuda")),
        ("cuda:1", "4,6", ("6", "cuda")),
        ("cuda:0", "GPU-a,GPU-b", ("GPU-a", "cuda")),
        ("cuda:0", "4", ("4", "cuda")),
        ("cuda:2", None, (None, "cuda:2")),
        ("cuda:1", "4", ("4", "cuda:1")),
        ("cuda", None, ("0", "cuda")),
        ("auto", None, ("0", "auto")),
    ],
)
def test_a_gpu_that_is_named_is_the_one_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, expected: tuple[str | None, str]
) -> None:
    """Of two: it is the only one that is seen, and then the first; one that is not there is refused by its name."""
    monkeypatch.setattr(image_child, "nvidia_gpus", lambda: ("NVIDIA A100", "NVIDIA H200"))
    monkeypatch.setenv(VISIBLE, visible or "")  # so that what the function sets is taken back
    if visible is None:
        monkeypatch.delenv(VISIBLE)

    found = image_child.with_own_gpu(image_settings(tmp_path, tsdsr=Tsdsr(device=device)), 0)

    assert expected == (os.environ.get(VISIBLE), found.tsdsr.device)


def test_the_scripts_constants_become_settings_of_the_image_server() -> None:
    """Where the environment says nothing."""
    environment = {"UPSCALE_IMAGE__WORKERS": "3"}

    fill_in({f"{IMAGE_GROUP}WORKERS": 1, f"{IMAGE_GROUP}UPSCALE": 4, f"{IMAGE_GROUP}MODEL": ""}, environment)

    assert {"UPSCALE_IMAGE__WORKERS": "3", "UPSCALE_IMAGE__UPSCALE": "4"} == environment


class Noted(asyncio.Protocol):
    """Notes that a connection was made, and closes it."""

    def __init__(self, taken: list[str], name: str) -> None:
        self._taken = taken
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who took it."""
        self._taken.append(self._name)
        transport.close()


def test_the_less_busy_one_takes_the_connections() -> None:
    """Two at one door: the one with work to do lets the other go first, every time."""
    taken: list[str] = []

    async def many() -> None:
        door = socket.create_server(("127.0.0.1", 0))
        doors = [door, door.dup()]
        both = [
            Acceptor(doors[0], lambda: Noted(taken, "busy"), lambda: 10),
            Acceptor(doors[1], lambda: Noted(taken, "idle"), lambda: 0),
        ]
        address = door.getsockname()
        for _ in range(10):
            reader, writer = await asyncio.open_connection(*address)
            assert b"" == await reader.read()
            writer.close()
        for one in both:
            one.close()
            await one.wait_closed()

    asyncio.run(many())

    assert ["idle"] * 10 == taken


def test_a_busy_one_takes_what_nobody_else_does() -> None:
    """It waits a moment and then does."""
    taken: list[str] = []

    async def one() -> None:
        door = socket.create_server(("127.0.0.1", 0))
        acceptor = Acceptor(door, lambda: Noted(taken, "busy"), lambda: 1000)
        reader, writer = await asyncio.open_connection(*door.getsockname())
        assert b"" == await reader.read()
        writer.close()
        acceptor.close()
        await acceptor.wait_closed()

    asyncio.run(one())

    assert ["busy"] == taken
