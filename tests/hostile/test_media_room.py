"""The largest legal picture has room in a cage: memory is bounded by what a header says, and 8K is no bomb."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.corpus.films import Film, film
from upscale_server.audit import Audit, verify
from upscale_server.cage import Bounds, Cage, room_for
from upscale_server.media.look import Looked, look_at

_WIDTH, _HEIGHT = 8192, 4320
_PIXELS = _WIDTH * _HEIGHT


def test_a_film_of_8k_is_looked_at_and_audited_within_bounds(length: str, tmp_path: Path) -> None:
    """Source and output are open at once, each 8192x4320; that the bound bites is shown beside the other guards."""
    if length == "short":
        pytest.skip("8K takes half a minute: HOSTILE=full")
    path = tmp_path / "a.mp4"
    path.write_bytes(film(Film(width=_WIDTH, height=_HEIGHT, count=3, options={"x264-params": "ref=4"})))

    cage = Cage(("upscale_server.audit",))
    try:
        looked = cage.call(look_at, path, _PIXELS, kind=Looked, bounds=Bounds(room_for(_PIXELS)))
        found = cage.call(verify, path, path, kind=Audit, bounds=Bounds(room_for(_PIXELS, _PIXELS)))
    finally:
        cage.close()

    assert (_WIDTH, _HEIGHT) == (looked.info.size.width, looked.info.size.height)
    assert found.ok, found.faults
