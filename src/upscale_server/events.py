"""Frozen records of what happened, so that progress bars, logs and metrics are observers and not branches.

It says nothing about how an event is shown or stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A job entered a phase: `upscale`, `join`, `audit` or `quality`."""

    phase: str
    frames_total: int


@dataclass(frozen=True, slots=True)
class FramesDone:
    """`count` more frames were upscaled, encoded or checked in the current phase."""

    count: int


@dataclass(frozen=True, slots=True)
class SegmentReused:
    """A segment finished by an earlier run was found whole and is not done again."""

    index: int
    frame_count: int


@dataclass(frozen=True, slots=True)
class SegmentDone:
    """A segment was finished and published."""

    index: int
    frame_count: int
    byte_count: int
    stage_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class FrameRedone:
    """A frame failed the numerical guard and was computed again in full precision."""

    pts: int
    reason: str


@dataclass(frozen=True, slots=True)
class SteppedDown:
    """Memory did not suffice, and less is asked of the device from here on; `point` says how much, for reading."""

    model: str
    size: str
    point: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know; `code` is stable, `detail` is for reading."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class JobBegun:
    """A job was claimed for the first time since a caller queued it."""

    waited_seconds: float


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job came to its end: succeeded, failed or canceled; `seconds` since its first claim, None without one."""

    outcome: str
    task: str | None
    seconds: float | None


Event = (
    PhaseStarted | FramesDone | SegmentReused | SegmentDone | FrameRedone | SteppedDown | Warned | JobBegun | JobEnded
)
Observer = Callable[[Event], None]


def both(first: Observer, second: Observer) -> Observer:
    """Return an observer that tells two others."""

    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


def ignore(event: Event) -> None:
    """Observe nothing; the default where nobody listens."""
    del event
