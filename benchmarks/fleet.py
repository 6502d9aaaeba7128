"""A fleet of GPUs that work on the segments of many jobs, as a discrete-event simulation with failures and stragglers.

One queue for the fleet; a GPU does one segment at a time; a node that dies loses its running segments, which wait again
once that is noticed; when a job's last segment is done, one server joins and audits it. It knows no figures of ours:
they are handed in, and `sim_fleet` takes them from the results of the benchmarks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import simpy

_SHORTEST_REST = 0.2
"""As in `cutting`: a shorter rest joins the segment before."""

Events = Generator[simpy.Event, Any, None]  # what comes of an event has many types


@dataclass(frozen=True, slots=True)
class Costs:
    """What work takes, in seconds.

    `work` is a GPU's for one second of video that is neither easy nor hard; `each` is what a segment takes a GPU beside
    its frames; `finish` is a server's desk for joining and auditing one second of video.
    """

    work: float
    each: float
    finish: float = 0.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The machines.

    `hours_between_failures` are those of one node. A node that died is missed after `notice_seconds`, and another one
    is ready after `return_seconds` more. `slow_share` of the GPUs take `slow_times` as long; every segment's time is
    off by `jitter` (standard deviation of its logarithm). `desks` are those of all servers, None for as many as are
    wanted.
    """

    gpus: int
    gpus_of_a_node: int = 8
    hours_between_failures: float = math.inf
    notice_seconds: float = 0.0
    return_seconds: float = 0.0
    slow_share: float = 0.0
    slow_times: float = 1.0
    jitter: float = 0.0
    desks: int | None = None

    @property
    def nodes(self) -> int:
        """Return how many nodes hold the GPUs."""
        return math.ceil(self.gpus / self.gpus_of_a_node)


@dataclass(frozen=True, slots=True)
class Job:
    """A video of so many seconds, handed in at a moment; a hard one takes `hardness` times as long."""

    index: int
    kind: str
    arrives: float
    seconds: float
    hardness: float = 1.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment of a job, with its place in the queue: the smallest `turn` first."""

    job: Job
    index: int
    seconds: float
    turn: tuple[float, ...] = field(compare=False)


@dataclass(slots=True)
class Spent:
    """GPU seconds, by what they went to; `stretched` is what slow nodes and jitter added, negative where they saved."""

    useful: float = 0.0
    overhead: float = 0.0
    stretched: float = 0.0
    lost: float = 0.0
    down: float = 0.0
    capacity: float = 0.0

    @property
    def utilisation(self) -> float:
        """Return the part of all GPU seconds in which a segment was worked on, whatever came of it."""
        return (self.useful + self.overhead + self.stretched + self.lost) / self.capacity

    @property
    def cost(self) -> float:
        """Return the GPU seconds taken for each useful one."""
        return (self.useful + self.overhead + self.stretched + self.lost) / self.useful


@dataclass(frozen=True, slots=True)
class Ended:
    """When a job's last segment was done, and when the job was: in seconds since it was handed in."""

    job: Job
    rendered: float
    finished: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all jobs; `times_done` counts how often each segment was finished, `makespan` ends with all.

    `redone` counts segments of nodes that died while it was counted.
    """

    ended: tuple[Ended, ...]
    spent: Spent
    times_done: Counter[tuple[int, int]]
    redone: int
    makespan: float


def pieces_of(seconds: float, length: float) -> list[float]:
    """Return the lengths of a video's segments; nothing is known here of keyframes."""
    whole = int(seconds // length)
    rest = seconds - whole * length
    if whole and rest < length * _SHORTEST_REST:
        return [length] * (whole - 1) + [length + rest]
    return [length] * whole + ([rest] if rest > 0 else [])


def largest_first(job: Job, place: int, seconds: float, _now: float) -> tuple[float, ...]:
    """Order the fleet's queue by the length of segments alone."""
    return (-seconds, job.arrives, place)


def oldest_first(job: Job, place: int, _seconds: float, _now: float) -> tuple[float, ...]:
    """Give the fleet to the job that waits longest, its largest segments first."""
    return (job.arrives, job.index, place)


def in_turns(job: Job, place: int, _seconds: float, now: float) -> tuple[float, ...]:
    """Let jobs take turns, each with its largest segment first; `now` is the turn that the fleet is at."""
    return (now + place, job.arrives, job.index)


Order = Callable[[Job, int, float, float], tuple[float, ...]]
ORDERS: dict[str, Order] = {"largest": largest_first, "oldest": oldest_first, "turns": in_turns}


class Simulation:
    """One run; everything that is random comes from the seed.

    Args:
        fleet: the machines.
        costs: what work takes on them.
        length: seconds of video in a segment.
        order: who comes first in the queue.
        seed: of failures, slow nodes and jitter.
    """

    def __init__(self, fleet: Fleet, costs: Costs, length: float, order: Order = in_turns, seed: int = 0) -> None:
        self._fleet, self._costs, self._length, self._order, self._seed = fleet, costs, length, order, seed
        self._env = simpy.Environment()
        self._queue = simpy.PriorityStore(self._env)
        self._desks = simpy.Resource(self._env, fleet.desks or 1_000_000_000)
        slow = round(fleet.slow_share * fleet.gpus)
        self._slow = frozenset(Random(f"{seed} slow").sample(range(fleet.gpus), slow))
        self._turn = 0.0
        self._numbers = count()
        self._missing: dict[int, int] = {}
        self._rendered: dict[int, simpy.Event] = {}
        self._ended: list[Ended] = []
        self._times_done: Counter[tuple[int, int]] = Counter()
        self._redone = 0
        self._spent = Spent()
        self._since, self._until = 0.0, math.inf

    def run(self, jobs: Sequence[Job], since: float = 0.0, until: float = math.inf) -> Outcome:
        """Do all jobs that come before a moment, among those that come after it.

        Args:
            jobs: in any order.
            since: GPU seconds are counted from this moment on, when the fleet is as full as it stays.
            until: and to this moment, or to the end of all. Jobs that come later keep the fleet full meanwhile.
        """
        self._since, self._until = since, until
        for place in range(self._fleet.nodes):
            self._env.process(self._node(place))
        carried = [(job, self._env.process(self._carry(job))) for job in jobs]
        self._env.run(until=self._env.all_of([process for job, process in carried if job.arrives < until]))
        self._spent.capacity = self._fleet.gpus * self._counted(since, self._env.now)
        return Outcome(tuple(self._ended), self._spent, self._times_done, self._redone, self._env.now)

    def _carry(self, job: Job) -> Events:
        """Lead a job through its life."""
        yield self._env.timeout(job.arrives)
        lengths = sorted(enumerate(pieces_of(job.seconds, self._length)), key=lambda one: -one[1])
        self._missing[job.index], self._rendered[job.index] = len(lengths), self._env.event()
        now = self._turn
        for place, (index, seconds) in enumerate(lengths):
            self._wait(Piece(job, index, seconds, self._order(job, place, seconds, now)))
        yield self._rendered[job.index]
        rendered = self._env.now - job.arrives
        with self._desks.request() as desk:
            yield desk
            yield self._env.timeout(job.seconds * self._costs.finish)
        self._ended.append(Ended(job, rendered, self._env.now - job.arrives))

    def _wait(self, piece: Piece) -> None:
        self._queue.put(simpy.PriorityItem((*piece.turn, next(self._numbers)), piece))

    def _node(self, place: int) -> Events:
        """Keep a node's GPUs at work, between its deaths."""
        fleet, chance = self._fleet, Random(f"{self._seed} node {place}")
        first = place * fleet.gpus_of_a_node
        gpus = range(first, min(first + fleet.gpus_of_a_node, fleet.gpus))
        while True:
            lost: list[Piece] = []
            workers = [self._env.process(self._work(gpu, lost)) for gpu in gpus]
            if math.isinf(fleet.hours_between_failures):
                return
            yield self._env.timeout(chance.expovariate(1 / (3600 * fleet.hours_between_failures)))
            died = self._env.now
            for worker in workers:
                worker.interrupt()
            yield self._env.timeout(fleet.notice_seconds)
            for piece in lost:
                self._redone += self._since <= died < self._until
                self._wait(piece)
            yield self._env.timeout(fleet.return_seconds)
            self._spent.down += len(gpus) * self._counted(died, self._env.now)

    def _work(self, gpu: int, lost: list[Piece]) -> Events:
        """Do one segment after the other, until the node dies."""
        while True:
            asked = self._queue.get()
            try:
                found: simpy.PriorityItem = yield asked
            except simpy.Interrupt:
                asked.cancel()
                given = asked.value if asked.triggered else None
                if isinstance(given, simpy.PriorityItem):  # given away in the very moment
                    lost.append(given.item)
                return
            piece: Piece = found.item
            self._turn = max(self._turn, piece.turn[0])
            began, work = self._env.now, piece.seconds * self._costs.work * piece.job.hardness
            took = self._costs.each + work * self._pace(gpu, piece)
            try:
                yield self._env.timeout(took)
            except simpy.Interrupt:
                self._spent.lost += self._counted(began, self._env.now)
                lost.append(piece)
                return
            self._note(piece, began, work)

    def _pace(self, gpu: int, piece: Piece) -> float:
        """Return how many times as long a piece takes here."""
        times = self._fleet.slow_times if gpu in self._slow else 1.0
        if not self._fleet.jitter:
            return times
        return times * Random(f"{self._seed} {piece.job.index} {piece.index}").lognormvariate(0, self._fleet.jitter)

    def _note(self, piece: Piece, began: float, work: float) -> None:
        took = self._env.now - began
        counted = self._counted(began, self._env.now) / took if took else 0.0
        self._spent.useful += counted * work
        self._spent.overhead += counted * self._costs.each
        self._spent.stretched += counted * (took - work - self._costs.each)
        self._times_done[piece.job.index, piece.index] += 1
        self._missing[piece.job.index] -= 1
        if not self._missing[piece.job.index]:
            self._rendered[piece.job.index].succeed()

    def _counted(self, began: float, ended: float) -> float:
        """Return how much of a time is counted."""
        return max(0.0, min(ended, self._until) - max(began, self._since))
