"""Segments on the nodes of a cluster: each is done once and recorded, whoever comes, goes, fails or is slow."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.killing import wait_until
from tests.support.near_cluster import NearCluster, NearNode, Pretender
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.cluster.fleet import Fleet
from upscale_server.cluster.orders import needs_of
from upscale_server.cluster.pool import FleetPool
from upscale_server.cluster.remote import Remote
from upscale_server.cluster.seats import Member, Request, Seats
from upscale_server.cluster.transport import FolderTransport
from upscale_server.errors import Canceled, DeviceUnused, DiskFull, ModelsNotLoaded, SourceCorrupt
from upscale_server.events import Event, FramesDone, Observer, SegmentDone, ignore
from upscale_server.media.types import Segment
from upscale_server.plan import Plan, make_plan
from upscale_server.stopping import Stop, parking
from upscale_server.wish import Wish
from upscale_server.workers.needs import PoolNeeds


@pytest.fixture
def plan(bundled_clip: Path) -> Plan:
    """Give a plan of five segments."""
    return make_plan(bundled_clip, Wish(scale=2, model="lanczos", segment_seconds=1.0))


@pytest.fixture
def transport(tmp_path: Path) -> FolderTransport:
    """Give a shared folder."""
    return FolderTransport(tmp_path / "shared")


class Harness:
    """A fleet of nodes, and one job on it."""

    def __init__(self, transport: FolderTransport, folder: Path, nodes: dict[str, Remote]) -> None:
        self.cluster = NearCluster(**nodes)
        self.fleet = Fleet(self.cluster, transport, "me")
        self.pool = FleetPool(PoolNeeds(model="lanczos"), self.fleet)
        self.folder = folder
        self.fleet.start()

    def ready(self, lanes: int) -> None:
        """Wait until the fleet has so many lanes."""
        wait_until(lambda: lanes == self.fleet.count)

    def run(
        self,
        plan: Plan,
        segments: Sequence[Segment] | None = None,
        stop: Stop = lambda: "",
        observer: Observer = ignore,
    ) -> list[Done]:
        """Run segments as a job's executor does."""
        self.pool._lanes, self.pool._settled = self.fleet, self.fleet.settled
        work = WorkDir(self.folder / "work", plan.digest)
        return list(self.pool.executor(None, stop).run(plan, segments or plan.segments, work, observer))


@contextmanager
def fleet_of(transport: FolderTransport, folder: Path, **nodes: Remote) -> Iterator[Harness]:
    """Give a fleet that has met its nodes."""
    harness = Harness(transport, folder, nodes)
    try:
        yield harness
    finally:
        harness.fleet.close()


def test_every_segment_is_done_once_and_recorded(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """Its file is in the job's folder with the marker that a restart looks for; nothing stays on the way."""
    a, b = Pretender(transport), Pretender(transport)
    events: list[Event] = []

    with fleet_of(transport, tmp_path, a=a, b=b) as harness:
        harness.ready(2)
        done = harness.run(plan, observer=events.append)

    indices = sorted(one.index for one in plan.segments)
    assert indices == sorted(one.index for one in done)
    assert indices == sorted([*a.done, *b.done])
    assert a.done
    assert b.done
    work = WorkDir(tmp_path / "work", plan.digest)
    assert all(work.find(index) is not None for index in indices)
    assert 2 * len(indices) == sum(event.count for event in events if isinstance(event, FramesDone))
    assert indices == sorted(event.index for event in events if isinstance(event, SegmentDone))
    assert [] == [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    assert harness.cluster.is_closed


def test_a_node_gets_no_more_than_its_lanes_hold(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """What waits, waits here: a node that is lost loses what it runs and nothing more."""
    node = Pretender(transport, lanes=2)

    with fleet_of(transport, tmp_path, a=node) as harness:
        harness.ready(2)
        harness.run(plan)

    assert 2 == node.most


def test_the_longest_segments_go_first(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """None of them is the last to end; which of the two in hand for a lane comes first is theirs to settle."""
    node = Pretender(transport)
    first, *rest, fourth, _ = plan.segments
    longer = replace(fourth, end_pts=10 * (fourth.end_pts or 0))

    with fleet_of(transport, tmp_path, a=node) as harness:
        harness.ready(1)
        harness.run(plan, [replace(first, start_pts=0), *rest, longer])

    assert longer.index in node.done[:2]


def test_a_lost_nodes_segment_is_done_by_another(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """The job's observer is told of its frames throughout."""
    events: list[Event] = []
    lost, other = NearNode(slow := Pretender(transport)), Pretender(transport)
    slow.gate.clear()
    other.gate.clear()

    with fleet_of(transport, tmp_path, a=lost, b=other) as harness:
        harness.ready(2)
        running = threading.Thread(target=lambda: harness.run(plan, observer=events.append))
        running.start()
        wait_until(lambda: bool(lost.begun) and sum(isinstance(one, FramesDone) for one in events) > 3)
        lost.is_lost = True
        other.gate.set()
        running.join(30)

    assert not running.is_alive()
    assert sorted(one.index for one in plan.segments) == sorted(other.done)


def test_a_node_that_comes_during_a_job_gets_work(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """The job goes on wider than it began."""
    first, second = Pretender(transport), Pretender(transport)
    first.gate.clear()

    with fleet_of(transport, tmp_path, a=first) as harness:
        harness.ready(1)
        running = threading.Thread(target=lambda: harness.run(plan))
        running.start()
        wait_until(lambda: bool(first.orders))
        harness.cluster.join("b", second)
        wait_until(lambda: 4 == len(second.done))
        first.gate.set()
        running.join(30)

    assert (1, 4) == (len(first.done), len(second.done))


def test_a_node_without_the_engine_gets_nothing(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """However free it is."""
    poor, able = Pretender(transport, lanes=8, lacking="engine cuda does not run here"), Pretender(transport)

    with fleet_of(transport, tmp_path, a=poor, b=able) as harness:
        harness.ready(9)
        harness.run(plan)

    assert [] == poor.done
    assert len(plan.segments) == len(able.done)


def test_a_job_that_no_node_can_do_waits_and_can_be_canceled(
    plan: Plan, transport: FolderTransport, tmp_path: Path
) -> None:
    """A node that can may still join."""
    reason = [""]
    threading.Timer(0.5, lambda: reason.__setitem__(0, "canceled")).start()

    with fleet_of(transport, tmp_path, a=Pretender(transport, lacking="nothing fits")) as harness:
        harness.ready(1)
        with pytest.raises(Canceled, match="canceled"):
            harness.run(plan, stop=lambda: reason[0])


def test_what_a_node_fails_with_by_itself_is_tried_elsewhere(
    plan: Plan, transport: FolderTransport, tmp_path: Path
) -> None:
    """Its disk is full; the other's is not."""
    full, other = Pretender(transport, faults=[DiskFull("no space left")]), Pretender(transport)

    with fleet_of(transport, tmp_path, a=full, b=other) as harness:
        harness.ready(2)
        done = harness.run(plan)

    assert len(plan.segments) == len(done)


def test_what_every_node_fails_with_fails_the_job(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """With what the last one said; nobody waits for a node that there is not."""
    full = [DiskFull("no space left"), DiskFull("no space left either")]
    nodes = {name: Pretender(transport, faults=[fault]) for name, fault in zip("ab", full, strict=True)}

    with fleet_of(transport, tmp_path, **nodes) as harness:
        harness.ready(2)
        with pytest.raises(DiskFull, match="no space left"):
            harness.run(plan, plan.segments[:1])


def test_a_node_that_fails_by_itself_does_not_draw_the_work_to_it(
    plan: Plan, transport: FolderTransport, tmp_path: Path
) -> None:
    """It is free at once, and would be the first choice for every segment."""
    sick = Pretender(transport, faults=[DeviceUnused("the GPU is off the bus")] * 99)
    other = Pretender(transport)

    with fleet_of(transport, tmp_path, a=sick, b=other) as harness:
        harness.ready(2)
        harness.run(plan)

    assert 98 == len(sick.faults)
    assert len(plan.segments) == len(other.done)


def test_one_segment_that_waits_for_a_node_does_not_hold_up_the_others(plan: Plan, transport: FolderTransport) -> None:
    """It has failed on the one that is free; the one that could do it loads still."""
    seats, needs = Seats(), needs_of(plan)
    free, loading = Pretender(transport), Pretender(transport)
    ready = free.facts()
    seats.members = {
        "free": Member("free", free, ready, lacking={needs: ""}),
        "loading": Member("loading", loading, replace(ready, is_ready=False)),
    }
    stopped = [""]

    def wait_for_another() -> None:
        with suppress(Canceled), seats.lent(Request("job", needs, frozenset({"free"})), lambda: stopped[0]):
            pass

    choosy = threading.Thread(target=wait_for_another)
    choosy.start()
    wait_until(lambda: bool(seats._waiting))
    with seats.lent(Request("job", needs), lambda: "") as seat:
        assert "free" == seat.member.name
    stopped[0] = "enough"
    choosy.join(30)
    assert not choosy.is_alive()


def test_a_node_of_another_version_gets_nothing(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """What it makes may be other bytes."""
    old, own = Pretender(transport, version="0.0.9"), Pretender(transport)

    with fleet_of(transport, tmp_path, a=old, b=own) as harness:
        harness.ready(1)
        harness.run(plan)

    assert [] == old.done


def test_what_keeps_all_nodes_from_loading_is_shown(transport: FolderTransport, tmp_path: Path) -> None:
    """Also before any has loaded: who asks for the server's health learns why nothing happens."""
    with fleet_of(transport, tmp_path, a=Pretender(transport, fault="model fast is damaged")) as harness:
        wait_until(lambda: harness.fleet.fault is not None)
        status = harness.pool.status()

    assert (False, "near: model fast is damaged") == (status.ready, status.fault)


def test_what_came_back_as_something_else_is_made_again(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """A record says what was made; a file that is not it is no segment."""
    node = Pretender(transport, spoiled=1)

    with fleet_of(transport, tmp_path, a=node) as harness:
        harness.ready(1)
        done = harness.run(plan, plan.segments[:1])

    assert [0, 0] == node.done
    assert [0] == [one.index for one in done]


def test_a_node_that_gets_what_it_lacked_is_asked_again(
    plan: Plan, transport: FolderTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that was added while the job waited."""
    monkeypatch.setattr("upscale_server.cluster.seats._TOLD_SECONDS", 0.1)
    node = Pretender(transport, lacking="model x2 is not here")
    threading.Timer(0.5, lambda: setattr(node, "lacking", "")).start()

    with fleet_of(transport, tmp_path, a=node) as harness:
        harness.ready(1)
        done = harness.run(plan)

    assert len(plan.segments) == len(done)


def test_what_the_source_fails_with_fails_the_job(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """Another node would find the same; those that run are told to stop."""
    bad, other = Pretender(transport, faults=[SourceCorrupt("no frame decodes")]), Pretender(transport)
    other.gate.clear()
    bad.gate.clear()

    def fail_when_both_run() -> None:
        wait_until(lambda: bool(bad.orders and other.orders))
        bad.gate.set()

    with fleet_of(transport, tmp_path, a=bad, b=other) as harness:
        harness.ready(2)
        threading.Thread(target=fail_when_both_run).start()
        with pytest.raises(SourceCorrupt, match="no frame decodes"):
            harness.run(plan)

    assert 1 == len(other.stopped)


def test_a_segment_under_which_every_node_is_lost_fails_with_the_cause(
    plan: Plan, transport: FolderTransport, tmp_path: Path
) -> None:
    """It may be the segment that takes them along."""
    node = Pretender(transport, faults=[Canceled("its own idea")] * 5)

    with fleet_of(transport, tmp_path, a=node) as harness:
        harness.ready(1)
        with pytest.raises(ModelsNotLoaded, match="the node that did it was lost: it stopped the segment"):
            harness.run(plan, plan.segments[:1])


def test_a_cancel_reaches_every_node(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """With its reason; what ran is not recorded."""
    nodes = {name: Pretender(transport) for name in "abc"}
    for node in nodes.values():
        node.gate.clear()
    reason = [""]

    with fleet_of(transport, tmp_path, **nodes) as harness:
        harness.ready(3)
        threading.Timer(0.5, lambda: reason.__setitem__(0, "canceled")).start()
        with pytest.raises(Canceled, match="canceled"):
            harness.run(plan, stop=lambda: reason[0])

    assert 3 == sum(bool(node.stopped) for node in nodes.values())
    assert [] == [*(tmp_path / "work").glob("*.json")]


def test_a_parked_job_keeps_what_its_nodes_have_begun(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """What runs comes to its end and is recorded; nothing more is begun."""
    node = Pretender(transport, lanes=2)
    node.gate.clear()
    reason = [""]

    with fleet_of(transport, tmp_path, a=node) as harness:
        harness.ready(2)
        threading.Timer(0.3, lambda: reason.__setitem__(0, parking("paused"))).start()
        threading.Timer(0.8, node.gate.set).start()
        with pytest.raises(Canceled, match="paused"):
            harness.run(plan, stop=lambda: reason[0])

    assert 2 == len(node.done) == len([*(tmp_path / "work").glob("*.json")])
    assert {} == node.stopped


def test_jobs_take_turns(plan: Plan, transport: FolderTransport, tmp_path: Path) -> None:
    """A long job does not keep a short one waiting to its end."""
    node = Pretender(transport)
    node.gate.clear()
    ended: list[str] = []

    def run(name: str, segments: Sequence[Segment]) -> None:
        work = WorkDir(tmp_path / name, plan.digest)
        list(harness.pool.executor(None, lambda: "").run(plan, segments, work, ignore))
        ended.append(name)

    with fleet_of(transport, tmp_path, a=node) as harness:
        harness.ready(1)
        harness.pool._lanes, harness.pool._settled = harness.fleet, harness.fleet.settled
        threads = [threading.Thread(target=run, args=("long", plan.segments))]
        threads[0].start()
        wait_until(lambda: bool(node.orders))
        threads.append(threading.Thread(target=run, args=("short", plan.segments[:1])))
        threads[1].start()
        wait_until(lambda: 2 == len(harness.fleet._seats._waiting))
        node.gate.set()
        for thread in threads:
            thread.join(30)

    assert ["short", "long"] == ended


def test_what_most_lanes_run_is_planned_for(transport: FolderTransport, tmp_path: Path) -> None:
    """One machine with many lanes outweighs two with one each; its cores are what a lane may use."""
    big, small = Pretender(transport, lanes=3, engine="bicubic"), Pretender(transport)

    with fleet_of(transport, tmp_path, a=small, b=big, c=Pretender(transport)) as harness:
        harness.ready(5)
        settled = harness.pool.settled
        assert settled is not None
        assert "bicubic" == settled.way.engine
        assert 3 == harness.pool._threads_of(5)
        assert {"SD2HD": 5, "SD24K": 5, "HD24K": 5, "4K28K": 5} == harness.pool.task_lanes()
        assert ["CPU on near"] * 5 == [lane.device for lane in harness.fleet.statuses("")]
        assert [0, 1, 2, 3, 4] == [lane.index for lane in harness.fleet.statuses("")]


def test_a_fleet_without_nodes_is_not_ready_and_has_no_fault(transport: FolderTransport, tmp_path: Path) -> None:
    """Nodes may still come; one that leaves is forgotten."""
    with fleet_of(transport, tmp_path, a=Pretender(transport)) as harness:
        harness.ready(1)
        harness.cluster.leave("a")
        harness.ready(0)
        assert not harness.fleet.is_loaded
        assert harness.fleet.fault is None
        assert () == harness.fleet.statuses("")
