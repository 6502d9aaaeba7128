"""Resident workers as real processes: what they do when they die, hang, are stopped, or meet a hostile file.

The work is slow where a test needs its middle: frames large enough that a segment takes seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bad_files import BAD_SOURCES
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.killing import wait_until
from tests.support.processes import command_line, descendants, is_alive, kill, workers_of
from upscale_server.checkpoint import WorkDir
from upscale_server.errors import Canceled, ModelsNotLoaded, UpscaleError
from upscale_server.events import Event, FramesDone, Observer, SegmentDone, ignore
from upscale_server.models.load import load
from upscale_server.pieces import measure_pieces
from upscale_server.pipeline import Result, upscale_video
from upscale_server.plan import Plan, make_plan
from upscale_server.quality import fidelity_of
from upscale_server.stopping import parking
from upscale_server.wish import Limits, Wish
from upscale_server.workers.in_process import InProcess
from upscale_server.workers.needs import PoolNeeds
from upscale_server.workers.pool import Pool
from upscale_server.workers.resident import Patience

pytestmark = pytest.mark.timeout(300)  # a worker starts in a second on a quiet machine, in ten on a busy one
PATIENCE = Patience(release_seconds=60.0, silent_seconds=120.0)
LANCZOS = PoolNeeds(lanes=1, model="lanczos", patience=PATIENCE, log_level="critical")
WISH = Wish(scale=2, model="lanczos", preset="ultrafast", segment_seconds=1.0)


def go_on() -> str:
    """Give no reason to stop."""
    return ""


@contextmanager
def pool_of(needs: PoolNeeds) -> Iterator[Pool]:
    """Give a pool that is ready."""
    pool = Pool(needs)
    pool.start()
    try:
        wait_until(lambda: pool.status().ready or pool.status().fault is not None)
        assert pool.status().ready, pool.status().fault
        yield pool
    finally:
        pool.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Give a pool with one lane, which several tests kill."""
    with pool_of(LANCZOS) as ready:
        yield ready


@pytest.fixture(scope="module")
def two_lanes() -> Iterator[Pool]:
    """Give a pool with two lanes."""
    with pool_of(replace(LANCZOS, lanes=2)) as ready:
        yield ready


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give four segments of 25 frames, each of which takes long enough to be met in its middle."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    picture = Picture(width=640, height=360, frame_count=100, options={"g": "25", "preset": "ultrafast"})
    write_clip(Clip(pictures=(picture,)), path)
    return path


@pytest.fixture(scope="module")
def plan(clip: Path) -> Plan:
    """Give its plan."""
    made = make_plan(clip, replace(WISH, threads=1))
    assert len(made.segments) == 4
    return made


@pytest.fixture(scope="module")
def undisturbed(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give the bytes that the executor in process makes."""
    with InProcess(lambda _plan, one: load(one.card)) as executor:
        return upscale_video(plan, executor, tmp_path_factory.mktemp("work"), ignore).path.read_bytes()


def run(pool: Pool, plan: Plan, work: Path, observer: Observer = ignore, stop: Callable[[], str] = go_on) -> Result:
    """Do a job on a pool."""
    return upscale_video(plan, pool.executor(None, stop), work, observer)


def lane_of(pool: Pool, index: int = 0) -> int:
    """Return the process of a lane."""
    pid = pool.status().lanes[index].pid
    assert pid is not None
    return pid


class Once:
    """An observer that does something at the first frames it hears of."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.frames = 0
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Look at an event."""
        self.events.append(event)
        if isinstance(event, FramesDone):
            self.frames += event.count
            act, self.act = self.act, lambda: None
            act()


def test_a_lane_makes_the_same_bytes_as_the_executor_in_process(
    pool: Pool, plan: Plan, undisturbed: bytes, tmp_path: Path
) -> None:
    """Where a segment runs changes nothing."""
    assert undisturbed == run(pool, plan, tmp_path).path.read_bytes()


def test_the_desk_measures_what_the_process_itself_would(pool: Pool, plan: Plan, tmp_path: Path) -> None:
    """Strangers' files are opened at the desk; the numbers and their events come back."""
    result, once = run(pool, plan, tmp_path), Once(lambda: None)

    found = pool.executor(None, go_on).measure(plan, result.path, once)

    assert fidelity_of(plan, result.path) == found
    assert (100, 100) == (found.frames, once.frames)


def test_what_is_measured_keeps_nobody_from_the_desk(
    plan: Plan, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two measurements that take for ever a file is looked at; once they are stopped nothing of them is left."""
    program, looks, over = tmp_path / "ffmpeg", [0, 0], threading.Event()
    program.write_text('#!/bin/sh\nif [ "$2" = -h ]; then echo n_subsample; exit; fi\nexec sleep 600.25\n')
    program.chmod(0o700)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))

    def measuring() -> list[int]:
        return [pid for pid in descendants(os.getpid()) if b"600.25" in command_line(pid)]

    def measure(number: int) -> str:
        def stop() -> str:
            looks[number] += 1
            return "enough" if over.is_set() else ""

        with pytest.raises(Canceled) as caught:
            pool.compare(clip, clip, ignore, stop)
        return caught.value.detail

    with pool_of(LANCZOS) as pool, ThreadPoolExecutor(2) as threads:
        try:
            ends = [threads.submit(measure, number) for number in range(2)]
            wait_until(lambda: bool(measuring()))
            wait_until(lambda: min(looks) > 3)  # both were given to a process, or wait for one

            assert plan.source.size == pool.look(clip, go_on).info.size
        finally:
            over.set()
        assert ["enough", "enough"] == [end.result() for end in ends]
    assert [] == measuring()


def test_killed_lane_is_replaced_and_its_segment_done_again(
    pool: Pool, plan: Plan, undisturbed: bytes, tmp_path: Path
) -> None:
    """A power cut for one process costs the job a segment's time, and no frame is told of twice."""
    before = lane_of(pool)
    once = Once(lambda: kill(lane_of(pool)))

    result = run(pool, plan, tmp_path, once)

    assert undisturbed == result.path.read_bytes()
    assert [0, 1, 2, 3] == [event.index for event in once.events if isinstance(event, SegmentDone)]
    assert before != lane_of(pool)
    assert not is_alive(before)


def test_segment_that_kills_two_lanes_fails_naming_the_signal(pool: Pool, plan: Plan, tmp_path: Path) -> None:
    """The third lane is not given to it, and the pool goes on."""
    killed: list[int] = []

    def kill_each(event: Event) -> None:
        if isinstance(event, FramesDone) and lane_of(pool) not in killed and len(killed) < 2:
            killed.append(lane_of(pool))
            kill(killed[-1])

    def stop() -> str:  # asked while a lane works, also before it tells of a frame that the first try had told of
        if killed and pool.status().lanes[0].state == "busy" and lane_of(pool) not in killed and len(killed) < 2:
            killed.append(lane_of(pool))
            kill(killed[-1])
        return ""

    with pytest.raises(UpscaleError, match=r"two worker processes died.*signal 9 \(SIGKILL\)"):
        run(pool, plan, tmp_path, kill_each, stop)

    assert 2 == len(killed)
    wait_until(lambda: pool.status().lanes[0].state == "ready")


def test_silent_lane_is_killed_and_its_segment_done_again(plan: Plan, undisturbed: bytes, tmp_path: Path) -> None:
    """A process that hangs is as good as dead, and with it the door that it opens files behind."""
    impatient = replace(LANCZOS, patience=replace(PATIENCE, silent_seconds=8.0))
    with pool_of(impatient) as pool:
        stopped = lane_of(pool)
        family = [stopped, *descendants(stopped)]

        result = run(pool, plan, tmp_path, Once(lambda: [os.kill(pid, signal.SIGSTOP) for pid in family]))

        assert undisturbed == result.path.read_bytes()
        assert len(family) >= 2
        wait_until(lambda: not any(is_alive(pid) for pid in family))


def test_cancelled_job_stops_before_its_segment_ends(pool: Pool, plan: Plan, tmp_path: Path) -> None:
    """The lane lets go by itself and takes the next order; the segment is not finished."""
    reason: list[str] = []
    before = lane_of(pool)
    once = Once(lambda: reason.append("canceled"))

    with pytest.raises(Canceled, match=r"^canceled$"):
        run(pool, plan, tmp_path, once, lambda: reason[0] if reason else "")

    assert not any(isinstance(event, SegmentDone) for event in once.events)
    assert before == lane_of(pool)
    assert "ready" == pool.status().lanes[0].state


def test_lane_that_does_not_let_go_is_killed(plan: Plan, tmp_path: Path) -> None:
    """A cancel ends within the time that a lane is given, whatever it does."""
    reason: list[str] = []
    with pool_of(replace(LANCZOS, patience=replace(PATIENCE, release_seconds=0.5))) as pool:
        stopped = lane_of(pool)

        def stop_it() -> None:
            os.kill(stopped, signal.SIGSTOP)
            reason.append("canceled")

        with pytest.raises(Canceled, match=r"^canceled$"):
            run(pool, plan, tmp_path, Once(stop_it), lambda: reason[0] if reason else "")

        wait_until(lambda: not is_alive(stopped))


def test_parked_job_keeps_the_segments_of_all_its_lanes(
    two_lanes: Pool, plan: Plan, undisturbed: bytes, tmp_path: Path
) -> None:
    """What runs comes to its end on both lanes, nothing more begins, and the job goes on from there."""
    reason: list[str] = []
    both_run = Once(lambda: None)

    def park(event: Event) -> None:
        both_run(event)
        if isinstance(event, FramesDone) and all(lane.state == "busy" for lane in two_lanes.status().lanes):
            reason.append(parking("paused"))

    with pytest.raises(Canceled, match="paused"):
        run(two_lanes, plan, tmp_path, park, lambda: reason[0] if reason else "")
    kept = [one.index for one in plan.segments if WorkDir(tmp_path, plan.digest).find(one.index)]
    result = run(two_lanes, plan, tmp_path)

    assert [0, 1] == kept
    assert 2 == result.reused
    assert undisturbed == result.path.read_bytes()


def test_observer_that_fails_stops_the_job_and_frees_the_lane(pool: Pool, plan: Plan, tmp_path: Path) -> None:
    """The error comes out as it is, and the lane and the desk do the next job."""

    def fail(event: Event) -> None:
        if isinstance(event, FramesDone):
            raise ArithmeticError("the database is gone")  # noqa: TRY004 - stands for any failure

    with pytest.raises(ArithmeticError, match="the database is gone"):
        run(pool, plan, tmp_path, fail)

    assert "ready" == pool.status().lanes[0].state


@pytest.mark.parametrize("bad", [one for one in BAD_SOURCES if not one.begins_well][:8], ids=lambda one: one.name)
def test_hostile_file_is_named_and_the_desk_lives_on(pool: Pool, bad: object, tmp_path: Path) -> None:
    """Probing answers an error of ours from the process that opened the file."""
    path = tmp_path / bad.name  # type: ignore[attr-defined]
    bad.write(path)  # type: ignore[attr-defined]
    before = [seat.resident.pid for seat in pool._desk.seats if seat.resident]

    with pytest.raises(UpscaleError) as caught:
        pool.plan(path, WISH, Limits(), go_on)

    assert caught.value.code in bad.codes  # type: ignore[attr-defined]
    assert before == [seat.resident.pid for seat in pool._desk.seats if seat.resident]


def test_desk_killed_while_planning_is_replaced(pool: Pool, clip: Path) -> None:
    """A file that brings a decoder down once costs a second look."""
    killed: list[int] = []
    pids = [seat.resident.pid for seat in pool._desk.seats if seat.resident and seat.resident.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # so that it cannot be done before it is killed

    def stop() -> str:
        busy = [seat.resident.pid for seat in pool._desk.seats if seat.state == "busy" and seat.resident]
        if busy and busy[0] and not killed:
            killed.append(busy[0])
            kill(busy[0])
            for pid in set(pids) - set(killed):
                os.kill(pid, signal.SIGCONT)
        return ""

    plan = pool.plan(clip, WISH, Limits(), stop)

    assert 100 == plan.frame_count
    assert 1 == len(killed)
    wait_until(lambda: all(seat.state == "ready" for seat in pool._desk.seats))


def test_model_that_is_missing_is_a_fault_and_not_ready(tmp_path: Path) -> None:
    """A server without its networks says so, and whoever asks for work is told why."""
    pool = Pool(replace(LANCZOS, model=str(tmp_path / "none.onnx")))
    pool.start()
    try:
        wait_until(lambda: pool.status().fault is not None)

        assert not pool.status().ready
        assert "none.onnx" in str(pool.status().fault)
        with pytest.raises(ModelsNotLoaded, match=r"none\.onnx"):
            pool.plan(tmp_path / "any.mp4", WISH, Limits(), go_on)
    finally:
        pool.close()


def test_two_jobs_share_two_lanes(two_lanes: Pool, plan: Plan, tmp_path: Path) -> None:
    """Neither job has to wait for the other one's end."""
    ends: list[str] = []

    def note(name: str) -> Observer:
        return lambda event: ends.append(name) if isinstance(event, SegmentDone) else None

    threads = [
        threading.Thread(target=run, args=(two_lanes, plan, tmp_path / name, note(name))) for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {"one", "two"} == set(ends[:4])  # by turns: four ends of the same job would be first come, first served
    assert 8 == len(ends)


def test_pieces_are_measured_on_a_lane_and_weigh_the_same_as_here(two_lanes: Pool, plan: Plan, tmp_path: Path) -> None:
    """The server's estimate is the command line's; how many lanes its job would have is asked apart."""
    with InProcess(lambda _plan, one: load(one.card)) as here:
        _, expected = measure_pieces(plan, here, tmp_path, ignore)

    _, measured = measure_pieces(plan, two_lanes.executor(None, go_on), tmp_path, ignore)

    assert expected is not None
    assert measured is not None
    assert [(one.frame_count, one.byte_count, one.lead_bytes) for one in expected.pieces] == [
        (one.frame_count, one.byte_count, one.lead_bytes) for one in measured.pieces
    ]
    assert 2 == two_lanes.most_lanes(None)
    assert (measured.seconds_per_frame or 0) > 0
    assert [] == list(tmp_path.iterdir())


def test_measuring_stops_when_nobody_waits_for_it(two_lanes: Pool, plan: Plan, tmp_path: Path) -> None:
    """A page that was closed keeps no lane busy."""
    stopped: list[str] = []
    seen = Once(lambda: stopped.append("nobody waits"))

    with pytest.raises(Canceled, match="nobody waits"):
        measure_pieces(plan, two_lanes.executor(None, lambda: stopped[0] if stopped else ""), tmp_path, seen)

    assert [] == list(tmp_path.iterdir())


def test_closing_while_a_job_runs_ends_job_and_processes(plan: Plan, tmp_path: Path) -> None:
    """Nobody waits for ever, nothing is left, and a second close does nothing."""
    with pool_of(LANCZOS) as pool:
        pids = workers_of(os.getpid())
        closing = threading.Thread(target=pool.close)

        with pytest.raises(UpscaleError, match="the server is stopping"):
            run(pool, plan, tmp_path, Once(closing.start))

        closing.join()
        pool.close()
        assert lane_of(pool) in pids
        wait_until(lambda: not is_alive(lane_of(pool)))


PARENT = """
import sys, time
from upscale_server.workers.needs import PoolNeeds
from upscale_server.workers.pool import Pool
if __name__ == "__main__":
    pool = Pool(PoolNeeds(lanes=1, model="lanczos"))
    pool.start()
    while not (status := pool.status()).ready:
        assert status.fault is None, status.fault
        time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_workers_end_with_their_killed_server(tmp_path: Path) -> None:
    """Kill -9 of the server leaves no process."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        for line in iter(parent.stdout.readline, "ready\n"):
            assert line, "it ended before it was ready"
            sys.stdout.write(line)  # its log, for whoever has to find out why it is never ready
        wait_until(lambda: 6 == len(workers_of(parent.pid)))  # three workers, and each one's cage
        workers = workers_of(parent.pid)
    finally:
        parent.kill()
        parent.communicate()

    wait_until(lambda: not any(is_alive(pid) for pid in workers))
