"""A source is offered once for all its segments, and taken back when nobody has wanted it for a while."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from upscale_server.cluster.offered import Offered
from upscale_server.media.probe import probe
from upscale_server.media.types import VideoInfo


@dataclass
class Noting:
    """A transport that notes what is offered and dropped."""

    offered: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    sweeps: int = 0

    def offer(self, source: Path, key: str, check: object) -> None:
        """Note it."""
        del source, check
        self.offered.append(key)

    def drop(self, prefix: str) -> None:
        """Note it."""
        self.dropped.append(prefix)

    def sweep(self) -> None:
        """Count it."""
        self.sweeps += 1


@pytest.fixture
def info(bundled_clip: Path) -> VideoInfo:
    """Give facts about a source."""
    return probe(bundled_clip)


def go_on() -> None:
    """Find no reason to stop."""


def test_a_source_is_offered_once_and_dropped_when_it_is_idle(info: VideoInfo) -> None:
    """Not while it is used, and not at once: the next piece may want it."""
    transport, now = Noting(), [100.0]
    offered = Offered(transport, "me", lambda: now[0])  # type: ignore[arg-type]  # what is not asked for is left out

    with offered.lent(info, go_on) as key:
        with offered.lent(info, go_on) as same:
            assert key == same
        now[0] += 1000
        offered.sweep()
        assert [] == transport.dropped
    offered.sweep()
    assert [] == transport.dropped
    now[0] += 61
    offered.sweep()

    assert [key] == transport.offered
    assert [key.removesuffix("source")] == transport.dropped


def test_a_long_job_looks_whether_its_source_is_still_there(info: VideoInfo) -> None:
    """What is old in a store is swept."""
    transport, now = Noting(), [100.0]
    offered = Offered(transport, "me", lambda: now[0])  # type: ignore[arg-type]  # as above

    with offered.lent(info, go_on):
        now[0] += 3601
        with offered.lent(info, go_on):
            pass

    assert 2 == len(transport.offered)


def test_what_others_left_is_swept_at_the_start_and_every_hour() -> None:
    """Each look at the cluster would be too often: the store is listed for it."""
    transport, now = Noting(), [100.0]
    offered = Offered(transport, "me", lambda: now[0])  # type: ignore[arg-type]  # as above

    for seconds in (0.0, 2.0, 3598.0):
        now[0] += seconds
        offered.sweep()
    assert 1 == transport.sweeps

    now[0] += 2.0
    offered.sweep()
    assert 2 == transport.sweeps


def test_another_file_has_another_key(info: VideoInfo) -> None:
    """By its path, its size, its time and whose it is; the same one has the same after a restart."""
    keys = []
    with Offered(Noting(), "another").lent(info, go_on) as key:  # type: ignore[arg-type]  # as above
        keys.append(key)
    for one in (info, info, replace(info, modified_ns=1), replace(info, byte_count=1), replace(info, path="/other")):
        with Offered(Noting(), "me").lent(one, go_on) as key:  # type: ignore[arg-type]  # as above
            keys.append(key)

    assert keys[1] == keys[2]
    assert 5 == len(set(keys))
