"""Half a file is no video, unless what is there is asked for; odd but whole files are whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import bent_clips
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.clips import CASES
from tests.support.corpus.films import Film, film
from upscale_server.errors import SourceTruncated
from upscale_server.events import ignore
from upscale_server.media.probe import probe_with_index
from upscale_server.models.load import load
from upscale_server.pipeline import upscale_video
from upscale_server.plan import make_plan
from upscale_server.whole import least_frames
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

WHOLE = Wish(scale=2, model="lanczos", preset="ultrafast", allow_partial=False)
ODD = [
    "edit_list", "edit_list_skips_frames", "frames_before_the_edit", "late_first_pts_mkv", "starts_after_a_day",
    "hevc_mkv_to_mp4", "flv", "wmv", "three_audio_tracks_mkv", "audio_first_in_file",
]  # fmt: skip


def edit_list_that_ends_early(path: Path) -> Path:
    """Write an MP4 whose edit list shows its first half, as phones trim."""
    picture = Picture(frame_count=48, options=bent_clips.GOP_OF_TWELVE)
    content = bytearray(write_clip(Clip(pictures=(picture,)), path).read_bytes())
    for box, place in ((b"elst", 12), (b"tkhd", 24), (b"mvhd", 20)):
        at = content.index(box) + place
        half = int.from_bytes(content[at : at + 4], "big") // 2
        content[at : at + 4] = half.to_bytes(4, "big")
    path.write_bytes(content)
    return path


def truncated_avi(path: Path) -> Path:
    """Write four fifths of an AVI: its header counts all frames, and its length is reckoned from its bytes."""
    content = film(Film("avi", count=250))
    path.write_bytes(content[: len(content) * 4 // 5])
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "suffix"),
    [(bent_clips.truncated_faststart_mp4, ".mp4"), (bent_clips.truncated_mkv, ".mkv"), (truncated_avi, ".avi")],
)
def test_file_that_ends_early_is_refused_or_taken_as_it_is(
    write: Callable[[Path], Path], suffix: str, tmp_path: Path
) -> None:
    """A header that declares more than there is fails the plan, and says how much there is; a part may be asked for."""
    source = write(tmp_path / f"half{suffix}")

    with pytest.raises(SourceTruncated, match=r"22 of 36 frames|of the 1\.47 s|of 250 frames") as caught:
        make_plan(source, WHOLE)

    assert "allow_partial" in str(caught.value.hint)
    plan = make_plan(source, Wish(scale=2, model="lanczos"))
    assert 0 == plan.least_frames
    assert "source_truncated" in dict(plan.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_whole_file_with_an_odd_header_is_whole(name: str, tmp_path: Path) -> None:
    """Edit lists, late starts and a sound's last packet make headers name more than is shown."""
    probed = probe_with_index(CASES[name].write(tmp_path / f"odd{CASES[name].suffix}"))

    assert 0 < least_frames(probed, WHOLE, probed.info.frame_count) <= probed.info.frame_count


def test_trimmed_recording_is_whole(tmp_path: Path) -> None:
    """A phone that trims leaves the frames in the file and says in the edit list which are shown."""
    source = edit_list_that_ends_early(tmp_path / "trimmed.mp4")
    plan = make_plan(source, WHOLE)

    assert plan.source.frame_count < plan.source.frame_count_from_header, "or the clip is not what it claims to be"
    assert 0 < plan.least_frames <= plan.frame_count


@pytest.mark.slow
def test_frames_that_do_not_decode_fail_the_job(tmp_path: Path) -> None:
    """Packets that are there and hold noise make no frames; too many of them are no video."""
    source = bent_clips.corrupt_packets(tmp_path / "noise.mkv")
    executor = InProcess(lambda _plan, one: load(one.card))

    with pytest.raises(SourceTruncated, match=r"\d+ frames of the source decode; \d+ are needed"):
        upscale_video(make_plan(source, WHOLE), executor, tmp_path / "work", ignore)

    part = make_plan(source, Wish(scale=2, model="lanczos", preset="ultrafast"))
    assert upscale_video(part, executor, tmp_path / "part", ignore).frame_count > 0


def test_lost_frame_among_many_is_no_half_file(tmp_path: Path) -> None:
    """Two in a hundred may be missing: that is damage, which is told, and not the end of the file."""
    source = write_clip(Clip(pictures=(Picture(frame_count=100),)), tmp_path / "long.mp4")

    assert 98 == make_plan(source, WHOLE).least_frames
