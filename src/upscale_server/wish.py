"""What a user may ask for and what is refused whatever is asked: the two inputs of a plan besides the source.

They are values; reading them from a command line or a request belongs to `cli` and `web`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before any work: sides and pixels in samples, the length of a source; of that, 0 is no bound."""

    max_source_side: int = 16_384
    max_pixels: int = 35_389_440
    max_output_side: int = 16_384
    max_seconds: float = 0.0
    max_frames: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; None leaves the choice to the plan.

    `max_bytes` is a promise about the output's size; `padding` makes its size one of a kind (see `budget`). `settled`
    tells that `precision` is what was measured to be fastest, not asked for: memory may force a lower one.
    `allow_partial` takes what is there of a source that ends early.
    """

    task: str | None = None
    to: str | None = None
    scale: int | None = None
    fit: str | None = None
    model: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    codec: str = "hevc"
    crf: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    start_seconds: float | None = None
    duration_seconds: float | None = None
    decoder: str = "cpu"
    threads: int = 0
    segment_seconds: float = 10.0
    container: str = "mp4"
    profile: str = "general"
    max_bytes: int | None = None
    padding: int = 0
    settled: bool = False
    allow_partial: bool = True
