"""Jobs watched while they render: real clip, real pipeline, real HTTP, lanes in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.job_parts import LocalLanes, job_of, parts_in
from tests.support.killing import AT_LEISURE, wait_until
from upscale_server.events import Event, SegmentDone
from upscale_server.jobs.copies import Copies
from upscale_server.jobs.janitor import Janitor
from upscale_server.jobs.job import Job, NewJob
from upscale_server.jobs.parts import Parts
from upscale_server.jobs.runner import Runner
from upscale_server.server_settings import Jobs
from upscale_server.service.watching import Watching

SEGMENTS = 3


class Held:
    """Holds the work when so many segments are done, until it is let go."""

    def __init__(self, segments: int) -> None:
        self._segments = segments
        self._done = 0
        self._go_on = threading.Event()
        self.reached = threading.Event()

    def __call__(self, event: Event) -> None:
        """Count, and hold the work at its segment."""
        self._done += isinstance(event, SegmentDone)
        if self._done == self._segments and not self.reached.is_set():
            self.reached.set()
            assert self._go_on.wait(60), "nobody let it go"

    def let_go(self) -> None:
        """Let the work go on."""
        self._go_on.set()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a clip of three seconds with a keyframe every second."""
    picture = Picture(frame_count=75, options={"g": "25"})
    return write_clip(Clip(pictures=(picture,)), tmp_path_factory.mktemp("clip") / "clip.mp4")


@contextmanager
def running(parts: Parts) -> Iterator[tuple[Parts, Runner]]:
    """Give a runner at work; it is stopped at the end."""
    runner = Runner(parts)
    runner.start()
    try:
        yield parts, runner
    finally:
        runner.stop(0)
        parts.store.close()


def submit(parts: Parts, runner: Runner, new: NewJob) -> str:
    """Submit a job and return its name."""
    job = parts.store.add(new, 100)
    runner.wake()
    return job.id


def ended(parts: Parts, runner: Runner, job_id: str) -> Job:
    """Wait until a job is finished and nobody has it in hand."""
    # The encoder is in this process: looked at more often, one that is stuck would never seem idle, and not be noticed.
    wait_until(lambda: parts.store.get(job_id).is_finished and job_id not in runner.carried(), AT_LEISURE)
    return parts.store.get(job_id)


def watched(parts: Parts, job_id: str) -> list[int]:
    """Return which segments of a job can be watched."""
    found = Watching(parts.proxies_dir).of(parts.store.get(job_id))
    return [] if found is None else [one.index for one in found.copies]


def left(parts: Parts) -> list[Path]:
    """Return every file among the copies."""
    return [path for path in parts.proxies_dir.rglob("*") if path.is_file()]


def test_copies_grow_with_the_job_and_outlive_its_work(clip: Path, tmp_path: Path) -> None:
    """While it runs the finished segments are there; when it has succeeded all are, and no other file of its work."""
    gate = Held(2)
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        assert gate.reached.wait(60)
        meanwhile = watched(parts, job_id)
        gate.let_go()
        job = ended(parts, runner, job_id)

        assert [0, 1] == meanwhile
        assert ("succeeded", [0, 1, 2]) == (job.state, watched(parts, job_id))
        assert not (parts.temp_dir / "jobs" / job_id).exists()

        runner.remove(job_id)
        assert [] == left(parts)


def test_cancelled_job_leaves_no_copy(clip: Path, tmp_path: Path) -> None:
    """What was watched goes with the job."""
    gate = Held(1)
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        assert gate.reached.wait(60)
        assert left(parts)
        runner.cancel(job_id)
        gate.let_go()

        assert "canceled" == ended(parts, runner, job_id).state
        assert [] == left(parts)


def test_paused_job_keeps_its_copies_and_goes_on(clip: Path, tmp_path: Path) -> None:
    """Finished segments are not made again, so neither are their copies: they are still there at the end."""
    gate = Held(1)
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        assert gate.reached.wait(60)
        runner.pause(job_id)
        gate.let_go()
        wait_until(lambda: parts.store.get(job_id).state == "paused")
        paused = watched(parts, job_id)
        runner.resume(job_id)
        job = ended(parts, runner, job_id)

        assert job.outcome is not None, job.fault
        assert 1 <= job.outcome.report["segments_reused"] < SEGMENTS
        assert list(range(job.outcome.report["segments_reused"])) == paused
        assert [0, 1, 2] == watched(parts, job_id)


def test_failed_job_leaves_no_copy(clip: Path, tmp_path: Path) -> None:
    """A result that breaks a limit is none, and nothing of it stays to be watched."""
    with running(parts_in(tmp_path)) as (parts, runner):
        job = ended(parts, runner, submit(parts, runner, job_of(clip, maximum_mb=0.0005)))

        assert "failed" == job.state
        assert [] == left(parts)


@pytest.mark.parametrize(("proxies", "profile"), [(False, "general"), (True, "subnet")])
def test_nothing_is_made_to_be_watched_where_nobody_watches(
    clip: Path, tmp_path: Path, *, proxies: bool, profile: str
) -> None:
    """The setting turns copies off, and a miner's job has none; both say how much there is to come, and no more."""
    lanes = LocalLanes()
    with running(parts_in(tmp_path, lanes, jobs=Jobs(proxies=proxies))) as (parts, runner):
        job = ended(parts, runner, submit(parts, runner, job_of(clip, profile=profile)))

        assert "succeeded" == job.state, job.fault
        assert [] == left(parts)
        found = Watching(parts.proxies_dir).of(job)
        assert found is not None
        assert ((), None, 3.0) == (found.copies, found.mime, found.duration_seconds)


def test_copies_of_an_abandoned_plan_go(clip: Path, tmp_path: Path) -> None:
    """A job that was begun again otherwise shows its new result alone."""
    with running(parts_in(tmp_path)) as (parts, runner):
        job = parts.store.add(job_of(clip), 100)
        Copies(parts.proxies_dir, job.id).of("another").mkdir(parents=True)
        runner.wake()
        ended(parts, runner, job.id)

        assert 1 == len(list((parts.proxies_dir / job.id).iterdir()))
        assert [0, 1, 2] == watched(parts, job.id)


def test_janitor_removes_copies_of_nobody_and_the_oldest_over_the_budget(clip: Path, tmp_path: Path) -> None:
    """Those of a job that is gone, or failed without work, go; of the rest the newest stay within the budget."""
    gate = Held(1)
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        gate.let_go()
        first, second = (ended(parts, runner, submit(parts, runner, job_of(clip))) for _ in range(2))
        stranger = Copies(parts.proxies_dir, "0" * 32).of("plan")
        stranger.mkdir(parents=True)
        (stranger / "00000.mp4").write_bytes(b"copy")
        named_otherwise = parts.proxies_dir / "a folder of somebody's"
        named_otherwise.mkdir()
        one = Copies(parts.proxies_dir, first.id).byte_count
        small = replace(parts, settings=parts.settings.model_copy(update={"jobs": Jobs(proxies_bytes=one + one // 2)}))

        Janitor(small, runner.carried).sweep()

        assert ([], [0, 1, 2]) == (watched(parts, first.id), watched(parts, second.id))
        assert not stranger.exists()
        assert named_otherwise.exists()


def test_janitor_leaves_the_copies_of_a_job_in_hand(clip: Path, tmp_path: Path) -> None:
    """One that is tidied up after, or was begun again just now, may look like one that nobody wants."""
    with running(parts_in(tmp_path)) as (parts, runner):
        job = ended(parts, runner, submit(parts, runner, job_of(clip, maximum_mb=0.0005)))
        copies = Copies(parts.proxies_dir, job.id)
        copies.of("plan").mkdir(parents=True)

        Janitor(parts, lambda: frozenset({job.id})).sweep()
        in_hand = copies.path.exists()
        Janitor(parts, frozenset).sweep()

        assert (True, False) == (in_hand, copies.path.exists())


def test_copies_of_a_job_that_failed_stay_while_it_can_be_tried_again(clip: Path, tmp_path: Path) -> None:
    """Its finished segments are used again, and their copies with them; when its work goes, they go."""
    gate = Held(2)
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        assert gate.reached.wait(60)
        parts.objects.is_down = True  # type: ignore[attr-defined]
        gate.let_go()
        failed = ended(parts, runner, job_id)
        Janitor(parts, runner.carried).sweep()
        kept = watched(parts, job_id)
        for path in (parts.temp_dir / "jobs" / job_id).rglob("*"):
            if path.is_file():
                path.unlink()
        Janitor(parts, runner.carried).sweep()

        assert ("failed", [0, 1, 2], []) == (failed.state, kept, watched(parts, job_id))
        assert [] == left(parts)
