"""The audit sees what happened to the samples: each planted fault leaves counts, times and tags untouched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.faults import Change, copy_of
from upscale_server.audit import verify
from upscale_server.cli.loading import load_pass
from upscale_server.events import ignore
from upscale_server.pipeline import upscale_video
from upscale_server.plan import make_plan
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

Planes = list[np.ndarray]
_NOISE = np.random.default_rng(1).normal(0, 60, (1080, 1920))


@pytest.fixture(scope="module")
def pair(bundled_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a second of the bundled clip, and its enlargement."""
    folder = tmp_path_factory.mktemp("pair")
    small = Wish(model="lanczos", codec="h264", crf=14, preset="ultrafast", duration_seconds=1.0)
    with InProcess(load_pass) as executor:
        source = upscale_video(make_plan(bundled_clip, small), executor, folder / "source", ignore).path
        whole = Wish(model="lanczos", codec="h264", crf=14, preset="ultrafast")
        return source, upscale_video(make_plan(source, whole), executor, folder / "output", ignore).path


def _planes(frame: av.VideoFrame) -> Planes:
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()
        for plane in frame.planes
    ]


def _rebuilt(frame: av.VideoFrame, planes: Planes) -> av.VideoFrame:
    changed = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for plane, samples in zip(changed.planes, planes, strict=True):
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width] = samples
    changed.pts, changed.time_base = frame.pts, frame.time_base
    return changed


def _to_bytes(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), 0, 255).astype(np.uint8)


def _black_corner(planes: Planes) -> Planes:
    planes[0][: planes[0].shape[0] // 8, -planes[0].shape[1] // 2 :] = 235
    return planes


def _blurred(planes: Planes) -> Planes:
    height, width = (side // 20 * 20 for side in planes[0].shape)
    blocks = planes[0][:height, :width].reshape(height // 20, 20, width // 20, 20).mean((1, 3))
    planes[0][:height, :width] = _to_bytes(np.kron(blocks, np.ones((20, 20))))
    return planes


FAULTS: dict[str, Callable[[Planes], Planes]] = {
    "U and V swapped": lambda p: [p[0], p[2], p[1]],
    "no colour": lambda p: [p[0], np.full_like(p[1], 128), np.full_like(p[2], 128)],
    "upside down": lambda p: [one[::-1] for one in p],
    "mirrored": lambda p: [one[:, ::-1] for one in p],
    "full range under limited tags": lambda p: [_to_bytes((p[0].astype(float) - 16) * 255 / 219), p[1], p[2]],
    "brighter": lambda p: [_to_bytes(p[0] + 10.0), p[1], p[2]],
    "luma moved by 24 samples": lambda p: [np.roll(p[0], 24, 1), p[1], p[2]],
    "a white corner": _black_corner,
    "noise": lambda p: [_to_bytes(p[0] + _NOISE[: p[0].shape[0], : p[0].shape[1]]), p[1], p[2]],
    "no detail": _blurred,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_samples_is_found(name: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A file whose pictures were damaged does not pass, though nothing else about it changed."""
    source, good = pair
    damage = FAULTS[name]
    change = Change(frames=lambda frames: [_rebuilt(frame, damage(_planes(frame))) for frame in frames])

    report = verify(source, copy_of(good, tmp_path / "bad.mp4", change))

    assert not report.ok


def test_one_frame_without_colour_is_found(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A single frame is enough."""
    source, good = pair

    def damage(frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
        frames[10] = _rebuilt(frames[10], FAULTS["no colour"](_planes(frames[10])))
        return frames

    assert not verify(source, copy_of(good, tmp_path / "bad.mp4", Change(frames=damage))).ok


def test_the_control_passes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Coding the output again without a fault is accepted: the faults are found for what they are."""
    source, good = pair

    report = verify(source, copy_of(good, tmp_path / "good.mp4"))

    assert report.ok, report.faults
