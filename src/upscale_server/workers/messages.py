"""What a server and its worker processes say to each other: values that cross a pipe.

They are orders, and what is heard of them; carrying them is `resident`'s and `held_pipe`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from upscale_server.checkpoint import Done
from upscale_server.events import Event
from upscale_server.media.excerpt import Excerpt
from upscale_server.media.types import Segment
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Candidate
from upscale_server.models.pace import Pace
from upscale_server.plan import Plan
from upscale_server.wish import Limits, Wish

LANE = "lane"
"""The role of a process that holds networks; all others open sources and hold none."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker process is told once, when it starts.

    `threads` are the cores that a network may use; beside `choices` the working points are remembered, None forgets.
    `log_file` is the server's log, None for stderr alone. A source that gives no packet for `source_silent_seconds` is
    given up, and so is one that is looked at for longer than `source_look_seconds` and what its bytes take.
    """

    role: str
    index: int
    threads: int
    log_level: str
    log_style: str
    choices: Path | None = None
    log_file: Path | None = None
    source_silent_seconds: float = 60.0
    source_look_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Greet:
    """Do nothing; answered with None, which proves that the process works."""


@dataclass(frozen=True, slots=True)
class SettleModel:
    """Find the default model's cards, and how they run fastest here; answered with a `Settled`."""

    model: str | None
    choices: Path | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The networks that a lane process holds from its start, how they are run, and their pace at the commonest size."""

    cards: tuple[ModelCard, ...]
    way: Candidate
    pace: Pace | None = None


@dataclass(frozen=True, slots=True)
class FindPace:
    """Find how many calls at once, and frames in each, are fastest with so many threads; answered with a `Pace`."""

    settled: Settled
    threads: int
    choices: Path


@dataclass(frozen=True, slots=True)
class LoadModels:
    """Load, self-test and warm the networks of a lane; answered with the `Working` of the first."""

    settled: Settled


@dataclass(frozen=True, slots=True)
class RunSegment:
    """Do one segment; answered with its `Done`. Its copy for watching goes to `proxies`."""

    plan: Plan
    segment: Segment
    work: Path
    proxies: Path | None = None


@dataclass(frozen=True, slots=True)
class MakePlan:
    """Probe a source and plan its job; answered with a `Plan`."""

    source: Path
    wish: Wish
    limits: Limits
    choices: Path | None


@dataclass(frozen=True, slots=True)
class FinishVideo:
    """Join and audit; answered with a `Finished`."""

    plan: Plan
    done: tuple[Done, ...]
    work: Path


@dataclass(frozen=True, slots=True)
class MeasureQuality:
    """Hold a finished file's pictures against the source's; answered with a `Quality`."""

    plan: Plan
    path: Path


@dataclass(frozen=True, slots=True)
class WriteExcerpt:
    """Write an exact excerpt of a source; answered with None."""

    excerpt: Excerpt
    path: Path


@dataclass(frozen=True, slots=True)
class CompareVideos:
    """Measure how near one video is to another of its size; answered with a `Quality`."""

    reference: Path
    distorted: Path


@dataclass(frozen=True, slots=True)
class ProbeSource:
    """Look at a stranger's file; answered with a `Looked`."""

    source: Path
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class MakePoster:
    """Make one frame of a file a small picture; answered with the bytes of a JPEG."""

    source: Path
    most_pixels: int = Limits().max_pixels


Order = (
    Greet
    | SettleModel
    | FindPace
    | LoadModels
    | RunSegment
    | MakePlan
    | FinishVideo
    | MeasureQuality
    | WriteExcerpt
    | CompareVideos
    | ProbeSource
    | MakePoster
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """An order on its way; the number tells which one an answer or a stop is about.

    `about` is whose order it is, for the log: the job and the request that made it.
    """

    number: int
    order: Order
    about: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the order with this number at the next tile or event."""

    number: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The first thing a worker process says."""

    pid: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What happened since the last message; nothing but that the process lives, where there are no events."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of an order: its value, or the fault that ended it."""

    number: int
    value: object = None
    fault: Exception | None = None
