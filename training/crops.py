"""Draw the before/after pictures of docs/models.md from held-out photographs under CC0 and a drawn page.

It does not measure. Each strip shows one place of one frame: the source enlarged by repetition, Lanczos,
each model, and the reference; chroma is the scaler's in all of them, as in the product.

    python -m training.crops --data ../shared/images --models src/upscale_server/models/builtin --out docs/models
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from PIL import Image, ImageDraw, ImageFont

from training.clips import HR_SIZE, Camera, filmed, luma_planes
from training.codecs import SUBNET, coded, reduced
from training.pictures import Luma, read_manifest, read_rgb
from training.upscalers import Contender, baselines, shipped

Rgb = npt.NDArray[np.uint8]
FRAMES = 12
LABEL_HEIGHT = 22
FONT = ImageFont.load_default(14)


@dataclass(frozen=True, slots=True)
class Place:
    """A square of an HR frame worth looking at, and how much it is enlarged."""

    file: str
    left: int
    top: int
    size: int
    zoom: int


DRAWN = "drawn"
"""Instead of a file: a page of text and fine lines, where ringing, halos and false directions show."""

PLACES = {
    "branches": Place("budgie_020_2.webp", 150, 250, 128, 2),
    "rail": Place("budgie_021_2.webp", 100, 110, 128, 2),
    "page": Place(DRAWN, 20, 20, 128, 2),
    "fan": Place(DRAWN, 20, 160, 128, 2),
}

SHOWN = (
    ("rail", "coded", 2),
    ("page", "coded", 2),
    ("branches", "coded", 2),
    ("rail", "clean", 2),
    ("page", "clean", 2),
    ("fan", "clean", 2),
    ("rail", "clean", 4),
    ("page", "clean", 4),
)
"""(place, kind of source, scale) of the pictures in docs/models.md."""


def drawn_page(size: int = 512) -> Rgb:
    """Draw text of several sizes over a fan of lines that becomes finer than LR can show."""
    image = Image.new("RGB", (size * 2, size * 2), "#f4f4f0")
    draw = ImageDraw.Draw(image)
    for row, points in enumerate((20, 26, 34, 48)):
        draw.text((60, 60 + 58 * row), "Upscale 0123 agMW", "#202020", ImageFont.load_default(points))
    for angle in np.linspace(0.0, np.pi / 2, 60):
        end = (60 + 620 * np.cos(angle), 330 + 620 * np.sin(angle))
        draw.line([(60.0, 330.0), (float(end[0]), float(end[1]))], "#303030", 3)
    # Drawn twice as large and reduced: lines get soft edges, as a camera would see them.
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def rgb_of(frame: VideoFrame) -> Rgb:
    """Convert a frame to full-range RGB (H, W, 3)."""
    return frame.reformat(format="rgb24").to_ndarray().astype(np.uint8)


def coloured(luma: Luma, source: VideoFrame) -> Rgb:
    """Put HR luma over the chroma of a frame enlarged by the scaler."""
    height, width = luma.shape
    enlarged = source.reformat(width, height, "yuv444p", interpolation=Interpolation.LANCZOS).to_ndarray()
    planes = np.stack([luma, *enlarged[1:]])
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv444p")
    return rgb_of(frame)


def panels(rgb: Rgb, scale: int, contenders: list[Contender], *, is_coded: bool) -> dict[str, Rgb]:
    """Upscale the last frame of a panned clip in every way; name -> HR picture."""
    frames = filmed(rgb, Camera((8.0, 8.0, HR_SIZE), (2.0, 1.0, 0.0)), FRAMES)
    small = [reduced(frame, scale) for frame in frames]
    source = (coded(small, SUBNET) if is_coded else small)[-1]
    lr = luma_planes([source])[0]
    shown = {f"source 1/{scale}": coloured(lr.repeat(scale, axis=0).repeat(scale, axis=1), source)}
    shown |= {contender.name: coloured(contender.upscale(lr), source) for contender in contenders}
    shown["reference"] = rgb_of(frames[-1])
    return shown


def strip(shown: dict[str, Rgb], place: Place) -> Image.Image:
    """Cut the place out of every picture, enlarge by repetition, and set them side by side with labels."""
    side = place.size * place.zoom
    image = Image.new("RGB", (side * len(shown) + 4 * (len(shown) - 1), side + LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    box = (place.left, place.top, place.left + place.size, place.top + place.size)
    for column, (name, picture) in enumerate(shown.items()):
        cut = Image.fromarray(picture).crop(box).resize((side, side), Image.Resampling.NEAREST)
        image.paste(cut, (column * (side + 4), LABEL_HEIGHT))
        draw.text((column * (side + 4) + 2, 2), name, "#222222", FONT)
    return image


def main() -> None:
    """Parse the command line and write one picture per place, scale and kind of source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path("src/upscale_server/models/builtin"))
    parser.add_argument("--out", type=Path, default=Path("docs/models"))
    args = parser.parse_args()
    files = {picture.file.name: picture.file for picture in read_manifest(args.data) if picture.held_out}
    for name, kind, scale in SHOWN:
        place = PLACES[name]
        rgb = drawn_page() if place.file == DRAWN else read_rgb(files[place.file])
        lanczos = [contender for contender in baselines(scale) if contender.name == "lanczos"]
        shown = panels(rgb, scale, [*lanczos, *shipped(args.models, scale)], is_coded=kind == "coded")
        strip(shown, place).save(args.out / f"{name}-{kind}-x{scale}.png", optimize=True)


if __name__ == "__main__":
    main()
