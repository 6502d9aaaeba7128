"""Sources on which a straightforward program loses frames, tracks or levels, each met in the wild."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from upscale_server.cli.loading import load_pass
from upscale_server.events import Event, Warned
from upscale_server.media.probe import probe
from upscale_server.media.tracks import container_for
from upscale_server.pipeline import Result, upscale_video
from upscale_server.plan import make_plan
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

RATE = 25


def _upscaled(source: Path, out: Path, **wish: object) -> tuple[Result, dict[str, str]]:
    """Run a job with several segments; return its result and its warnings."""
    events: list[Event] = []
    asked = {"model": "lanczos", "codec": "h264", "preset": "ultrafast", "segment_seconds": 0.6, "threads": 1} | wish
    plan = make_plan(source, Wish(container=container_for(out) or "", **asked))  # type: ignore[arg-type]
    with InProcess(load_pass) as executor:
        result = upscale_video(plan, executor, out.with_suffix(".work"), events.append)
    return result, {event.code: event.detail for event in events if isinstance(event, Warned)}


def _moving(number: int, *, combed: bool) -> av.VideoFrame:
    y, x = np.mgrid[0:180, 0:320]
    luma = ((x * 3 + y * 2 + number * 7) % 256).astype(np.uint8)
    if combed:
        luma[1::2] = ((x * 3 + y * 2 + number * 7 + 40) % 256).astype(np.uint8)[1::2]
    frame = av.VideoFrame(320, 180, "yuv420p")
    for plane, samples in zip(frame.planes, (luma, luma[::2, ::2], luma[1::2, 1::2]), strict=True):
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width] = samples
    frame.pts, frame.time_base = number, Fraction(1, RATE)
    return frame


def _written(path: Path, count: int, options: dict[str, str], *, combed: bool = False) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "fast"} | options)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(count):
            out.mux(stream.encode(_moving(number, combed=combed)))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_periodic_intra_refresh_loses_no_frame(suffix: str, tmp_path: Path) -> None:
    """Packets flagged as keyframes after which whole pictures come only later: every segment is complete."""
    source = _written(tmp_path / f"refresh{suffix}", 60, {"x264-params": "intra-refresh=1:keyint=15"})

    result, _ = _upscaled(source, tmp_path / "out.mkv")

    assert result.frame_count == 60


def test_interlaced_frames_behind_progressive_ones_are_made_whole(tmp_path: Path) -> None:
    """A broadcast may change in the middle; the change is found and told."""
    progressive = _written(tmp_path / "first.mkv", 12, {"bf": "0", "x264-params": "keyint=12"})
    options = {"bf": "0", "flags": "+ilme+ildct", "x264-params": "tff=1:keyint=12"}
    interlaced = _written(tmp_path / "second.mkv", 24, options, combed=True)
    source = _joined([progressive, interlaced], tmp_path / "change.ts")

    result, warnings = _upscaled(source, tmp_path / "out.mkv", segment_seconds=10.0)

    assert not probe(source).interlaced
    assert "24 frames" in warnings["deinterlaced"]
    assert result.frame_count == 36


def _joined(parts: list[Path], path: Path) -> Path:
    ticks = 0
    with av.open(str(path), "w") as out:
        stream = None
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or out.add_stream_from_template(source.streams.video[0])
                for packet in _start_coded(source):
                    packet.stream, packet.time_base = stream, Fraction(1, 90_000)
                    packet.pts = packet.dts = ticks
                    ticks += 3600
                    out.mux(packet)
    return path


def _start_coded(source: av.container.InputContainer) -> Iterator[av.Packet]:
    converter = BitStreamFilterContext("h264_mp4toannexb", source.streams.video[0])
    for packet in source.demux():
        if packet.size:
            yield from converter.filter(packet)


@pytest.mark.parametrize(("codec", "suffix"), [("av1", ".mkv"), ("h264", ".mp4")])
def test_gray_in_an_encoder_without_gray_keeps_its_levels(codec: str, suffix: str, tmp_path: Path) -> None:
    """Limited-range gray becomes 4:2:0 with neutral chroma; the range is not compressed a second time."""
    picture = Picture(codec="ffv1", pixel_format="gray", frame_count=6, colour=(1, 1, 1, 1))
    source = write_clip(Clip(suffix=".mkv", pictures=(picture,)), tmp_path / "gray.mkv")
    preset = "10" if codec == "av1" else "ultrafast"

    result, _ = _upscaled(source, tmp_path / f"out{suffix}", codec=codec, preset=preset, pixel_format="yuv420p")

    assert result.audit.ok, result.audit.faults


def test_a_second_video_with_b_frames_is_copied(tmp_path: Path) -> None:
    """Matroska gives its first packets no decoding time; the copy has one for each."""
    pictures = (Picture(options={"bf": "3"}), Picture(width=64, height=48, options={"bf": "3"}))
    source = write_clip(Clip(suffix=".mkv", pictures=pictures), tmp_path / "two.mkv")

    for suffix in (".mkv", ".mp4"):
        result, _ = _upscaled(source, tmp_path / f"out{suffix}")

        assert result.audit.ok, result.audit.faults


def test_a_timecode_track_arrives(tmp_path: Path) -> None:
    """Cameras write one; the muxer makes it again from the tag, and the audit compares the tag."""
    plain = write_clip(Clip(), tmp_path / "plain.mp4")
    source = tmp_path / "camera.mov"
    with av.open(str(plain)) as given, av.open(str(source), "w") as out:
        copy = out.add_stream_from_template(given.streams.video[0], opaque=True)
        copy.metadata["timecode"] = "01:00:00:00"
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = copy
                out.mux(packet)

    result, _ = _upscaled(source, tmp_path / "out.mov")

    with av.open(str(result.path)) as out:
        assert out.streams.video[0].metadata["timecode"] == "01:00:00:00"
        assert len(out.streams.data) == 1


def test_a_damaged_broadcast_is_carried_as_far_as_it_decodes(tmp_path: Path) -> None:
    """Garbage in picture and sound costs what it hit; the rest arrives, the losses are told, the audit holds."""
    clip = Clip(suffix=".ts", pictures=(Picture(frame_count=75),), sounds=(Sound(seconds=3.0),))
    content = bytearray(write_clip(clip, tmp_path / "good.ts").read_bytes())
    chance = random.Random(3)
    for _ in range(4):
        place = chance.randrange(len(content) // 4, len(content) - 300)
        content[place : place + 200] = chance.randbytes(200)
    source = tmp_path / "bad.ts"
    source.write_bytes(content)

    result, warnings = _upscaled(source, tmp_path / "out.mp4")

    assert result.frame_count > 50
    assert warnings.keys() & {"frames_damaged", "frames_missing", "packets_failed", "packets_passed_over"}
