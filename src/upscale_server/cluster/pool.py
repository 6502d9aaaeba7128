"""The workers of a server whose segments are done by a cluster: the desk is here, the lanes are elsewhere.

What is asked of the lanes is `fleet`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.cluster.fleet import Fleet
from upscale_server.events import Observer
from upscale_server.media.types import Segment
from upscale_server.models.catalogue import family
from upscale_server.plan import Plan
from upscale_server.stopping import Stop
from upscale_server.workers.job_executor import JobExecutor
from upscale_server.workers.lanes import Lanes
from upscale_server.workers.messages import Settled
from upscale_server.workers.needs import DOCUMENTED_LANES, PoolNeeds
from upscale_server.workers.pool import Pool
from upscale_server.workers.status import PoolStatus

_IN_HAND = 2
"""Segments for each lane: one in work, and one that is brought or carried away meanwhile."""


class FleetPool(Pool):
    """A `Pool` whose lanes are a fleet's: it plans for what most of them run, and for no network of its own."""

    def __init__(self, needs: PoolNeeds, fleet: Fleet) -> None:
        super().__init__(needs)
        self._fleet = fleet

    @property
    def settled(self) -> Settled | None:
        """Return what most of the lanes run now; what was known at the start where none is there."""
        now = self._fleet.settled
        return self._at_home(now) if now is not None else super().settled

    def status(self) -> PoolStatus:
        """Return what is true now, of a cluster that cannot be reached and of nodes that are loading, too."""
        found, fault = super().status(), self._fleet.fault
        return PoolStatus(found.ready and not fault, found.fault or fault, self._fleet.statuses(""))

    def close(self, drain_seconds: float = 0.0) -> None:
        """Let running work end for a while, and let go of the cluster. Safe to call twice."""
        super().close(drain_seconds)
        self._fleet.close()  # where no node has come yet

    def task_lanes(self) -> dict[str, int]:
        """Return how many lanes each task really gets: one job may have them all."""
        return dict.fromkeys(DOCUMENTED_LANES, self._fleet.count)

    def most_lanes(self, task: str | None) -> int:
        """Return how many lanes one job may have; one while there is none."""
        del task
        return max(1, self._fleet.count)

    def executor(self, task: str | None, stop: Stop) -> JobExecutor:
        """Return what runs one job's segments on the nodes, and finishes it at the desk."""
        return FleetExecutor(
            lambda: self._ready_for(stop)[0], self._desk, lambda: self.most_lanes(task), stop, self._company
        )

    def _hired(self) -> tuple[Lanes, Settled]:
        """Wait for the first node: what it runs is what is planned for."""
        self._fleet.start()
        return self._fleet, self._at_home(self._fleet.wait_for_a_node(self._closing_reason))

    def _threads_of(self, lanes: int) -> int:
        del lanes  # each node has cores of its own
        return self._fleet.threads

    def _at_home(self, settled: Settled) -> Settled:
        """Return what a node runs with this machine's cards of the same networks."""
        here = family(self._needs.model)
        return Settled(tuple(here.get(one.scale, one) for one in settled.cards), settled.way, settled.pace)


class FleetExecutor(JobExecutor):
    """Gives the longest segments out first, so that none of them is the last to end."""

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Yield each segment's record as it is finished; what it may raise stands at `JobExecutor`."""
        return super().run(plan, sorted(segments, key=_length, reverse=True), work, observer)

    def _in_hand(self) -> int:
        return _IN_HAND * super()._in_hand()


def _length(segment: Segment) -> int:
    """Return how long a segment is; the ends of a video are not known, and are taken for long."""
    if segment.start_pts is None or segment.end_pts is None:
        return 1 << 62
    return segment.end_pts - segment.start_pts
