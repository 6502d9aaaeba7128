"""A finished job as it is remembered: what it was, what it took, and what had been said of it.

A value only; whoever watches jobs makes it, and `calibration` keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from upscale_server.models.remembered import is_count, is_figure

Basis = Literal["measured", "calibrated", "rough", "unknown"]
"""Where a figure is from; `estimate` says what each means."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was said before the work."""

    seconds: float | None = None
    byte_count: int | None = None
    seconds_basis: Basis = "unknown"
    byte_count_basis: Basis = "unknown"

    @property
    def holds(self) -> bool:
        """Tell whether these are figures and words that can be judged; what is read from a file may be anything."""
        figures, words = (self.seconds, self.byte_count), (self.seconds_basis, self.byte_count_basis)
        return all(one is None or is_figure(one) for one in figures) and all(one in get_args(Basis) for one in words)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A finished job.

    `seconds` are of its work from the plan to the end of the audit, `start_seconds` of them until the first frames;
    both None where it shared the machine with others or had begun before. `piece_seconds` is a frame's time in its
    pieces, `piece_bytes` what the pieces alone made of the picture; None where there were none. `pixels` are the
    output's in a frame, `source_bytes` of the source's picture as far as it was kept, 0 where a limit decided the size.
    `at_work` are the lanes that it kept busy on average, of `lanes` that there were.
    """

    way: str
    encoder: str
    pixels: int
    megapixels: float
    frames: int
    byte_count: int
    source_bytes: int
    other_bytes: int
    seconds: float | None = None
    start_seconds: float | None = None
    piece_seconds: float | None = None
    piece_bytes: int | None = None
    predicted: Predicted = Predicted()
    lanes: int = 1
    at_work: float = 1.0

    @property
    def megabits(self) -> float:
        """Return what its picture weighs."""
        return max(0, self.byte_count - self.other_bytes) * 8 / 1e6

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> JobRecord | None:  # JSON values of many types
        """Return what a record holds, or None where it holds something else."""
        names = {one.name for one in fields(cls)}
        try:
            known = {name: value for name, value in record.items() if name in names}
            found = cls(**{**known, "predicted": Predicted(**known["predicted"])})
        except (KeyError, TypeError):
            return None
        return found if found._holds and found.predicted.holds else None

    @property
    def _holds(self) -> bool:
        words: tuple[object, ...] = (self.way, self.encoder)
        counts = (self.pixels, self.frames, self.byte_count, self.lanes, self.source_bytes, self.other_bytes)
        figures = (self.megapixels, self.at_work)
        further = (self.seconds, self.start_seconds, self.piece_seconds, self.piece_bytes)
        divisors = (self.pixels, self.megapixels, self.frames, self.byte_count, self.lanes, self.at_work)
        return (
            all(isinstance(one, str) for one in words)
            and all(map(is_count, counts))
            and all(map(is_figure, figures))
            and all(one is None or is_figure(one) for one in further)
            and all(divisors)
        )
