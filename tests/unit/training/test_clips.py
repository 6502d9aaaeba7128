"""Degraded clips carry real codec noise and stay aligned with their reference."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from training.clips import CLIP_FRAMES, FRAMES_KEPT, HR_SIZE, Camera, coded_clip, draw_camera, filmed, luma_planes
from training.codecs import SUBNET, Coding, coded, reduced
from training.metrics import psnr
from training.pictures import Picture
from training.resize import lanczos


def scene() -> np.ndarray:
    """A 512x512 RGB picture with edges and smooth texture."""
    y, x = np.mgrid[0:512, 0:512]
    waves = 127 + 60 * np.sin(x / 9) + 50 * np.sin(y / 7 + x / 23)
    boxes = 40.0 * ((x // 32 + y // 32) % 2)
    return np.clip(np.stack([waves, waves * 0.8 + boxes, waves], axis=2), 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
def test_a_coded_clip_matches_its_reference_in_place_and_time(scale: int) -> None:
    """Enlarged LR is close to HR of the same frame: a shift or a frame swap would not be."""
    pairs = coded_clip(scene(), "ultrafast", scale, np.random.default_rng(1))

    assert pairs.lr.shape == (FRAMES_KEPT, HR_SIZE // scale, HR_SIZE // scale)
    for lr, hr in zip(pairs.lr, pairs.hr, strict=True):
        assert psnr(lanczos(lr, HR_SIZE, HR_SIZE), hr, border=8) > 24


@pytest.mark.parametrize(
    "coding",
    [SUBNET, Coding("libx264", "medium", 30), Coding("libx265", "ultrafast", 28), Coding("libsvtav1", "9", 40)],
)
def test_every_codec_returns_every_frame_in_order(coding: Coding) -> None:
    """B-frames and look-ahead neither lose nor reorder frames: each is nearest to its own original."""
    if coding.codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {coding.codec}")
    frames = [reduced(frame, 2) for frame in filmed(scene(), Camera((0, 0, HR_SIZE), (6, 5, 0)), 12)]

    planes, originals = luma_planes(coded(frames, coding)), luma_planes(frames)

    for index, plane in enumerate(planes):
        errors = [float(np.mean((plane.astype(float) - original) ** 2)) for original in originals]
        assert int(np.argmin(errors)) == index
        assert errors[index] > 0


def test_the_camera_stays_inside_the_picture() -> None:
    """Whatever is drawn, every window of a clip lies within the picture."""
    random = np.random.default_rng(1)

    for camera in (draw_camera(random, 512) for _ in range(200)):
        for index in range(CLIP_FRAMES):
            left, top, right, bottom = camera.window(index, 512)
            assert left >= 0
            assert top >= 0
            assert max(right, bottom) <= 512
            assert right > left


def test_all_crops_of_one_photograph_are_on_one_side() -> None:
    """Held-out is decided by the source, so crops of a measured photograph are never trained on."""
    for number in range(50):
        crops = {Picture(Path(f"{number}_{crop}.webp"), "a/b", f"{number}.jpg", "CC0").held_out for crop in range(4)}
        assert len(crops) == 1
