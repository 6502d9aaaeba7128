"""A legal picture of 8K has room, a machine is not filled, and devices are not held to addresses."""

from __future__ import annotations

import resource

import pytest

from tests.support import inmates
from upscale_server.cage import Bounds, Cage, room_for

_8K = 8192 * 4320
_GIB = 1 << 30


def test_room_is_by_the_size_of_the_pictures() -> None:
    """8K at 10 bits was measured to take 2.4 GB of addresses; two files open at once have room for both."""
    assert 2 * _GIB < room_for(1920 * 1080) < 3 * _GIB
    assert 6 * _GIB < room_for(_8K) < 8 * _GIB
    assert room_for(_8K, _8K) - room_for(_8K) == room_for(_8K) - room_for()


@pytest.mark.slow
def test_a_device_may_reserve_addresses_and_not_take_memory() -> None:
    """CUDA reserves more addresses than any bound; memory that is really its own stays bounded."""
    cage = Cage((inmates.__name__,))
    plain = cage.call(inmates.bounds, kind=tuple[int, int], bounds=Bounds(_GIB))
    device = cage.call(inmates.bounds, kind=tuple[int, int], bounds=Bounds(_GIB, devices=True))
    cage.close()

    assert (_GIB, _GIB) == (plain[0], device[1])
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == device[0]
