"""Which size a picture is worked on at, and how it comes back to exactly `factor` times its own.

Pure arithmetic on sizes; nothing is resized here. `exact` never stretches: it pads and cuts off again. `reference` is
the official script's arithmetic to the last truncation (TSD-SR, CVPR 2025, `test_tsdsr.py`), with one exception: where
that script would crash on an odd latent side, the size is rounded to 16 instead of 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from upscale_server.media.types import Size

LATENT = 8
"""Picture pixels of a latent pixel, on each side."""

STEP = 16
"""Picture pixels of a transformer patch: 2 x 2 latent pixels."""

MOST_ENLARGED_PIXELS = 2048 * 2048
"""Up to here a small side is enlarged; a strip of 1 x 519 would otherwise be worked on as 256 x 132 864."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes of one picture's way.

    `resized` is what the source is resized to; `padded` is `resized` with pixels repeated to the right and below, and
    what the networks see; `final` is what comes out. Where `resized` is not `final`, the result is resized once more.
    """

    resized: Size
    padded: Size
    final: Size

    @property
    def latent(self) -> Size:
        """Return the size of the latent."""
        return Size(self.padded.width // LATENT, self.padded.height // LATENT)

    @property
    def stretches(self) -> bool:
        """Tell whether the result is resized once more."""
        return self.resized != self.final


def process_size_matters(source: Size, factor: int, process_size: int) -> bool:
    """Tell whether the process size changes anything: only for pictures with a side below process_size // factor."""
    return min(source.width, source.height) < process_size // factor


def exact(source: Size, factor: int, process_size: int) -> Geometry:
    """Return the sizes for the default mode: enlarged where small, else never stretched.

    Args:
        source: the picture, pixels.
        factor: how many times as large it becomes, on each side.
        process_size: pixels that the shorter side is worked on with at least.
    """
    final = Size(source.width * factor, source.height * factor)
    least = process_size // factor
    resized = final
    if process_size_matters(source, factor, process_size):
        resized = _enlarged(final, least * factor)
    padded = Size(_up(resized.width), _up(resized.height))
    return Geometry(resized, padded, final)


def reference(source: Size, factor: int, process_size: int, tile: int) -> Geometry:
    """Return the sizes of the official script.

    Args:
        source: the picture, pixels.
        factor: how many times as large it becomes, on each side.
        process_size: as the script's option.
        tile: side of a latent tile; it decides which odd sizes the script crashes on.
    """
    final = Size(source.width * factor, source.height * factor)
    width, height = source.width, source.height
    least = process_size // factor
    if min(width, height) < least:
        # IEEE double and truncation, in this order: 49 pixels at 2x and 128 become 63, not 64.
        scale = least / min(width, height)
        width, height = int(scale * width), int(scale * height)
    width, height = width * factor, height * factor
    step = LATENT if _script_survives(width // LATENT, height // LATENT, tile) else STEP
    resized = Size(max(width - width % step, step), max(height - height % step, step))
    return Geometry(resized, resized, final)


def _script_survives(width: int, height: int, tile: int) -> bool:
    """Tell whether the script runs on a latent of this size: one call needs even sides."""
    if min(width, height) < 1:
        return False
    if width * height <= tile * tile:
        return width % 2 == 0 and height % 2 == 0
    return min(tile, width, height) % 2 == 0


def _enlarged(final: Size, least: int) -> Size:
    """Enlarge until the shorter side is `least`, or the area what is sensible; whole pixels, nearest."""
    shorter, area = min(final.width, final.height), final.width * final.height
    bound = math.sqrt(max(1.0, MOST_ENLARGED_PIXELS / area))
    if least / shorter <= bound:
        # In integers: the shorter side is `least` exactly.
        return Size((final.width * least + shorter // 2) // shorter, (final.height * least + shorter // 2) // shorter)
    return Size(math.floor(final.width * bound), math.floor(final.height * bound))


def _up(side: int) -> int:
    return -(-side // STEP) * STEP
