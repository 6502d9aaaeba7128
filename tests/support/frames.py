"""Planes to PyAV frames and back, written apart from the product so that a fault there is not mirrored here."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from tests.support.barcode import LAYOUTS, Plane, paint


def painted_frame(index: int, width: int, height: int, pixel_format: str) -> av.VideoFrame:
    """Return picture `index` in a planar format of `LAYOUTS`; other formats are converted from 4:4:4."""
    if pixel_format not in LAYOUTS:
        return painted_frame(index, width, height, "yuv444p").reformat(format=pixel_format)
    frame = av.VideoFrame(width, height, pixel_format)
    for target, plane in zip(frame.planes, paint(index, width, height, LAYOUTS[pixel_format]), strict=True):
        _store(target, plane)
    return frame


def planes_of(frame: av.VideoFrame) -> tuple[tuple[Plane, ...], int]:
    """Return the planes of a decoded frame and its bits a sample; what is not planar YUV is converted to 4:4:4."""
    bits = frame.format.components[0].bits
    if is_rgb(frame):
        # The product documents BT.709, limited range, for RGB sources.
        frame, bits = frame.reformat(format="yuv444p", dst_colorspace="ITU709", dst_color_range="MPEG"), 8
    planes = []
    for position, plane in enumerate(frame.planes):
        component = frame.format.components[position]
        planes.append(_load(plane, component.width, component.height, bits))
    return tuple(planes), bits


def is_rgb(frame: av.VideoFrame) -> bool:
    """Say whether a frame holds red, green and blue or a palette of them."""
    return frame.format.is_rgb or frame.format.has_palette


def stamped(frame: av.VideoFrame, pts: int, time_base: Fraction) -> av.VideoFrame:
    """Set the time of a frame and return it."""
    frame.pts, frame.time_base = pts, time_base
    return frame


def _store(target: av.video.plane.VideoPlane, plane: Plane) -> None:
    rows, columns = plane.shape
    line = target.line_size // plane.itemsize
    buffer = np.zeros((target.height, line), dtype=plane.dtype)
    buffer[:rows, :columns] = plane
    target.update(buffer.tobytes())


def _load(plane: av.video.plane.VideoPlane, width: int, height: int, bits: int) -> Plane:
    kind = np.uint8 if bits == 8 else np.uint16
    samples = np.frombuffer(plane, dtype=kind)
    return samples.reshape(-1, plane.line_size // samples.itemsize)[:height, :width].copy()
