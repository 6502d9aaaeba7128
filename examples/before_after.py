"""Put one frame of a clip beside the same frame of its enlarged version, so that a person can look.

It reads both files with PyAV alone, on purpose: what it shows owes nothing to the code that made the output. Shown is
the most detailed window of the frame, each pixel of the output as four; on the left, the source enlarged by bicubic.

    python examples/before_after.py in.mp4 out.mp4 picture.png [seconds]
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

WINDOW = (320, 240)
# Each pixel is shown as four: a difference of one pixel must be visible in a page that is scaled down.
ZOOM = 2
GAP = 8
LABEL_HEIGHT = 32


def frame_at(path: str, seconds: Fraction) -> Image.Image:
    """Return the first frame of the largest video stream that is shown at `seconds` or later, as full-range RGB."""
    with av.open(path) as container:
        stream = max(container.streams.video, key=lambda video: video.width * video.height)
        for frame in container.decode(stream):
            if frame.pts is not None and frame.time_base is not None and frame.pts * frame.time_base >= seconds:
                return frame.to_image()
    message = f"{path} has no frame at {float(seconds)} s or later"
    raise SystemExit(message)


def most_detailed(picture: Image.Image, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the box, on a grid of 16 pixels, whose neighbouring pixels differ most."""
    luma = np.asarray(picture.convert("L"), dtype=np.float64)
    detail = np.abs(np.diff(luma, axis=0))[:, :-1] + np.abs(np.diff(luma, axis=1))[:-1]
    total = np.pad(detail, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    corners = [
        (x, y)
        for y in range(0, max(1, picture.height - height), 16)
        for x in range(0, max(1, picture.width - width), 16)
    ]

    def inside(corner: tuple[int, int]) -> float:
        left, top = corner
        right, bottom = (min(left + width, total.shape[1] - 1), min(top + height, total.shape[0] - 1))
        return float(total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left])

    left, top = max(corners, key=inside)
    return left, top, min(left + width, picture.width), min(top + height, picture.height)


def side_by_side(before: Image.Image, after: Image.Image) -> Image.Image:
    """Return both windows under their names."""
    box = most_detailed(after, *WINDOW)
    enlarged = before.resize(after.size, Image.Resampling.BICUBIC)
    width, height = ZOOM * (box[2] - box[0]), ZOOM * (box[3] - box[1])
    sheet = Image.new("RGB", (2 * width + GAP, height + LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (name, picture) in enumerate([("before: bicubic", enlarged), ("after: upscale", after)]):
        left = column * (width + GAP)
        draw.text((left + GAP, GAP), name, fill="black", font=ImageFont.load_default(size=16))
        window = picture.crop(box).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(window, (left, LABEL_HEIGHT))
    return sheet


def main(arguments: list[str]) -> None:
    """Write the picture that the arguments ask for."""
    source, output, picture, *rest = arguments
    seconds = Fraction(rest[0]) if rest else Fraction(2)
    side_by_side(frame_at(source, seconds), frame_at(output, seconds)).save(Path(picture), optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
