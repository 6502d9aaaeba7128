"""The numbers of `quality` are what their definitions say, over the frames of the same times and no others."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.clip_spec import UNTAGGED, Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.killing import wait_until
from training import metrics
from upscale_server import quality, quality_child, quality_pairs, quality_vmaf
from upscale_server.cli.loading import load_pass
from upscale_server.errors import BadRequest, Canceled, MissingExtra, UpscaleError
from upscale_server.events import FramesDone, PhaseStarted, ignore
from upscale_server.media.types import Size
from upscale_server.models.choices import Points
from upscale_server.pipeline import upscale_video
from upscale_server.plan import make_plan
from upscale_server.quality import fidelity_of, fidelity_record, measure, measure_planes
from upscale_server.quality_pairs import runs_of
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

Planes = list[NDArray[np.uint8]]

EQUAL_8 = 60.0
EQUAL_10 = 72.0
ROUNDING = 0.001
"""Figures are told with three decimals."""


@dataclass(frozen=True, slots=True)
class Written:
    """How luma planes become a file without loss."""

    pixel_format: str = "yuv420p"
    rate: Fraction = Fraction(25)
    times: tuple[int, ...] = ()
    codec: str = "ffv1"
    options: dict[str, str] = field(default_factory=dict)
    range: int = 1


@pytest.fixture(autouse=True)
def _forget_the_program() -> Iterator[None]:
    quality_vmaf.require_quality.cache_clear()
    yield
    quality_vmaf.require_quality.cache_clear()


def texture(count: int, size: tuple[int, int] = (96, 64)) -> Planes:
    """Return frames that pan over a smooth random picture, with room above and below for errors."""
    width, height = size
    noise = np.random.default_rng(7).integers(40, 216, (height // 4 + 8, (width + count) // 4 + 8))
    big = Image.fromarray(noise.astype(np.uint8)).resize((width + count, height), Image.Resampling.BICUBIC)
    whole = np.clip(np.asarray(big), 32, 224)
    return [np.ascontiguousarray(whole[:, place : place + width]) for place in range(count)]


def changed(planes: Planes, by: list[int]) -> Planes:
    """Return the planes with a constant added to each."""
    return [(plane.astype(np.int16) + step).astype(np.uint8) for plane, step in zip(planes, by, strict=True)]


def write(path: Path, planes: Planes, how: Written | None = None) -> Path:
    """Write luma planes and gray chroma as a video without loss."""
    how = how or Written()
    deep = how.pixel_format.endswith("10le")
    height, width = planes[0].shape
    with av.open(str(path), "w") as out:
        stream = out.add_stream(how.codec, rate=how.rate, options=how.options)
        stream.width, stream.height, stream.pix_fmt = width, height, how.pixel_format
        stream.codec_context.color_range = how.range
        for place, plane in enumerate(planes):
            frame = av.VideoFrame(width, height, how.pixel_format)
            for target in frame.planes:
                rows = np.frombuffer(target, np.uint16 if deep else np.uint8).reshape(target.height, -1)
                rows[:, : target.width] = 512 if deep else 128
            luma = frame.planes[0]
            rows = np.frombuffer(luma, np.uint16 if deep else np.uint8).reshape(luma.height, -1)
            rows[:, :width] = plane.astype(np.uint16) * 4 if deep else plane
            frame.color_range = how.range
            frame.pts, frame.time_base = (how.times or range(len(planes)))[place], 1 / how.rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def psnr_of(error: float) -> float:
    """Return the PSNR of a mean squared error."""
    return 10 * math.log10(255**2 / error)


@pytest.mark.slow
def test_equal_videos_have_full_marks_and_no_flicker(tmp_path: Path) -> None:
    """The best there is: no error, in any frame, and each frame is counted."""
    planes = texture(6)
    a, b = write(tmp_path / "a.mkv", planes), write(tmp_path / "b.mkv", planes)

    found = measure(a, b)

    assert (EQUAL_8, 1.0, 0.0) == (found.psnr_y, found.ssim, found.flicker)
    assert (6, 6) == (found.frames, found.frames_total)
    assert found.vmaf is not None
    assert found.vmaf > 95


def test_psnr_and_ssim_are_those_of_the_literature(tmp_path: Path) -> None:
    """The library's figures equal our plain implementation of the definitions, which training uses."""
    rng, planes = np.random.default_rng(1), texture(4)
    noisy = [(plane + rng.integers(-9, 10, plane.shape)).astype(np.uint8) for plane in planes]
    a, b = write(tmp_path / "a.mkv", planes), write(tmp_path / "b.mkv", noisy)

    found = measure(a, b)

    both = list(zip(noisy, planes, strict=True))
    assert float(np.mean([metrics.psnr(one, other) for one, other in both])) == pytest.approx(
        found.psnr_y, abs=ROUNDING
    )
    # libvmaf computes in float32: five decimals of its SSIM are not ours to the last.
    assert float(np.mean([metrics.ssim(one, other) for one, other in both])) == pytest.approx(found.ssim, abs=5e-5)


@pytest.mark.slow
def test_an_error_that_stays_is_no_flicker_and_one_that_changes_is_all_of_it(tmp_path: Path) -> None:
    """Both have the same PSNR; only the one whose error turns from +2 to -2 flickers, by four levels."""
    planes = texture(6)
    a = write(tmp_path / "a.mkv", planes)
    still = measure(a, write(tmp_path / "still.mkv", changed(planes, [2] * 6)))
    boiling = measure(a, write(tmp_path / "boiling.mkv", changed(planes, [2, -2] * 3)))

    assert psnr_of(4) == pytest.approx(still.psnr_y, abs=ROUNDING)
    assert still.psnr_y == boiling.psnr_y
    assert still.flicker == 0.0
    assert boiling.flicker == 4.0


def test_blur_costs_vmaf(tmp_path: Path) -> None:
    """VMAF sees the loss of detail as it would from this side alone, and its harmonic mean is no larger than its mean.

    Taken for the reference, the blurred one leaves 65 of VMAF.
    """
    planes = texture(6, (192, 128))
    small = [Image.fromarray(plane).resize((48, 32), Image.Resampling.BICUBIC) for plane in planes]
    blurred = [np.asarray(one.resize((192, 128), Image.Resampling.BICUBIC)) for one in small]
    a = write(tmp_path / "a.mkv", planes)

    found = measure(a, write(tmp_path / "b.mkv", blurred))

    assert found.vmaf is not None
    assert found.vmaf_harmonic is not None
    assert 33.9 == pytest.approx(found.vmaf, abs=1.5)  # 65.3 the wrong way round; libvmaf 2 and 3 differ by less than 1
    assert found.vmaf_harmonic <= found.vmaf


@pytest.mark.slow
def test_ten_bits_stay_ten_bits_and_compare_with_eight(tmp_path: Path) -> None:
    """The same error has the same figures in both depths, and 8 bits are brought to 10 without loss."""
    planes, deep = texture(4), Written("yuv420p10le")
    a, wrong = write(tmp_path / "a.mkv", planes, deep), changed(planes, [2, -2, 2, -2])

    equal = measure(a, write(tmp_path / "same.mkv", planes))
    off = measure(a, write(tmp_path / "off.mkv", wrong, deep))

    assert EQUAL_10 == equal.psnr_y
    assert psnr_of(4) == pytest.approx(off.psnr_y, abs=ROUNDING)
    assert off.flicker == 4.0


def test_a_full_range_video_is_brought_to_the_range_of_its_reference(tmp_path: Path) -> None:
    """Black is 16 in the one and 0 in the other; what is left is the rounding of one sample."""
    planes = texture(3)
    full = [np.rint((plane.astype(np.float64) - 16) * 255 / 219).astype(np.uint8) for plane in planes]
    a, b = write(tmp_path / "a.mkv", planes), write(tmp_path / "b.mkv", full, Written(range=2))

    assert measure(a, b).psnr_y > 50  # half a level off in every sample is 54 dB; 16 levels are 24


def test_planes_in_hand_are_measured_without_a_file() -> None:
    """The same figures for what is in memory."""
    planes = texture(2)

    found = measure_planes(zip(planes, changed(planes, [1, 1]), strict=True), Size(96, 64))

    assert psnr_of(1) == pytest.approx(found.psnr_y, abs=ROUNDING)
    assert (0.0, 2) == (found.flicker, found.frames)


def test_odd_sides_are_measured_to_the_last_row_and_column(tmp_path: Path) -> None:
    """An error in the last row and column alone has its full weight: nothing is cut or padded."""
    planes = texture(2, (65, 49))
    wrong = [plane.copy() for plane in planes]
    for plane in wrong:
        plane[-1] += 10
        plane[:-1, -1] += 10
    a, b = write(tmp_path / "a.mkv", planes), write(tmp_path / "b.mkv", wrong)

    assert psnr_of(100 * (65 + 48) / (65 * 49)) == pytest.approx(measure(a, b).psnr_y, abs=ROUNDING)


def test_a_tiny_picture_has_its_psnr_and_no_vmaf(tmp_path: Path) -> None:
    """Libvmaf crashes on 16 samples; the figures that mean something there are told."""
    planes = texture(3, (16, 12))
    a, b = write(tmp_path / "a.mkv", planes), write(tmp_path / "b.mkv", changed(planes, [3, 3, 3]))

    found = measure(a, b)

    assert psnr_of(9) == pytest.approx(found.psnr_y, abs=ROUNDING)
    assert (None, None) == (found.vmaf, found.vmaf_harmonic)


def test_frames_pair_by_their_times(tmp_path: Path) -> None:
    """A frame that the other lacks is left out, the rest meet their own partners, and nothing flickers across it."""
    planes, times = texture(6), (0, 1, 3, 4, 7, 9)
    a = write(tmp_path / "a.mkv", planes, Written(times=times))
    wrong = changed(planes, [0, 0, 0, 5, 5, 5])
    b = write(tmp_path / "b.mkv", wrong[:3] + wrong[4:], Written(times=times[:3] + times[4:]))

    found = measure(a, b)

    assert 5 == found.frames
    assert (3 * EQUAL_8 + 2 * psnr_of(25)) / 5 == pytest.approx(found.psnr_y, abs=ROUNDING)
    assert 0.0 == found.flicker


@pytest.mark.slow
def test_of_long_videos_runs_are_looked_at_and_told(tmp_path: Path) -> None:
    """48 of 130 frames, in three runs found by seeking into long GOPs, and each with its own partner."""
    planes = texture(130)
    coded = Written(codec="libx264", options={"qp": "0", "g": "250", "preset": "ultrafast"})
    a, b = write(tmp_path / "a.mkv", planes), write(tmp_path / "b.mp4", planes, coded)
    events: list[object] = []

    found = measure(a, b, most_frames=48, observer=events.append)

    assert (48, 130) == (found.frames, found.frames_total)
    assert (EQUAL_8, 0.0) == (found.psnr_y, found.flicker)
    assert PhaseStarted("quality", 48) == events[0]
    assert 48 == events.count(FramesDone(1))


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [
        (10, 48, [(0, 9)]),
        (48, 48, [(0, 47)]),
        (100, 48, [(0, 15), (42, 57), (84, 99)]),
        (100, 72, [(0, 23), (38, 61), (76, 99)]),
        (100, 30, [(0, 9), (45, 54), (90, 99)]),
        (100, 5, [(0, 1), (98, 99)]),
        (100, 3, [(49, 50)]),
        (101, 1, [(50, 50)]),
    ],
)
def test_runs_are_spread_from_the_first_to_the_last_frame(
    count: int, most: int, expected: list[tuple[int, int]]
) -> None:
    """All frames where they are few, else runs from the beginning to the end, never the beginning alone or too many."""
    assert expected == runs_of(count, most)


def test_a_stream_without_times_is_measured_from_its_beginning(tmp_path: Path) -> None:
    """An elementary stream has no table to seek in; its frames still meet their partners."""
    clip = write_clip(Clip(pictures=(Picture(frame_count=12),), suffix=".h264", container="h264"), tmp_path / "a.h264")

    found = measure(clip, clip, most_frames=8)

    assert (EQUAL_8, 8) == (found.psnr_y, found.frames)


def test_videos_of_two_sizes_are_refused(tmp_path: Path) -> None:
    """The message has both sizes."""
    a, b = write(tmp_path / "a.mkv", texture(2)), write(tmp_path / "b.mkv", texture(2, (64, 64)))

    with pytest.raises(BadRequest, match=r"64x64.*96x64"):
        measure(a, b)


def test_videos_of_other_times_are_refused(tmp_path: Path) -> None:
    """No partner at all is an error and not a number."""
    planes = texture(2)
    a = write(tmp_path / "a.mkv", planes)
    b = write(tmp_path / "b.mkv", planes, Written(times=(1000, 1001)))

    with pytest.raises(BadRequest, match="no frame"):
        measure(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("wish", [Wish(scale=2), Wish(to="192x192", fit="exact"), Wish(scale=2, start_seconds=0.3)])
def test_an_output_is_held_against_its_source_at_the_sources_size(tmp_path: Path, wish: Wish) -> None:
    """An enlargement by Lanczos comes back nearly whole, with bars around it and from a part of the source alike."""
    source = write_clip(Clip(pictures=(Picture(colour=UNTAGGED),)), tmp_path / "a.mp4")
    plan = make_plan(source, Wish(**{**_fields(wish), "model": "lanczos", "crf": 8}))
    with InProcess(load_pass, Points()) as executor:
        result = upscale_video(plan, executor, tmp_path / "work", ignore)

    found = fidelity_of(plan, result.path)

    assert result.frame_count == found.frames == found.frames_total
    assert found.psnr_y > 35  # a frame beside its partner, or a bar in the picture, is below 25
    assert fidelity_record(found) == {"against": "source at its own size", "psnr_y": found.psnr_y, "ssim": found.ssim,
        "vmaf": found.vmaf, "vmaf_harmonic": found.vmaf_harmonic, "flicker": found.flicker,
        "frames": found.frames, "frames_total": found.frames_total}  # fmt: skip


def _fields(wish: Wish) -> dict[str, object]:
    return {name: getattr(wish, name) for name in ("scale", "to", "fit", "start_seconds")}


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half a report: the one command that helps is in the hint."""
    monkeypatch.setattr(quality_vmaf, "find_spec", lambda _: None)

    with pytest.raises(MissingExtra) as caught:
        measure(tmp_path / "a", tmp_path / "b")

    assert caught.value.hint == "pip install 'upscale-server[quality]'"


def test_an_ffmpeg_without_libvmaf_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that cannot do it is found before any frame is decoded."""
    program = _program(tmp_path, "echo Unknown filter")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))

    with pytest.raises(MissingExtra, match="no libvmaf"):
        quality_vmaf.require_quality()


@pytest.mark.slow
def test_a_program_that_dies_is_told_and_never_sees_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status and last words are in the error, and no path of the videos was given to it."""
    program = _program(tmp_path, f'echo "$@" > {tmp_path}/said\necho out of luck >&2\nexit 3')
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    a = write(tmp_path / "a.mkv", texture(12, (640, 480)))

    with pytest.raises(UpscaleError, match="status 3: out of luck"):
        measure(a, a)

    assert "a.mkv" not in (tmp_path / "said").read_text()


@pytest.mark.slow
def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job waits for ever for its numbers: a program that reads nothing is killed at the limit, and that is told."""
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(_program(tmp_path, "exec sleep 600")))
    monkeypatch.setattr(quality_child, "_SILENT_SECONDS", 0.2)
    a = write(tmp_path / "a.mkv", texture(12, (640, 480)))

    with pytest.raises(UpscaleError, match=r"did nothing for 0\.2 s"):
        measure(a, a)


@pytest.mark.slow
@pytest.mark.parametrize("then", ["exec sleep 600", "cat > /dev/null; exec sleep 600"])
def test_who_waits_for_a_program_is_heard_of_and_may_stop(
    then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it takes nothing or answers nothing: there are signs of life meanwhile, and what one raises ends it."""
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(_program(tmp_path, then)))
    a = write(tmp_path / "a.mkv", texture(12, (640, 480)))
    beats: list[object] = []

    def stop_at_the_hundredth(event: object) -> None:
        beats.append(event)
        if event == FramesDone(0) and len(beats) > 100:
            raise Canceled("enough")

    with pytest.raises(Canceled, match="enough"):
        measure(a, a, observer=stop_at_the_hundredth)


def test_a_hung_program_dies_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    """A worker is killed where it is silent or does not let go; nothing of its may be left behind."""
    program = _program(tmp_path, f"echo $$ > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/pid; exec sleep 600")
    waits = (
        "from upscale_server.quality_vmaf import Scorer; from upscale_server.media.types import Size; "
        "import numpy as np; scorer = Scorer(Size(640, 480), 8); plane = np.zeros((480, 640), np.uint8); "
        "scorer.add(plane, plane)"
    )
    environment = {**os.environ, "IMAGEIO_FFMPEG_EXE": str(program)}
    with subprocess.Popen([sys.executable, "-c", waits], env=environment) as waiting:
        wait_until((tmp_path / "pid").exists)
        waiting.kill()

    stat = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    wait_until(lambda: not stat.exists() or " Z " in stat.read_text())  # nobody may be there to reap it


def test_the_program_gets_nothing_of_our_environment_but_where_programs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and secrets are in ours, and it is somebody else's program."""
    monkeypatch.setenv("UPSCALE_WEBHOOKS__SECRET", "hidden")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(_program(tmp_path, f"env > {tmp_path}/said; exit 3")))
    a = write(tmp_path / "a.mkv", texture(2))

    with pytest.raises(UpscaleError, match="status 3"):
        measure(a, a)

    assert "hidden" not in (tmp_path / "said").read_text()


@pytest.mark.parametrize("answer", ["", "{", "[]", '{"pooled_metrics": {}}', '{"pooled_metrics": {"psnr_y": {}}}'])
def test_an_odd_answer_is_an_error_that_is_named(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that ends well and says nothing we can read gave no figures."""
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(_program(tmp_path, f"cat > /dev/null; echo '{answer}'")))
    a = write(tmp_path / "a.mkv", texture(2))

    with pytest.raises(UpscaleError, match="gave no figures"):
        measure(a, a)


@pytest.mark.slow
def test_there_are_signs_of_life_on_the_way_to_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long way from the last keyframe gives no picture for minutes; whoever watches knows that we live."""
    planes = texture(3)
    a, beats = write(tmp_path / "a.mkv", planes), threading.Semaphore(0)
    decode = quality_pairs.decode_segment

    def slow(*given: object) -> Iterator[object]:
        assert all(beats.acquire(timeout=60) for _ in range(8)), "silence"
        yield from decode(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(quality_pairs, "decode_segment", slow)

    assert 3 == measure(a, a, observer=lambda event: beats.release() if event == FramesDone(0) else None).frames


@pytest.mark.slow
def test_of_large_pictures_fewer_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is bounded in samples, and runs stay long enough for flicker to be seen."""
    a = write(tmp_path / "a.mkv", texture(60))
    monkeypatch.setattr(quality, "MOST_SAMPLES", 30 * 96 * 64)
    some = measure(a, a)
    monkeypatch.setattr(quality, "MOST_SAMPLES", 1)
    fewest = measure(a, a)

    assert [(30, 60, 0.0), (24, 60, 0.0)] == [(one.frames, one.frames_total, one.flicker) for one in (some, fewest)]


def _program(folder: Path, then: str) -> Path:
    path = folder / "ffmpeg"
    path.write_text(f'#!/bin/sh\nif [ "$2" = -h ]; then echo n_subsample; exit; fi\n{then}\n')
    if "Unknown" in then:
        path.write_text(f"#!/bin/sh\n{then}\n")
    path.chmod(0o700)
    return path
