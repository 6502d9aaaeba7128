"""What a server and the nodes of a cluster say to each other: small values; pictures travel by `transport`.

Values only, which cross machines by pickle: a node of another version is given no work.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from upscale_server.checkpoint import Done
from upscale_server.events import Event
from upscale_server.media.types import Segment
from upscale_server.plan import Plan
from upscale_server.workers.messages import Settled
from upscale_server.workers.status import LaneStatus


@dataclass(frozen=True, slots=True)
class Needs:
    """What a plan's bytes ask of whoever does its segments.

    `cards` are name, scale and SHA-256 of its networks; `made_with` are packages and their versions.
    """

    engine: str
    precision: str
    decoder: str
    cards: tuple[tuple[str, int, str], ...]
    made_with: tuple[tuple[str, str], ...]


def needs_of(plan: Plan) -> Needs:
    """Return what a plan needs."""
    cards = tuple((one.card.name, one.card.scale, one.card.sha256) for one in plan.passes)
    return Needs(plan.engine, plan.precision, plan.decoder, cards, tuple(sorted(plan.made_with.items())))


@dataclass(frozen=True, slots=True)
class NodeOrder:
    """One segment, its source's key, the key that it is to be stored under, and whose it is, for the log.

    `is_watched`: a small copy and a picture of it are stored beside it, where they could be made.
    """

    number: str
    plan: Plan
    segment: Segment
    source_key: str
    result_key: str
    is_watched: bool
    about: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """A finished segment's record; `has_copy`: what can be watched of it, and a picture, were stored beside it."""

    done: Done
    has_copy: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """What happened to an order since it was last asked about; at its end what it made, or the fault that ended it."""

    events: tuple[Event, ...] = ()
    made: Made | None = None
    fault: Exception | None = None

    @property
    def is_last(self) -> bool:
        """Tell whether nothing more will come."""
        return self.made is not None or self.fault is not None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """How a node's device is: its machine, its lanes, and what they run once they have loaded it; `fault` ends it.

    `threads` are the cores that each lane may use, `version` is that of our package there.
    """

    host: str
    version: str
    lanes: tuple[LaneStatus, ...]
    threads: int
    settled: Settled | None
    is_ready: bool
    fault: str | None
