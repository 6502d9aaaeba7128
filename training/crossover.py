"""Find the bit rate at which the network for compressed sources overtakes the one for clean sources.

It decides nothing: the bound that `model_choice` uses is read off its table. Clips are pictures of B100 under a moving
window, reduced by half and coded at several qualities.

    python -m training.crossover --data ../shared/images
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from av.logging import ERROR, set_level
from av.video.frame import VideoFrame
from PIL import Image

from training.clips import luma_planes
from training.codecs import Coding, coded_and_weighed, reduced
from training.material import STANDARD_SETS
from training.metrics import psnr
from training.pictures import read_rgb
from training.shards import Planes
from training.upscalers import Contender, onnx_contender

FRAMES = 10
STEP = 3
"""Pixels of the panned picture per frame; odd, so that the half-size frames move by a fraction."""

CODINGS = {
    "x264 medium": [Coding("libx264", "medium", crf) for crf in (4, 8, 12, 16, 20, 24, 28)],
    "x265 fast": [Coding("libx265", "fast", crf) for crf in (4, 8, 12, 16, 20, 24, 28)],
    "SVT-AV1 8": [Coding("libsvtav1", "8", crf) for crf in (4, 10, 16, 22, 28, 34, 40)],
    "VP9 4": [Coding("libvpx-vp9", "4", crf) for crf in (4, 10, 16, 22, 28, 34, 40)],
    "MPEG-2": [Coding("mpeg2video", "", quantizer) for quantizer in (1, 2, 3, 4, 6, 9, 14)],
}


@dataclass(frozen=True, slots=True)
class Point:
    """One setting: bits a pixel, and mean PSNR-Y of `fast` less that of `fast-clean`, in dB."""

    bits_per_pixel: float
    gain: float


def panned(rgb: Planes) -> list[VideoFrame]:
    """Return frames of a window moving over a picture (H, W, 3), sides a multiple of four."""
    room = FRAMES * STEP
    width, height = ((side - room) // 4 * 4 for side in (rgb.shape[1], rgb.shape[0]))
    image = Image.fromarray(rgb)
    views = (image.crop((at, at // 3, at + width, at // 3 + height)) for at in range(0, room, STEP))
    return [VideoFrame.from_ndarray(np.asarray(view), format="rgb24").reformat(format="yuv420p") for view in views]


def measured(clips: list[list[VideoFrame]], coding: Coding, clean: Contender, compressed: Contender) -> Point:
    """Measure one encoder setting on all clips."""
    bits, gains = [], []
    for frames in clips:
        small = [reduced(frame, 2) for frame in frames]
        degraded, byte_count = coded_and_weighed(small, coding)
        bits.append(8 * byte_count / (len(small) * small[0].width * small[0].height))
        for lr, hr in zip(luma_planes(degraded), luma_planes(frames), strict=True):
            gains.append(psnr(compressed.upscale(lr), hr, 2) - psnr(clean.upscale(lr), hr, 2))
    return Point(float(np.mean(bits)), float(np.mean(gains)))


def crossing(points: list[Point]) -> float:
    """Return the bits a pixel where the gain changes sign, by a line between the two neighbours; NaN without one."""
    for one, two in pairwise(points):
        if (one.gain < 0.0) != (two.gain < 0.0):
            share = one.gain / (one.gain - two.gain)
            return one.bits_per_pixel + share * (two.bits_per_pixel - one.bits_per_pixel)
    return float("nan")


def main() -> None:
    """Measure every codec and print one table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pictures with eval/")
    parser.add_argument("--models", type=Path, default=Path("src/upscale_server/models/builtin"))
    parser.add_argument("--pictures", type=int, default=9)
    parser.add_argument("--codecs", nargs="+", choices=CODINGS, default=list(CODINGS))
    args = parser.parse_args()
    os.environ.setdefault("SVT_LOG", "1")  # its banner is printed unless told before it loads
    set_level(ERROR)
    files = sorted((args.data / "eval" / STANDARD_SETS["b100"]).glob("*.png"))
    clips = [panned(read_rgb(file)) for file in files[:: len(files) // args.pictures][: args.pictures]]
    clean, compressed = (onnx_contender(args.models / f"{name}-x2.json") for name in ("fast-clean", "fast"))
    for codec in args.codecs:
        points = [measured(clips, coding, clean, compressed) for coding in CODINGS[codec]]
        print(f"{codec}: crosses at {crossing(points):.2f} bits a pixel")
        print("| bits a pixel | " + " | ".join(f"{point.bits_per_pixel:.2f}" for point in points) + " |")
        print("| dB | " + " | ".join(f"{point.gain:+.2f}" for point in points) + " |")


if __name__ == "__main__":
    main()
