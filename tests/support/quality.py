"""PSNR of luma and the making of a half-size source, for tests that ask whether a network is worth its time.

It holds no thresholds.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.frames import planes_of

PEAK = 255.0


def lumas(path: Path, count: int) -> list[NDArray[np.uint8]]:
    """Return the luma planes of the first frames of the largest picture, even sides."""
    with av.open(str(path)) as file:
        frames = islice(file.decode(video=0), count)
        planes = [planes_of(frame)[0][0].astype(np.uint8) for frame in frames]
    return [plane[: plane.shape[0] // 4 * 4, : plane.shape[1] // 4 * 4] for plane in planes]


def write_halved(planes: list[NDArray[np.uint8]], path: Path) -> Path:
    """Write gray frames halved by the usual bicubic kernel (Pillow's, antialiased), without coding loss."""
    height, width = planes[0].shape
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width // 2, height // 2, "yuv420p"
        for plane in planes:
            small = Image.fromarray(plane).resize((width // 2, height // 2), Image.Resampling.BICUBIC)
            frame = av.VideoFrame.from_ndarray(np.asarray(small), format="gray")
            out.mux(stream.encode(frame.reformat(format="yuv420p", src_color_range="MPEG", dst_color_range="MPEG")))
        out.mux(stream.encode(None))
    return path


def psnr(expected: list[NDArray[np.uint8]], found: list[NDArray[np.uint8]]) -> float:
    """Return the PSNR over all frames in dB, a border of four samples left out as in the literature."""
    assert len(expected) == len(found)
    errors = [
        np.mean((a.astype(np.float64) - b.astype(np.float64))[4:-4, 4:-4] ** 2)
        for a, b in zip(expected, found, strict=True)
    ]
    return float(10 * np.log10(PEAK**2 / np.mean(errors)))
