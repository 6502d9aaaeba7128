"""What a form brings comes back as it came, wherever it waited."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale_server.web.spool import MEMORY_BYTES, Spool


@pytest.mark.slow
@given(
    pieces=st.lists(st.binary(max_size=40), max_size=12),
    writes=st.sets(st.integers(0, 11)),
    start=st.integers(0, 200),
    count=st.integers(0, 200),
)
def test_any_part_is_the_one_that_was_kept(pieces: list[bytes], writes: set[int], start: int, count: int) -> None:
    """Whatever lies on the disk, in memory, or half in each."""
    whole, spool = b"".join(pieces), Spool(Path(gettempdir()))
    for number, piece in enumerate(pieces):
        spool.take(piece)
        if number in writes:
            spool.write()

    assert len(whole) == spool.byte_count
    assert whole[start : start + count] == spool.read(start, count)
    spool.close()


def test_a_closed_one_has_nothing_and_left_no_name(tmp_path: Path) -> None:
    """Who hung up may be read for a moment longer: nothing comes, and nothing fails."""
    spool = Spool(tmp_path)
    spool.take(bytes(MEMORY_BYTES))
    assert spool.is_full
    spool.write()
    spool.take(b"more")

    assert not spool.is_full
    assert [] == list(tmp_path.iterdir())
    spool.close()
    spool.close()
    assert b"" == spool.read(0, 10)
