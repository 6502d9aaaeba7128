"""What comes out of a cage is what would have come out here; what an inmate may not do, it cannot."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import inmates
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.killing import wait_until
from tests.support.processes import is_alive
from upscale_server.cage import Bounds, Cage, InmateDied
from upscale_server.errors import Canceled, OutputTooLarge, SourceCorrupt, SourceNotFound, SourceTooLarge, UpscaleError
from upscale_server.events import FramesDone, ignore
from upscale_server.media.decode import decode_segment
from upscale_server.media.look import Looked, look_at
from upscale_server.media.probe import probe
from upscale_server.media.types import Segment, Tally

WHOLE = Segment(0, None, None, None)


@pytest.fixture(scope="module")
def cage() -> Iterator[Cage]:
    """Give a cage whose inmates know these tests' functions."""
    one = Cage((inmates.__name__,), silent_seconds=30.0)
    yield one
    one.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Give a clip with more frames than the shared block has room for."""
    return write_clip(Clip(pictures=(Picture(frame_count=8),)), tmp_path / "clip.mp4")


@pytest.mark.slow
def test_value_is_what_the_function_returns_here(cage: Cage, clip: Path) -> None:
    """Sizes, fractions and tuples come back as the same value."""
    assert look_at(clip) == cage.call(look_at, clip, kind=Looked)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le", "gray", "yuv422p"])
def test_frames_are_those_that_are_decoded_here(cage: Cage, tmp_path: Path, pixel_format: str) -> None:
    """Every sample, time and count is the same, in order, also of odd sizes."""
    picture = Picture(frame_count=8, pixel_format=pixel_format, codec="ffv1", width=66, height=50)
    info = probe(write_clip(Clip(pictures=(picture,), container="matroska"), tmp_path / "clip.mkv"))
    here, there = Tally(), Tally()

    expected = list(decode_segment(info, WHOLE, here))
    found = list(cage.frames(info, WHOLE, there))

    assert [frame.pts for frame in expected] == [frame.pts for frame in found]
    for one, other in zip(expected, found, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
    assert here == there


def test_frames_belong_to_who_got_them(cage: Cage, clip: Path) -> None:
    """A slot that is written again changes no frame that was handed on."""
    info = probe(clip)
    frames = cage.frames(info, WHOLE, Tally())
    first = next(frames)
    before = first.planes[0].copy()

    assert 7 == len(list(frames))
    assert np.array_equal(before, first.planes[0])


def test_inmate_is_gone_when_frames_are_no_longer_wanted(cage: Cage, clip: Path) -> None:
    """Closing the generator in the middle ends the process; the next request finds the cage free."""
    frames = cage.frames(probe(clip), WHOLE, Tally())
    next(frames)
    frames.close()

    assert look_at(clip) == cage.call(look_at, clip, kind=Looked)


def test_named_failure_comes_out_as_it_was_raised(cage: Cage, tmp_path: Path) -> None:
    """Its kind, words, hint and figures are what decides the reply."""
    with pytest.raises(SourceNotFound, match=r"missing\.mp4 does not exist"):
        cage.call(look_at, tmp_path / "missing.mp4", kind=Looked)
    with pytest.raises(OutputTooLarge) as caught:
        cage.call(inmates.fails_with_figures, kind=None)
    assert (12, OutputTooLarge.reached(12, 10).hint) == (caught.value.reached_bytes, caught.value.hint)


def test_defect_of_ours_is_told_with_its_place(cage: Cage) -> None:
    """Somebody has to find it."""
    with pytest.raises(UpscaleError, match="has_a_defect"):
        cage.call(inmates.has_a_defect, kind=None)


def test_events_come_out_in_the_callers_thread(cage: Cage) -> None:
    """Progress is heard of while it happens."""
    heard: list[object] = []

    cage.call(inmates.tells, 3, kind=None, observer=heard.append)

    assert [FramesDone(1), FramesDone(1), FramesDone(1)] == heard


def test_observer_that_fails_ends_the_inmate(cage: Cage, tmp_path: Path) -> None:
    """A job that was canceled keeps no process."""

    def stop(_event: object) -> None:
        raise Canceled("enough")

    bounds = Bounds(file_bytes=100, writes=(tmp_path,))
    with pytest.raises(Canceled, match="enough"):
        cage.call(inmates.tells_and_stays, tmp_path / "pid", kind=None, observer=stop, bounds=bounds)

    assert not is_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_check_that_fails_ends_an_inmate_that_says_nothing(tmp_path: Path) -> None:
    """It is asked while nothing is heard."""

    def check() -> None:
        if (tmp_path / "pid").exists():
            raise Canceled("enough")

    cage = Cage((inmates.__name__,), check=check, bounds=Bounds(file_bytes=100, writes=(tmp_path,)))
    with pytest.raises(Canceled, match="enough"):
        cage.call(inmates.stays, tmp_path / "pid", kind=None)
    cage.close()

    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_no_network_is_reachable_from_inside(cage: Cage) -> None:
    """No socket of any family can be made, and there is no network device but a loopback that is down."""
    assert cage.locks.calls_refused
    assert "PermissionError" == cage.call(inmates.kind_of_fault, "socket", kind=str)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")
def test_the_inmate_has_a_network_of_its_own(cage: Cage) -> None:
    """Where the kernel permits it, the namespace is not ours."""
    if not cage.locks.own_network:
        pytest.skip("this kernel permits no network namespace to this user")
    assert Path("/proc/self/ns/net").readlink() != Path(cage.call(inmates.network, kind=str))


def test_other_processes_cannot_be_looked_into(cage: Cage) -> None:
    """The server that started it holds the secrets."""
    assert "PermissionError" == cage.call(inmates.kind_of_fault, "ptrace", kind=str)


@pytest.mark.slow
def test_secrets_of_the_environment_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what names libraries and places is handed on."""
    for name in ("AWS_SECRET_ACCESS_KEY", "UPSCALE_S3__SECRET_KEY", "UPSCALE_API_KEYS", "HOME"):
        monkeypatch.setenv(name, "canary")
    cage = Cage((inmates.__name__,))
    found = cage.call(inmates.environment, kind=str)
    cage.close()

    assert "canary" not in found
    assert "PATH" in found


def test_nothing_can_be_written_by_one_that_only_reads(cage: Cage, tmp_path: Path) -> None:
    """Not a byte; an order that writes a result is given the right to."""
    nothing, something = Bounds(writes=(tmp_path,)), Bounds(file_bytes=1 << 20, writes=(tmp_path,))

    assert "OSError" == cage.call(inmates.kind_of_fault, "write", str(tmp_path / "a"), kind=str, bounds=nothing)
    assert "" == cage.call(inmates.kind_of_fault, "write", str(tmp_path / "b"), kind=str, bounds=something)


def test_memory_is_bounded(cage: Cage) -> None:
    """A header that promises a huge picture takes no more than the bound; the failure is the source's."""
    with pytest.raises(SourceTooLarge, match="more memory than a source may"):
        cage.call(bytearray, 2 << 30, kind=None, bounds=Bounds(memory_bytes=1 << 30))


def test_handles_are_bounded_and_none_is_inherited(cage: Cage) -> None:
    """Neither the server's sockets nor its files are there."""
    kept = cage.call(inmates.open_handles, kind=int)

    assert 4 == kept, "standard streams and the pipe"
    assert "OSError" == cage.call(inmates.kind_of_fault, "handles", kind=str)


@pytest.mark.slow
def test_crash_is_named_with_its_signal_and_the_cage_goes_on(cage: Cage, clip: Path) -> None:
    """A decoder that is made to crash costs its own process."""
    with pytest.raises(InmateDied, match="SIGSEGV"):
        cage.call(ctypes.string_at, 0, kind=None)

    assert look_at(clip) == cage.call(look_at, clip, kind=Looked)


def test_crash_in_the_middle_of_frames_is_named(cage: Cage, clip: Path) -> None:
    """What was handed on stays; the rest does not come without a word."""
    frames = cage.frames(probe(clip), WHOLE, Tally())
    next(frames)
    inmate = _child_of(_child_of(os.getpid()))
    os.kill(inmate, signal.SIGKILL)

    with pytest.raises(InmateDied, match="SIGKILL"):
        list(frames)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["loops", "stopped"])
def test_inmate_that_goes_no_packet_further_is_ended(how: str) -> None:
    """A decoder in a loop and a process that was frozen look the same from outside."""
    cage = Cage((inmates.__name__,), silent_seconds=1.0)
    with pytest.raises(InmateDied, match="no packet further for 1 s"):
        cage.call(inmates.hangs, how, kind=None)
    cage.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "count"), [(inmates.goes_on, 600.0), (inmates.tells, 10**9)], ids=["works", "talks"]
)
def test_inmate_whose_time_is_over_is_ended(cage: Cage, function: Callable[..., object], count: float) -> None:
    """However much it shows: a file whose every frame takes as long as it may would keep a process for days."""
    observer = ignore if function is inmates.tells else None

    with pytest.raises(SourceCorrupt, match="more than the 0 s that its length allows"):
        cage.call(function, count, kind=str, observer=observer, bounds=Bounds(seconds=0.3))


@pytest.mark.slow
def test_inmate_whose_packets_still_come_is_left_alone() -> None:
    """A long file is no hang: every packet is a sign of life."""
    cage = Cage((inmates.__name__,), silent_seconds=2.0)
    assert "done" == cage.call(inmates.goes_on, 3.0, kind=str)
    cage.close()


@pytest.mark.slow
def test_door_that_was_killed_is_opened_again(clip: Path) -> None:
    """An operator's mistake costs one request at most; no inmate outlives its door."""
    cage = Cage((inmates.__name__,))
    expected = cage.call(look_at, clip, kind=Looked)
    door = _child_of(os.getpid())
    os.kill(door, signal.SIGKILL)
    wait_until(lambda: not is_alive(door))

    assert expected == cage.call(look_at, clip, kind=Looked)
    cage.close()


@pytest.mark.slow
def test_nothing_is_left_when_the_cage_is_closed(clip: Path) -> None:
    """Neither a process nor a handle."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    cage = Cage((inmates.__name__,))
    cage.call(look_at, clip, kind=Looked)
    door = _child_of(os.getpid())
    cage.close()
    cage.close()

    assert not is_alive(door)
    assert before == len(list(Path("/proc/self/fd").iterdir()))


def _child_of(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    return int(children[-1])
