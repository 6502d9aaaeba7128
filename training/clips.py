"""Film still pictures with a moving camera and degrade the clips as video on the internet is.

It does not train. Static pictures cannot show what an encoder does between frames, so a window pans and
zooms over each picture, the clip is reduced by swscale and goes through a real encoder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.logging import ERROR, set_level
from av.video.frame import VideoFrame
from PIL import Image

from training.codecs import SUBNET, Coding, coded, reduced
from training.pictures import Picture, read_rgb
from training.shards import Pairs, Planes

log = logging.getLogger("clips")

HR_SIZE = 416
CLIP_FRAMES = 16
FRAMES_KEPT = 4
CLIPS_PER_PICTURE = 2
HELD_OUT_CLIPS = 10
HELD_OUT_FRAMES = 24
LARGEST_STEP = 4.0
"""HR pixels per frame; at 30 frames/s a pan across a 1080p picture in 16 s."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A square window (left, top, size) in picture pixels moving by a constant step per frame."""

    start: tuple[float, float, float]
    step: tuple[float, float, float]

    def window(self, index: int, limit: int) -> tuple[float, float, float, float]:
        """Box (left, top, right, bottom) of a frame, kept inside a picture of `limit` pixels."""
        left, top, size = (start + index * step for start, step in zip(self.start, self.step, strict=True))
        size = min(size, float(limit))
        left, top = (min(max(0.0, value), limit - size) for value in (left, top))
        return left, top, left + size, top + size


def draw_camera(random: np.random.Generator, limit: int) -> Camera:
    """Draw a movement: still, whole-pixel pan (keeps the sharpness), or pan with zoom (natural sharpness)."""
    kind = random.choice(["still", "pan", "zoom", "soft"], p=[0.1, 0.35, 0.4, 0.15])
    # "soft" enlarges a smaller window: footage is often less sharp than its pixel count.
    low, high = {"zoom": (HR_SIZE, limit), "soft": (HR_SIZE * 0.7, HR_SIZE)}.get(str(kind), (HR_SIZE, HR_SIZE))
    size = float(random.uniform(low, high))
    left, top = random.uniform(0, limit - size, 2)
    dx, dy = random.uniform(-LARGEST_STEP, LARGEST_STEP, 2)
    if kind == "still":
        return Camera((float(int(left)), float(int(top)), size), (0.0, 0.0, 0.0))
    if kind == "pan":
        return Camera((float(int(left)), float(int(top)), size), (float(round(dx)), float(round(dy)), 0.0))
    return Camera((float(left), float(top), size), (float(dx), float(dy), float(random.uniform(-2.0, 2.0))))


def filmed(rgb: Planes, camera: Camera, count: int) -> list[VideoFrame]:
    """Film `count` HR frames (yuv420p, limited-range BT.601)."""
    image = Image.fromarray(rgb)
    frames = []
    for index in range(count):
        view = image.resize((HR_SIZE, HR_SIZE), Image.Resampling.BICUBIC, camera.window(index, min(image.size)))
        frames.append(VideoFrame.from_ndarray(np.asarray(view), format="rgb24").reformat(format="yuv420p"))
    return frames


def draw_coding(kind: str, random: np.random.Generator) -> Coding:
    """Draw an encoder setting: the common fast one, or one of the spread."""
    if kind == "ultrafast":
        return SUBNET
    codec = str(random.choice(["libx264", "libx265", "libsvtav1"], p=[0.6, 0.2, 0.2]))
    if codec == "libx264":
        preset = str(random.choice(["ultrafast", "superfast", "veryfast", "fast", "medium"]))
        return Coding(codec, preset, int(random.integers(16, 33)))
    if codec == "libx265":
        return Coding(codec, str(random.choice(["ultrafast", "superfast", "fast"])), int(random.integers(18, 33)))
    return Coding(codec, str(random.integers(8, 10)), int(random.integers(24, 46)))


def luma_planes(frames: list[VideoFrame]) -> Planes:
    """Copy the Y planes (N, H, W) of yuv420p frames."""
    return np.stack([frame.to_ndarray()[: frame.height] for frame in frames])


def coded_clip(rgb: Planes, kind: str, scale: int, random: np.random.Generator) -> Pairs:
    """Film one clip and degrade it; a few of its frames are kept."""
    frames = filmed(rgb, draw_camera(random, min(rgb.shape[:2])), CLIP_FRAMES)
    if random.random() < 0.3:
        frames = coded(frames, Coding("libx264", "veryfast", int(random.integers(16, 26))))
    degraded = coded([reduced(frame, scale) for frame in frames], draw_coding(kind, random))
    kept = np.sort(random.choice(CLIP_FRAMES, FRAMES_KEPT, replace=False))
    return Pairs(luma_planes([degraded[i] for i in kept]), luma_planes([frames[i] for i in kept]))


def coded_pairs(pictures: list[Picture], kind: str, scale: int, seed: int) -> Pairs:
    """Make every clip of one kind."""
    return _joined(_clips(pictures, kind, scale, seed), len(pictures) * CLIPS_PER_PICTURE * FRAMES_KEPT, scale)


def held_out_pairs(pictures: list[Picture], scale: int) -> Pairs:
    """Make the measuring clips: consecutive frames of one crop per held-out photograph."""
    random = np.random.default_rng(7)
    one_each = list({picture.path: picture for picture in pictures}.values())[:HELD_OUT_CLIPS]
    parts = []
    for picture in one_each:
        rgb = read_rgb(picture.file)
        frames = filmed(rgb, draw_camera(random, min(rgb.shape[:2])), HELD_OUT_FRAMES)
        degraded = coded([reduced(frame, scale) for frame in frames], SUBNET)
        parts.append(Pairs(luma_planes(degraded), luma_planes(frames)))
    return _joined(iter(parts), len(parts) * HELD_OUT_FRAMES, scale)


def _clips(pictures: list[Picture], kind: str, scale: int, seed: int) -> Iterator[Pairs]:
    set_level(ERROR)
    os.environ.setdefault("SVT_LOG", "1")
    random = np.random.default_rng([seed, sum(kind.encode()), scale])
    for index, picture in enumerate(pictures):
        rgb = read_rgb(picture.file)
        for _ in range(CLIPS_PER_PICTURE):
            yield coded_clip(rgb, kind, scale, random)
        if index % 50 == 0:
            log.info("filmed kind=%s pictures=%d of=%d", kind, index, len(pictures))


def _joined(parts: Iterator[Pairs], count: int, scale: int) -> Pairs:
    lr = np.empty((count, HR_SIZE // scale, HR_SIZE // scale), np.uint8)
    hr = np.empty((count, HR_SIZE, HR_SIZE), np.uint8)
    filled = 0
    for part in parts:
        until = filled + len(part.lr)
        lr[filled:until], hr[filled:until] = part.lr, part.hr
        filled = until
    return Pairs(lr, hr)
