"""Draw quality against cost: dB gained over Lanczos by kMAC per LR pixel, one panel per material.

It does not measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.measure import Table

PANEL = (560, 420)
MARGINS = (70, 50, 30, 60)
"""Left, top, right and bottom of a panel, for the labels."""
INK, GRID = "#222222", "#d8d8d8"
COLOURS = {"clean": "#0b6e99", "coded": "#b3541e", "baseline": "#777777"}
FONT = ImageFont.load_default(15)

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@dataclass(frozen=True, slots=True)
class Point:
    """One contender on one material."""

    name: str
    kilo_macs: float
    gain: float

    @property
    def colour(self) -> str:
        """Baselines gray, models by what they are made for."""
        if self.kilo_macs == 0:
            return COLOURS["baseline"]
        return COLOURS["clean" if "clean" in self.name else "coded"]


def gains(table: Table, costs: dict[str, int]) -> list[Point]:
    """Average PSNR-Y over a table's sets (or take its `mean`) and subtract that of Lanczos."""
    rows = [table["mean"]] if "mean" in table else list(table.values())
    psnr = {name: float(np.mean([row[name]["psnr_y"] for row in rows])) for name in rows[0]}
    return [Point(name, costs[name] / 1000.0, value - psnr["lanczos"]) for name, value in psnr.items()]


def draw_chart(results: dict[str, dict[str, Table]], costs: dict[str, int], path: Path) -> None:
    """Write one row of panels per scale; `costs` is keyed by `NAME-xSCALE`."""
    titles = {"pictures": "uncompressed", "held_out": "x264 ultrafast crf 23", "footage": "real footage, coded again"}
    columns = max(len(materials) for materials in results.values())
    image = Image.new("RGB", (PANEL[0] * columns, PANEL[1] * len(results)), "white")
    for row, (scale, materials) in enumerate(results.items()):
        of_scale = {name.rsplit("-", 1)[0]: cost for name, cost in costs.items() if name.endswith(scale)}
        for column, (material, table) in enumerate(materials.items()):
            panel = _panel(f"{scale}, {titles[material]}", gains(table, of_scale))
            image.paste(panel, (PANEL[0] * column, PANEL[1] * row))
    image.save(path, optimize=True)


def _panel(title: str, points: list[Point]) -> Image.Image:
    image = Image.new("RGB", PANEL, "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = MARGINS
    box = (left, top, PANEL[0] - right, PANEL[1] - bottom)
    x_limits = (-10.0, max(point.kilo_macs for point in points) * 1.25 + 10.0)
    lowest, highest = min(point.gain for point in points), max(point.gain for point in points)
    y_limits = (lowest - 0.15, highest + 0.15 + 0.05 * (highest - lowest))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_limits[0]) / (x_limits[1] - x_limits[0])
        up = (y - y_limits[0]) / (y_limits[1] - y_limits[0])
        return box[0] + across * (box[2] - box[0]), box[3] - up * (box[3] - box[1])

    draw.text((left, 14), title, INK, FONT)
    draw.text((left, PANEL[1] - 28), "kMAC per LR pixel   (vertical: dB PSNR-Y over Lanczos)", INK, FONT)
    for tick in _ticks(*y_limits):
        draw.line([place(x_limits[0], tick), place(x_limits[1], tick)], GRID)
        draw.text((14, place(0, tick)[1] - 9), f"{tick:+.1f}", INK, FONT)
    for tick in _ticks(max(0.0, x_limits[0]), x_limits[1]):
        draw.text((place(tick, 0)[0] - 8, box[3] + 6), f"{tick:.0f}", INK, FONT)
    spots = [place(point.kilo_macs, point.gain) for point in points]
    for (x, y), point in zip(spots, points, strict=True):
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), point.colour)
    _label(draw, spots, points)
    return image


def _label(draw: ImageDraw.ImageDraw, spots: list[tuple[float, float]], points: list[Point]) -> None:
    """Write each name where it covers no dot and no other name: right of its dot where that is free."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    for (x, y), point in zip(spots, points, strict=True):
        text = f"{point.name} {point.gain:+.2f}"
        width, height = draw.textlength(text, FONT), 18.0
        corners = [(x + 9, y - 10), (x - 4, y - 26), (x - 4, y + 7), (x - 9 - width, y - 10)]
        corners += [(x + 4 - width, y - 26), (x + 4 - width, y + 7), (x - 4, y - 44)]
        boxes = [(left, top, left + width, top + height) for left, top in corners]
        inside = [box for box in boxes if MARGINS[0] <= box[0] and box[2] < PANEL[0]]
        free = [box for box in inside if not any(_overlap(box, other) for other in taken)]
        box = (free or boxes)[0]
        taken.append(box)
        draw.text(box[:2], text, point.colour, FONT)


def _overlap(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _ticks(low: float, high: float) -> list[float]:
    # 0.1, 0.2, 0.5, 1, 2 ... as far as needed: an x2 model applied twice costs many times a direct x4 one.
    sizes = (factor * 10.0**power for power in count(-1) for factor in (1, 2, 5))
    step = next(size for size in sizes if (high - low) / size <= 8)
    # Adding zero turns -0.0 into 0.0.
    return [round(float(value), 6) + 0.0 for value in np.arange(np.ceil(low / step) * step, high, step)]
