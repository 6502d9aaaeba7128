"""Small films for a browser: H.264 in MP4, each frame with its number burnt in, all with the same uneven times.

What a browser makes of them is the tests' business. `READ_NUMBER` reads a number back from what a <video> shows.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip

FRAMES = 40
WIDTH, HEIGHT = 320, 180
TICKS = 30_000
STEPS = (1001, 1001, 1502, 600)
"""Ticks between frames, over and over: a player that thinks in a rate lands beside the frame, and so does one that
seeks to a frame's start, which no browser can name exactly."""
TIMES = tuple(sum(STEPS[n % 4] for n in range(index)) for index in range(FRAMES))

READ_NUMBER = """(video) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0);
  const row = canvas.height / 4, column = canvas.width / 8;
  const mean = (x, y) => {
    const { data } = context.getImageData(x + column / 4, y + row / 4, column / 2, row / 2);
    let sum = 0;
    for (let at = 0; at < data.length; at += 4) sum += data[at] + 2 * data[at + 1] + data[at + 2];
    return sum / data.length;
  };
  let number = 0;
  for (let bit = 0; bit < 8; bit += 1) {
    const [plain, inverse] = [mean(bit * column, 0), mean(bit * column, row)];
    if (Math.abs(plain - inverse) < 40) return null;
    if (plain > inverse) number |= 1 << bit;
  }
  return number;
}"""
"""JavaScript: the number in the picture that a <video> shows, null where none can be read; see `barcode`."""


def film(folder: Path, name: str, **options: str) -> bytes:
    """Return the bytes of a film; `options` are x264's, so that two films differ in their key frames and B-frames."""
    picture = Picture(
        width=WIDTH, height=HEIGHT, time_base=Fraction(1, TICKS), times=TIMES, options={"preset": "fast", **options}
    )
    return write_clip(Clip(".mp4", (picture,)), folder / f"{name}.mp4").read_bytes()
