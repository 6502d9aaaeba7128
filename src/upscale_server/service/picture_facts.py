"""What a caller wants of a picture, and what a loaded model is: the words of the seam in `picture_models`.

Values only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants of a picture: its factor, the processing size, and a seed for a model that takes one."""

    factor: int
    process_size: int
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What runs, as `/health` and `/info` tell it.

    `dtype` is in torch's spelling, which callers know; `process_size_matters` is false where a network takes any size.
    """

    name: str
    transformer: bool
    vae: bool
    device: str
    dtype: str
    engine: str
    process_size_matters: bool
    details: tuple[tuple[str, str], ...] = ()
