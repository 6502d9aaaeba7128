"""The seam between pixels and networks: what every engine gives to the pipeline.

Time never enters a model; an upscaler sees arrays and returns arrays, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from upscale_server.models.card import ModelCard

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""`(N, H, W)` luma or `(N, H, W, 3)` RGB full range; uint8 (0..255) or uint16 (0..2**bits - 1, bits given apart)."""


Precision = Literal["auto", "bf16", "f16", "f32"]
"""What a network computes in; `auto` is the fastest that the device has, the card names and the self-test passes."""


def go_on() -> None:
    """Do nothing between two tiles; the default where nobody stops a running batch."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine is asked to run.

    `lanes` is how many batches are worked on at once; `threads` is the number of cores they share, 0 for all that
    this process may use. `max_tile_pixels` bounds an LR window: 0.6 MP of a 32-channel network are 40 MB of
    activations in bf16 (measured: no size is faster on 2 Zen 4 cores with 32 MB of cache, so the bound is memory's).
    `frame_size` (height, width) and `engines`, a folder, are for engines that are built for one size and kept.
    `between_tiles` is called before each tile and stops the batch by raising.
    """

    precision: Precision = "auto"
    lanes: int = 1
    threads: int = 0
    max_tile_pixels: int = 600_000
    frame_size: tuple[int, int] | None = None
    engines: str = ""
    between_tiles: Callable[[], None] = go_on


@dataclass(frozen=True, slots=True)
class Working:
    """How an upscaler really runs: measured or read back from the engine, never hoped."""

    engine: str
    device: str
    precision: str
    self_test_psnr: float


@dataclass(frozen=True, slots=True)
class Upscaled:
    """A batch of HR pixels and, for each frame, whether every value of the network was finite."""

    pixels: Pixels
    finite: NDArray[np.bool_]


class Upscaler(Protocol):
    """Pixels in, `scale` times as many on each side out; safe to call from several threads at once."""

    @property
    def card(self) -> ModelCard:
        """Return the facts of the model that runs."""

    @property
    def working(self) -> Working:
        """Return engine, device and precision as they really are."""

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale a batch.

        Args:
            lr: `(N, H, W)` for a luma model, `(N, H, W, 3)` for an RGB model; uint8 when `bits` is 8, else uint16.
            bits: significant bits of a sample, 8 to 16; white is `2**bits - 1`.
            exact: compute in f32 whatever the working precision is (used to redo a suspect frame).

        Returns:
            Pixels of the same kind and dtype, `(N, H * scale, W * scale[, 3])`, and `finite`, `(N,)`.

        Raises:
            OutOfMemory: the device cannot hold what is asked; `ladder` asks for less.
        """

    def close(self) -> None:
        """Release the device; safe to call twice."""
