"""What pieces of a source took and weighed on this machine, and the names under which such figures are found again.

Values only: `pieces` makes them, `calibration` keeps them, `estimate` draws the conclusion.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from upscale_server.models.remembered import is_count, is_figure
from upscale_server.plan import Plan

_NOT_THE_WORK = ("lanes", "batch", "decoder", "samples", "warnings", "padding")
_NOT_THE_FILE = ("path", "modified_ns")


@dataclass(frozen=True, slots=True)
class MeasuredPiece:
    """One piece: its frames, the bytes of its packets and of the keyframe that it begins with, and what it took.

    `source_bytes` as in `sampling.Piece`; `seconds` are of so many `timed_frames`, 0 where the time says nothing.
    """

    frame_count: int
    byte_count: int
    lead_bytes: int
    source_bytes: int
    seconds: float = 0.0
    timed_frames: int = 0

    @property
    def holds(self) -> bool:
        """Tell whether these are figures that can be reckoned with; what is read from a file may be anything."""
        counts = (self.frame_count, self.byte_count, self.lead_bytes, self.source_bytes, self.timed_frames)
        return all(map(is_count, counts)) and is_figure(self.seconds) and self.frame_count > 0


@dataclass(frozen=True, slots=True)
class Measured:
    """The pieces of one source that went through model and encoder as its plan says, one after the other on one lane.

    How many lanes its job will have is another matter, and known only when it is asked for.
    """

    pieces: tuple[MeasuredPiece, ...]

    @property
    def seconds_per_frame(self) -> float | None:
        """Return what a frame took, or None where other work was going on.

        The median of the pieces: another program that wakes up for a moment meets one of them.
        """
        rates = [one.seconds / one.timed_frames for one in self.pieces if one.timed_frames]
        return statistics.median(rates) if rates else None

    def as_record(self) -> dict[str, Any]:  # JSON values of many types
        """Return the pieces as plain JSON values."""
        return {"pieces": [asdict(one) for one in self.pieces]}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Measured | None:  # JSON values of many types
        """Return what a record holds, or None where it holds none."""
        try:
            pieces = tuple(MeasuredPiece(**one) for one in record["pieces"])
        except (KeyError, TypeError):
            return None
        return cls(pieces) if pieces and all(one.holds for one in pieces) else None


def estimate_key(plan: Plan) -> str:
    """Return the name of a plan's work wherever its source lies: the same bytes at another path have the same."""
    facts = {name: value for name, value in plan.as_record().items() if name not in _NOT_THE_WORK}
    facts["source"] = {name: value for name, value in facts["source"].items() if name not in _NOT_THE_FILE}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def way_key(plan: Plan) -> str:
    """Return the name of a plan's way of working: jobs of one way differ only in how much there is to do."""
    encoder = plan.encoder
    passes = "+".join(f"{one.card.name}-x{one.card.scale}" for one in plan.passes)
    encoding = f"{encoder.codec} {encoder.preset} {encoder.pixel_format} threads {encoder.threads}"
    return f"{passes} {plan.engine} {plan.precision} {encoding}"


def encoder_key(plan: Plan) -> str:
    """Return the name of what decides the size of an output, its content aside."""
    encoder = plan.encoder
    passes = "+".join(f"{one.card.name}-x{one.card.scale}" for one in plan.passes)
    return f"{passes} {encoder.codec} {encoder.preset} crf{encoder.crf} {encoder.pixel_format}"


def lanes_at_work(plan: Plan, lanes: int) -> float:
    """Return how many lanes a plan keeps busy on average: five segments on four lanes take as long as eight would."""
    segments = len(plan.segments)
    return segments / math.ceil(segments / max(1, lanes))


def output_megapixels(plan: Plan) -> float:
    """Return how many million pixels the output has in all its frames; never nothing, because it is divided by."""
    return plan.target.pixels * max(1, plan.frame_count) / 1e6
