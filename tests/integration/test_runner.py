"""Jobs carried from their source to their result: real clip, real pipeline, and everything that comes between.

The lanes are this process and the model needs no weights; where work must be caught in the middle, a gate holds it at
an event until the test has done its part.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import bent_clips
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.job_parts import (
    LocalLanes,
    Ready,
    Shelf,
    Stoppable,
    asked_of,
    job_of,
    left_behind,
    parts_in,
    result_of,
)
from tests.support.killing import AT_LEISURE, wait_until
from upscale_server import quality
from upscale_server.calibration import Calibration
from upscale_server.checkpoint import Done, WorkDir
from upscale_server.errors import (
    Conflict,
    Gone,
    OutOfMemory,
    OutputTooLarge,
    SourceUnreachable,
    StorageError,
    UpscaleError,
)
from upscale_server.events import Event, FramesDone, Observer, PhaseStarted, SegmentDone
from upscale_server.jobs import carry, deadline, turns
from upscale_server.jobs.folder import uploads_folder
from upscale_server.jobs.hold import Hold
from upscale_server.jobs.job import Claim, Job, NewJob, Outcome, Source
from upscale_server.jobs.parts import Parts, Stop, Watch
from upscale_server.jobs.runner import Runner
from upscale_server.jobs.tables import jobs
from upscale_server.media.types import Segment
from upscale_server.pipeline import Executor, Finished, Result, upscale_as_planned
from upscale_server.plan import Plan
from upscale_server.server_settings import Fetch
from upscale_server.storage.base import About, Stored, UploadMemory
from upscale_server.wish import Limits, Wish
from upscale_server.workers.in_process import InProcess

ROOM = 100
SEGMENTS = 3
SERVER = [sys.executable, "-m", "tests.support.job_server"]


class Gate:
    """Holds the work at the first event that a question says yes to, until it is opened."""

    def __init__(self, is_it: Callable[[Event], bool]) -> None:
        self._is_it = is_it
        self._open = threading.Event()
        self.reached = threading.Event()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Let an event pass, or hold it."""
        self.events.append(event)
        if self._is_it(event) and not self.reached.is_set():
            self.reached.set()
            assert self._open.wait(60), "nobody opened the gate"

    def wait(self) -> None:
        """Wait until the work has come to the gate."""
        assert self.reached.wait(60), "the work never came to the gate"

    def open(self) -> None:
        """Let the work go on."""
        self._open.set()


def frames_of_segment(index: int) -> Callable[[Event], bool]:
    """Return a question: are these the first frames of a segment?"""
    finished = []

    def is_it(event: Event) -> bool:
        if isinstance(event, SegmentDone):
            finished.append(event.index)
        return isinstance(event, FramesDone) and len(finished) == index

    return is_it


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a clip of three seconds with a keyframe every second."""
    picture = Picture(frame_count=75, options={"g": "25"})
    return write_clip(Clip(suffix=".mp4", pictures=(picture,)), tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the digest of the result that nothing disturbed."""
    with running(parts_in(tmp_path_factory.mktemp("undisturbed"))) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip)))
        assert done.state == "succeeded", done.fault
        return sha256(result_of(parts, done))


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
    job = parts.store.add(new, ROOM)
    runner.wake()
    return job.id


def ended(parts: Parts, job_id: str) -> Job:
    """Wait until a job is finished and nobody has it in hand."""
    # The encoder is in this process: looked at more often, one that is stuck would never seem idle, and not be noticed.
    wait_until(lambda: parts.store.get(job_id).is_finished, AT_LEISURE)
    return parts.store.get(job_id)


def became(parts: Parts, job_id: str, *states: str) -> Job:
    """Wait until a job is in one of some states."""
    wait_until(lambda: parts.store.get(job_id).state in states)
    return parts.store.get(job_id)


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fault_of(job: Job) -> dict[str, Any]:
    """Return the fault of a failed job."""
    assert job.fault is not None, job
    return job.fault


def report_of(job: Job) -> dict[str, Any]:
    """Return the report of a succeeded job."""
    assert job.outcome is not None, job.fault
    return job.outcome.report


def leaves_nothing(parts: Parts) -> None:
    """Wait until the temporary folder holds no file; a job's end is stored before its folder goes."""
    wait_until(lambda: left_behind(parts) == [])


def test_job_leaves_its_result_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    """The result is audited, reported and stored, and the folder is gone."""
    with running(parts_in(tmp_path)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip)))
        leaves_nothing(parts)

        assert done.outcome is not None, done.fault
        assert f"results/{done.id}.mp4" == done.outcome.key
        assert result_of(parts, done).stat().st_size == done.outcome.byte_count
        assert done.outcome.audit["ok"] is True
        assert (75, SEGMENTS, 0, "lanczos") == tuple(
            done.outcome.report[name] for name in ("frames", "segments", "segments_reused", "model")
        )
        assert ("done", 75, 75, SEGMENTS) == (
            done.progress.phase, done.progress.frames_done, done.progress.frames_total, done.progress.segments_done
        )  # fmt: skip
        assert done.outcome.report["plan"]
        assert done.plan is not None


def test_jobs_are_held_against_what_was_said_of_them_and_teach_the_next(clip: Path, tmp_path: Path) -> None:
    """The report has both; what the first job took is what the second is expected to take."""
    with running(parts_in(tmp_path)) as (parts, runner):
        first, second = (report_of(ended(parts, submit(parts, runner, job_of(clip)))) for _ in range(2))

    assert ["rough", "calibrated"] == [one["predicted"]["basis"]["seconds"] for one in (first, second)]
    assert first["actual"]["byte_count"] == second["actual"]["byte_count"]
    # Both jobs are the same work, on a machine that does other things, too.
    assert 0.1 * first["actual"]["seconds"] < second["predicted"]["seconds"] < 10 * first["actual"]["seconds"]
    learned = Calibration.in_folder(parts.settings.state_dir).jobs()
    assert [first["actual"]["seconds"], second["actual"]["seconds"]] == [round(one.seconds or 0, 3) for one in learned]


def test_a_job_beside_another_teaches_no_time(clip: Path, tmp_path: Path) -> None:
    """What two jobs take of one machine together is true of neither."""

    class Crowded(LocalLanes):
        def executor(self, task: str | None, stop: Stop) -> Executor:
            return replace(cast("Stoppable", super().executor(task, stop)), alone=False)

    with running(parts_in(tmp_path, Crowded())) as (parts, runner):
        report = report_of(ended(parts, submit(parts, runner, job_of(clip))))

    assert report["actual"]["seconds"] > 0
    (learned,) = Calibration.in_folder(parts.settings.state_dir).jobs()
    assert (None, report["actual"]["byte_count"]) == (learned.seconds, learned.byte_count)


def test_twenty_duplicates_are_one_job(clip: Path, tmp_path: Path) -> None:
    """A request that is sent twenty times at once is done once."""
    with running(parts_in(tmp_path)) as (parts, runner):
        new = replace(job_of(clip), idempotency_key="same")
        with ThreadPoolExecutor(20) as pool:
            names = set(pool.map(lambda _: submit(parts, runner, new), range(20)))
        for name in names:
            ended(parts, name)

        assert 1 == len(names)
        assert 1 == parts.objects.puts  # type: ignore[attr-defined]


def test_cancelled_job_stops_and_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    """A cancel in the middle of a segment ends the job there; the others go on."""
    gate = Gate(frames_of_segment(1))
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        gate.wait()
        assert left_behind(parts)

        told = runner.cancel(job_id)
        wait_until(lambda: runner._hands[job_id].hold.reason == "canceled")
        gate.open()
        done = ended(parts, job_id)
        leaves_nothing(parts)

        assert ("running", "canceled") == (told.state, told.wanted)
        assert "canceled" == done.state
        assert [] == list(parts.objects.listed())
        assert 1 == sum(isinstance(event, SegmentDone) for event in gate.events)


def test_cancelled_waiting_job_takes_its_upload_with_it(clip: Path, tmp_path: Path) -> None:
    """What was sent for a job that never began does not stay."""
    lanes = LocalLanes(state=Ready(ready=False))
    with running(parts_in(tmp_path, lanes)) as (parts, runner):
        job_id = submit(parts, runner, uploaded(parts, clip))
        assert left_behind(parts)

        assert "canceled" == runner.cancel(job_id).state
        leaves_nothing(parts)
        with pytest.raises(Gone, match="upload"):
            runner.retry(job_id)


def test_nothing_is_claimed_before_the_lanes_are_ready(clip: Path, tmp_path: Path) -> None:
    """A job waits while models load instead of failing for it."""
    lanes = LocalLanes(state=Ready(ready=False))
    with running(parts_in(tmp_path, lanes)) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        runner.wake()
        assert ("queued", 0) == (parts.store.get(job_id).state, parts.store.get(job_id).attempt)

        lanes.state = Ready()
        runner.wake()

        assert "succeeded" == ended(parts, job_id).state


def test_paused_job_goes_on_with_the_same_bytes(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """A pause keeps what is finished, a resume does the rest, and the result is the same."""
    gate = Gate(frames_of_segment(1))
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        gate.wait()
        runner.pause(job_id)
        wait_until(lambda: runner._hands[job_id].hold.reason == "paused")
        gate.open()
        paused = became(parts, job_id, "paused")
        kept = left_behind(parts)

        runner.resume(job_id)
        done = ended(parts, job_id)

        assert 2 == sum(name.endswith(".json") for name in kept), "the running segment is parked, no other is begun"
        assert ("paused", "") == (paused.state, paused.wanted)
        assert 2 == report_of(done)["segments_reused"]
        assert undisturbed == sha256(result_of(parts, done))


def test_pause_by_mistake_is_taken_back(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """A resume before the pause is done lets the job go on as if nothing had been asked."""
    gate = Gate(frames_of_segment(1))
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        gate.wait()
        asked = runner.pause(job_id)
        wait_until(lambda: runner._hands[job_id].hold.reason == "paused")
        runner.resume(job_id)
        wait_until(lambda: not runner._hands[job_id].hold.reason)
        gate.open()
        done = ended(parts, job_id)

        assert ("running", "paused") == (asked.state, asked.wanted)
        assert ("succeeded", 1) == (done.state, done.attempt)
        assert undisturbed == sha256(result_of(parts, done))


def test_drain_outlasts_a_pause_that_is_taken_back(clip: Path, tmp_path: Path) -> None:
    """A server that stops while a pause is wanted goes on stopping when the pause is not wanted any more."""
    store = parts_in(tmp_path).store
    store.add(job_of(clip), ROOM)
    claim = store.claim("a", 30)
    assert claim is not None
    hold = Hold(store, claim, 30)
    hold.ask("paused")
    hold.ask("draining", 0)

    hold.enter("fetch")  # the store is asked, and wants no pause

    assert "draining" == hold.stop()
    store.close()


def test_stopping_server_parks_its_jobs(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """A drain ends the running segment and gives the job back; the next start goes on from there."""
    gate = Gate(frames_of_segment(1))
    parts = parts_in(tmp_path, LocalLanes(gate))
    runner = Runner(parts)
    runner.start()
    job_id = submit(parts, runner, job_of(clip))
    gate.wait()
    stopping = threading.Thread(target=runner.stop, args=(60,))
    stopping.start()
    wait_until(lambda: runner._hands[job_id].hold.reason == "draining")
    gate.open()
    stopping.join()

    assert ("queued", 1) == (parts.store.get(job_id).state, parts.store.get(job_id).attempt)
    with running(parts):
        done = ended(parts, job_id)
        assert 2 == report_of(done)["segments_reused"]
        assert undisturbed == sha256(result_of(parts, done))


def test_impatient_stop_ends_in_the_middle_of_a_segment(clip: Path, tmp_path: Path) -> None:
    """With no time to drain the running segment is given up, and the job is not."""
    gate = Gate(frames_of_segment(0))
    parts = parts_in(tmp_path, LocalLanes(gate))
    runner = Runner(parts)
    runner.start()
    job_id = submit(parts, runner, job_of(clip))
    gate.wait()
    stopping = threading.Thread(target=runner.stop, args=(0,))
    stopping.start()
    wait_until(lambda: runner._hands[job_id].hold.stop() == "draining")
    gate.open()
    stopping.join()

    assert "queued" == parts.store.get(job_id).state
    assert 0 == sum(isinstance(event, SegmentDone) for event in gate.events)
    parts.store.close()


def test_retry_after_a_store_that_was_down_only_stores(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """The finished file outlives the store's outage, so that nothing is upscaled again."""
    gate = Gate(lambda _: False)
    lanes = LocalLanes(gate)
    with running(parts_in(tmp_path, lanes)) as (parts, runner):
        parts.objects.is_down = True  # type: ignore[attr-defined]
        job_id = submit(parts, runner, job_of(clip))
        failed = ended(parts, job_id)
        seen = len(gate.events)

        parts.objects.is_down = False  # type: ignore[attr-defined]
        runner.retry(job_id)
        done = ended(parts, job_id)
        leaves_nothing(parts)

        assert ("storage_error", True) == (fault_of(failed)["code"], fault_of(failed)["retryable"])
        assert "an upload" == failed.upload_id, "the store can go on with the upload that it began"
        assert seen == len(gate.events)
        assert ["lanczos"] == lanes.models
        assert undisturbed == sha256(result_of(parts, done))
        assert done.upload_id is None


def test_cancelled_job_leaves_no_upload_in_parts(clip: Path, tmp_path: Path) -> None:
    """What an attempt that died had begun to send is aborted in clear, and beside the work: a store may hang."""
    parts = parts_in(tmp_path)
    job_id = parts.store.add(job_of(clip), ROOM).id
    claim = parts.store.claim(parts.owner, 1000)
    assert claim is not None
    parts.store.keep_upload(claim, "an upload")
    parts.store.want(job_id, "canceled")
    with running(parts):
        wait_until(lambda: bool(parts.objects.aborted))  # type: ignore[attr-defined]

        assert [(f"results/{job_id}.mp4", "an upload")] == parts.objects.aborted  # type: ignore[attr-defined]
        assert "canceled" == parts.store.get(job_id).state


def test_missing_source_fails_by_its_name_and_leaves_nothing(tmp_path: Path) -> None:
    """The class of the error reaches the job; so does its request id."""
    with running(parts_in(tmp_path)) as (parts, runner):
        failed = ended(parts, submit(parts, runner, job_of(tmp_path / "none.mp4")))
        leaves_nothing(parts)

        assert ("source_not_found", 422, failed.id) == tuple(
            fault_of(failed)[name] for name in ("code", "status", "request_id")
        )


def test_half_a_file_is_no_success_unless_it_is_asked_for(tmp_path: Path) -> None:
    """A source that ends before its header says so fails by that name; who allows it gets what is there."""
    half = bent_clips.truncated_faststart_mp4(tmp_path / "half.mp4")
    with running(parts_in(tmp_path)) as (parts, runner):
        failed = ended(parts, submit(parts, runner, job_of(half)))
        taken = ended(parts, submit(parts, runner, job_of(half, allow_partial=True)))

        assert ("source_truncated", 422) == (fault_of(failed)["code"], fault_of(failed)["status"])
        assert "22 of 36 frames" in fault_of(failed)["detail"]
        assert "source_truncated" in [one["code"] for one in report_of(taken)["warnings"]]


def test_source_that_goes_while_it_is_worked_on_fails_the_job(clip: Path, tmp_path: Path) -> None:
    """A file that disappears in the middle is named, and nothing half is stored."""
    source = Path(shutil.copy(clip, tmp_path / "source.mp4"))
    gate = Gate(frames_of_segment(1))
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(source))
        gate.wait()
        source.unlink()
        gate.open()
        failed = ended(parts, job_id)
        leaves_nothing(parts)

        assert "source_not_found" == fault_of(failed)["code"]
        assert [] == list(parts.objects.listed())


def test_changed_source_is_planned_anew(clip: Path, tmp_path: Path) -> None:
    """A retry does not go on with pieces of another file."""
    source = Path(shutil.copy(clip, tmp_path / "source.mp4"))
    lanes = LocalLanes()
    with running(parts_in(tmp_path, lanes)) as (parts, runner):
        parts.objects.is_down = True  # type: ignore[attr-defined]
        gone = submit(parts, runner, job_of(source, file_name="x"))
        failed = ended(parts, gone)
        (tmp_path / "temp" / "jobs" / gone / "ready.json").unlink()
        write_clip(Clip(suffix=".mp4", pictures=(Picture(frame_count=10),)), source)
        parts.objects.is_down = False  # type: ignore[attr-defined]
        runner.retry(failed.id)
        done = ended(parts, gone)

        assert 2 == len(lanes.models)
        assert (10, 0) == (report_of(done)["frames"], report_of(done)["segments_reused"])


def test_unexpected_error_is_told_to_the_log_alone(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What we did not foresee may hold anything; the caller gets the job's name, the log the traceback."""

    def burst(event: Event) -> None:
        if isinstance(event, FramesDone):
            message = "secret of the inside"
            raise ZeroDivisionError(message)

    with running(parts_in(tmp_path, LocalLanes(burst))) as (parts, runner):
        failed = ended(parts, submit(parts, runner, job_of(clip)))
        leaves_nothing(parts)

    fault = fault_of(failed)
    captured = capsys.readouterr()
    assert ("internal", 500, failed.id) == (fault["code"], fault["status"], fault["request_id"])
    assert "secret" not in str(fault)
    assert failed.id in fault["detail"]
    assert "secret of the inside" in captured.out + captured.err
    assert "Traceback" in captured.out + captured.err


def test_fetched_source_is_used_and_removed(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """An address is downloaded into the job's folder, which goes with the job."""

    def download(_url: str, target: Path, watch: Watch) -> None:
        watch(0, None)
        shutil.copyfile(clip, target)

    parts = replace(parts_in(tmp_path), fetch=download)
    with running(parts) as (_, runner):
        new = NewJob(replace(asked_of(clip), source=Source("url", "https://example.org/a.mp4")))
        done = ended(parts, submit(parts, runner, new))
        leaves_nothing(parts)

        assert undisturbed == sha256(result_of(parts, done))


class HeldLanes(LocalLanes):
    """Lanes that hold every job until they are told; media is opened by one thread at a time, as in processes."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.at_work: list[Plan] = []
        self._alone = threading.Lock()

    def plan(self, source: Path, wish: Wish, limits: Limits, stop: Stop) -> Plan:
        """Plan here."""
        with self._alone:
            return super().plan(source, wish, limits, stop)

    def executor(self, task: str | None, stop: Stop) -> Executor:
        """Run here, when it is time."""
        return HeldExecutor(super().executor(task, stop), self, self._alone)


def test_quality_is_measured_where_it_is_asked_for(clip: Path, tmp_path: Path) -> None:
    """The numbers are in the report, with the name of what they were held against; without the wish there are none."""
    gate = Gate(lambda _: False)
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        measured, plain = (ended(parts, submit(parts, runner, job_of(clip, quality=wish))) for wish in (True, False))

    found = report_of(measured)["quality"]
    assert "source at its own size" == found["against"]
    assert (75, 75) == (found["frames"], found["frames_total"])
    assert found["psnr_y"] > 28  # what an honest output has at least, see `audit`
    assert 1 == gate.events.count(PhaseStarted("quality", 75))
    assert "quality" not in report_of(plain)


def test_the_time_of_a_result_is_without_measuring_it(clip: Path, tmp_path: Path) -> None:
    """What was measured took its own time, which stands beside it; where nothing was, nothing stands there."""
    with running(parts_in(tmp_path)) as (parts, runner):
        measured, plain = (ended(parts, submit(parts, runner, job_of(clip, quality=wish))) for wish in (True, False))

    spent = report_of(measured)["quality_seconds"]
    assert measured.outcome is not None
    in_all = (measured.finished_at or 0) - (measured.started_at or 0)
    assert 0 < spent
    assert measured.outcome.seconds + spent <= in_all + 0.002  # both are rounded to a millisecond
    assert "quality_seconds" not in report_of(plain)


@pytest.mark.parametrize("fault", [UpscaleError("/srv/film ended with -11"), StopIteration("/srv/film")])
def test_a_result_is_not_lost_because_it_could_not_be_measured(
    fault: Exception, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks in a way that is foreseen, or not: the job succeeds, and its report says what is missing.

    Why is for the log: it names folders and programs of the server.
    """

    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(InProcess, "measure", broken)
    with running(parts_in(tmp_path)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip, quality=True)))

    assert "quality" not in report_of(done)
    assert ["quality_not_measured"] == [one["code"] for one in report_of(done)["warnings"]]
    assert "/srv" not in str(report_of(done))
    assert 0 <= report_of(done)["quality_seconds"], "the time of the result is without what was tried"


def test_a_result_outlives_a_server_that_dies_while_it_is_measured(clip: Path, tmp_path: Path) -> None:
    """The next server stores the file as it is: measured again, it might take that one along, too."""
    before = parts_in(tmp_path)
    job_id = before.store.add(job_of(clip, quality=True), ROOM).id
    before.store.close()

    ran = subprocess.run([*SERVER, str(tmp_path), "phase quality", "never"], capture_output=True, check=False)

    parts = parts_in(tmp_path)
    done = parts.store.get(job_id)
    parts.store.close()
    assert [b"-9", b"0"] == [line for line in ran.stdout.split(b"\n") if line in (b"-9", b"0")], ran.stderr
    assert ("succeeded", 2, 75) == (done.state, done.attempt, done.progress.frames_total), done.fault
    assert "quality" not in report_of(done)
    assert ["quality_not_measured"] == [one["code"] for one in report_of(done)["warnings"]]
    assert "quality_seconds" not in report_of(done), "it was not tried here"
    assert SEGMENTS == len((tmp_path / "made.txt").read_text().split())


def test_a_pause_while_it_is_measured_costs_nothing_but_the_measuring(clip: Path, tmp_path: Path) -> None:
    """The file was kept before: a job that goes on is measured and stored, and no frame is made twice."""
    gate = Gate(lambda event: event == PhaseStarted("quality", 75))
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip, quality=True))
        gate.wait()
        runner.pause(job_id)
        wait_until(lambda: runner._hands[job_id].hold.reason == "paused")
        gate.open()
        became(parts, job_id, "paused")
        runner.resume(job_id)
        done = ended(parts, job_id)

    phases = [event.phase for event in gate.events if isinstance(event, PhaseStarted)]
    assert ["join", "audit", "quality", "quality"] == phases
    assert 75 == report_of(done)["quality"]["frames"]
    assert [] == report_of(done)["warnings"]


def test_frames_that_are_looked_at_are_not_taken_for_those_of_the_video(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished job has all its frames, also where some of them were measured."""
    monkeypatch.setattr(quality, "MOST_FRAMES", 48)
    with running(parts_in(tmp_path)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip, quality=True)))

    assert (48, 75) == (report_of(done)["quality"]["frames"], report_of(done)["quality"]["frames_total"])
    assert ("done", 75, 75) == (done.progress.phase, done.progress.frames_done, done.progress.frames_total)


@pytest.mark.parametrize(("stop", "state"), [("cancel", "canceled"), ("pause", "paused")])
def test_a_job_stops_while_it_is_measured(clip: Path, tmp_path: Path, stop: str, state: str) -> None:
    """A cancel is not taken for a failed measurement."""
    gate = Gate(lambda event: event == PhaseStarted("quality", 75))
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip, quality=True))
        gate.wait()
        getattr(runner, stop)(job_id)
        wait_until(lambda: runner._hands[job_id].hold.reason == state)
        gate.open()
        assert state == became(parts, job_id, "succeeded", "canceled", "paused").state


@dataclass
class HeldExecutor:
    """An executor of `HeldLanes`."""

    inner: Executor
    lanes: HeldLanes
    lock: threading.Lock
    alone: bool = True
    at_once: int = 1

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Wait, then run all segments."""
        self.lanes.at_work.append(plan)
        assert self.lanes.go_on.wait(60)
        with self.lock:
            yield from list(self.inner.run(plan, segments, work, observer))

    def finish(self, plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> Finished:
        """Join and audit."""
        with self.lock:
            return self.inner.finish(plan, done, work, observer)


def test_bad_source_is_told_of_while_all_lanes_are_busy(clip: Path, tmp_path: Path) -> None:
    """A source is fetched and looked at ahead of the lanes; those that are good wait for a turn, in their order."""

    def nothing_there(url: str, _target: Path, _watch: Watch) -> None:
        message = f"{url} answered 404"
        raise SourceUnreachable(message)

    lanes = HeldLanes()
    parts = replace(parts_in(tmp_path, lanes), fetch=nothing_there)
    with running(parts) as (_, runner):
        try:
            busy = [submit(parts, runner, job_of(clip)) for _ in range(1 + turns.SPARE)]
            wait_until(lambda: len(lanes.at_work) == len(busy))
            good = [submit(parts, runner, job_of(clip)) for _ in range(2)]
            bad = submit(parts, runner, NewJob(replace(asked_of(clip), source=Source("url", "https://example.org/a"))))

            assert "source_error" == fault_of(ended(parts, bad))["code"]
            wait_until(lambda: all(parts.store.get(one).progress.phase == "waiting" for one in good))
            wait_until(lambda: all(parts.store.get(one).plan is not None for one in good))
            assert len(busy) == len(lanes.at_work), "no more jobs than before share the lanes"
            runner.cancel(good[0])
            assert "canceled" == ended(parts, good[0]).state
        finally:
            lanes.go_on.set()
        assert {"succeeded"} == {ended(parts, one).state for one in (*busy, good[1])}


def test_no_more_is_fetched_ahead_than_the_disk_may_hold(clip: Path, tmp_path: Path) -> None:
    """Sources that wait for a lane must not fill the disk that those at work need."""
    lanes = HeldLanes()
    with running(parts_in(tmp_path, lanes, fetch=Fetch(max_bytes=1 << 60))) as (parts, runner):
        try:
            ids = [submit(parts, runner, job_of(clip)) for _ in range(2 + turns.SPARE)]
            wait_until(lambda: len(lanes.at_work) == 1 + turns.SPARE)

            assert not runner._has_a_hand_free()
            assert "queued" == parts.store.get(ids[-1]).state
        finally:
            lanes.go_on.set()
        assert "succeeded" == ended(parts, ids[-1]).state


def test_cancel_stops_a_download(clip: Path, tmp_path: Path) -> None:
    """Nobody waits for a slow source that is not wanted any more."""
    begun = threading.Event()

    def download(_url: str, _target: Path, watch: Watch) -> None:
        begun.set()
        wait_until(lambda: bool(watch(1, None)))  # for ever, if `watch` does not raise

    parts = replace(parts_in(tmp_path), fetch=download)
    with running(parts) as (_, runner):
        new = NewJob(replace(asked_of(clip), source=Source("url", "https://example.org/a.mp4")))
        job_id = submit(parts, runner, new)
        assert begun.wait(60)
        assert "fetch" == runner.progress(parts.store.get(job_id)).phase
        runner.cancel(job_id)

        assert "canceled" == ended(parts, job_id).state
        leaves_nothing(parts)


def test_failed_download_keeps_its_class(clip: Path, tmp_path: Path) -> None:
    """A source that does not answer is the source's fault and may be tried again."""

    def download(_url: str, target: Path, _watch: Watch) -> None:
        target.with_suffix(".part").write_bytes(b"half")
        message = "source answered with 503 four times"
        raise SourceUnreachable(message)

    parts = replace(parts_in(tmp_path), fetch=download)
    with running(parts) as (_, runner):
        new = NewJob(replace(asked_of(clip), source=Source("url", "https://example.org/a.mp4")))
        failed = ended(parts, submit(parts, runner, new))
        leaves_nothing(parts)

        assert ("source_error", True) == (fault_of(failed)["code"], fault_of(failed)["retryable"])


def uploaded(parts: Parts, clip: Path) -> NewJob:
    """Return a new job for a file that was sent."""
    place = uploads_folder(parts.temp_dir) / "abc"
    place.parent.mkdir(parents=True)
    shutil.copyfile(clip, place)
    return NewJob(replace(asked_of(clip), source=Source("upload", str(place))))


def test_upload_is_taken_by_its_job(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """A sent file becomes the job's own and goes with it."""
    with running(parts_in(tmp_path)) as (parts, runner):
        done = ended(parts, submit(parts, runner, uploaded(parts, clip)))
        leaves_nothing(parts)

        assert undisturbed == sha256(result_of(parts, done))


def test_result_goes_to_the_path_that_was_asked_for(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """A path in, a path out: nothing in the store, no half file beside it."""
    output = tmp_path / "shared" / "out.mp4"
    output.parent.mkdir()
    with running(parts_in(tmp_path)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip, output_path=str(output))))

        assert undisturbed == sha256(output)
        assert [output] == list(output.parent.iterdir())
        assert ("", str(output)) == (done.outcome.key, done.outcome.output_path)  # type: ignore[union-attr]
        assert [] == list(parts.objects.listed())


def test_size_that_cannot_be_reached_fails_the_job(clip: Path, tmp_path: Path) -> None:
    """A promise about the size is kept or the job fails with the size that was reached."""
    with running(parts_in(tmp_path)) as (parts, runner):
        failed = ended(parts, submit(parts, runner, job_of(clip, maximum_mb=0.0005)))
        leaves_nothing(parts)

        assert ("output_too_large", 422) == (fault_of(failed)["code"], fault_of(failed)["status"])
        assert "bytes" in fault_of(failed)["detail"]


def test_a_job_that_memory_stops_goes_on_in_a_lower_precision(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole job is made in it, the stored plan says so, and without one that is left the job fails."""
    monkeypatch.setattr("upscale_server.plan.lower_precisions", lambda *_: ("bf16",))
    rounds: list[Plan] = []
    enough = "bf16"

    def too_little_memory(plan: Plan, executor: Executor, work: WorkDir, observer: Observer) -> Result:
        rounds.append(plan)
        if plan.precision != enough:
            raise OutOfMemory("the network's tile does not fit into memory")
        return upscale_as_planned(plan, executor, work, observer)

    monkeypatch.setattr(carry, "upscale_as_planned", too_little_memory)
    with running(parts_in(tmp_path)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip)))

        assert "succeeded" == done.state, done.fault
        assert ["integer", "bf16"] == [one.precision for one in rounds]
        assert rounds[1].as_record() == done.plan
        enough = "none"
        failed = ended(parts, submit(parts, runner, job_of(clip)))
        assert "out_of_memory" == fault_of(failed)["code"]


def test_output_over_its_limit_is_made_again_smaller(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first round that came out too large is followed by one with a coarser plan, which is the stored one."""
    rounds: list[Plan] = []

    def too_large_at_first(plan: Plan, executor: Executor, work: WorkDir, observer: Observer) -> Result:
        rounds.append(plan)
        if len(rounds) == 1:
            raise OutputTooLarge.reached(2 * (plan.max_bytes or 0), plan.max_bytes or 0)
        return upscale_as_planned(plan, executor, work, observer)

    monkeypatch.setattr(carry, "upscale_as_planned", too_large_at_first)
    with running(parts_in(tmp_path)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip, maximum_mb=0.1)))

        assert 2 == len(rounds), done.fault
        assert rounds[0].encoder.crf < rounds[1].encoder.crf
        assert rounds[1].as_record() == done.plan
        assert done.outcome is not None
        assert done.outcome.byte_count <= 0.1 * 2**20


@pytest.mark.parametrize("to_a_path", [False, True])
def test_cancel_at_the_last_moment_leaves_no_result(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, to_a_path: bool
) -> None:
    """A cancel that comes while the result is stored removes it again."""
    output = tmp_path / "out.mp4"
    with running(parts_in(tmp_path)) as (parts, runner):
        real = parts.store.finish

        def finish(claim: Claim, outcome: Outcome) -> Job:
            runner.cancel(claim.job.id)
            return real(claim, outcome)

        monkeypatch.setattr(parts.store, "finish", finish)
        where = {"output_path": str(output)} if to_a_path else {}
        done = ended(parts, submit(parts, runner, job_of(clip, **where)))
        leaves_nothing(parts)
        wait_until(lambda: not runner.carried())

        assert "canceled" == done.state
        assert [] == list(parts.objects.listed())
        assert not output.exists()


def test_late_job_falls_back_at_once(clip: Path, tmp_path: Path) -> None:
    """When the deadline is too near for the network from the start, Lanczos makes a result that says so."""
    lanes = LocalLanes()
    with running(parts_in(tmp_path, lanes)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip, model="fast", deadline=time.time())))
        leaves_nothing(parts)

        assert ["fast", "lanczos"] == lanes.models
        assert ("lanczos", "deadline") == (report_of(done)["model"], report_of(done)["fallback"])
        assert done.plan is not None
        assert report_of(done)["plan"]


def test_slow_job_falls_back_in_the_middle(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's work is given up when only Lanczos can still be in time."""

    def run_out_of_time(event: Event) -> None:
        if isinstance(event, FramesDone):
            monkeypatch.setattr(deadline, "FIXED_SECONDS", 1e9)

    lanes = LocalLanes(run_out_of_time)
    with running(parts_in(tmp_path, lanes)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip, model="fast", deadline=time.time() + 1e6)))

        assert ["fast", "lanczos"] == lanes.models
        assert ("lanczos", "deadline") == (report_of(done)["model"], report_of(done)["fallback"])


def test_job_in_time_keeps_its_model(clip: Path, tmp_path: Path) -> None:
    """A deadline that can be kept changes nothing."""
    lanes = LocalLanes()
    with running(parts_in(tmp_path, lanes)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip, model="fast", deadline=time.time() + 1e6)))

        assert ["fast"] == lanes.models
        assert ("fast", None) == (report_of(done)["model"], report_of(done)["fallback"])


def test_end_that_the_database_did_not_take_is_not_lost(
    clip: Path, undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose end could not be stored waits again, and its next attempt goes on from the finished file."""
    with running(parts_in(tmp_path)) as (parts, runner):
        real, refused = parts.store.finish, []

        def finish(claim: Claim, outcome: Outcome) -> Job:
            if not refused:
                refused.append(claim)
                message = "database is locked"
                raise StorageError(message)
            return real(claim, outcome)

        monkeypatch.setattr(parts.store, "finish", finish)
        done = ended(parts, submit(parts, runner, job_of(clip)))

        assert refused
        assert ("succeeded", 2) == (done.state, done.attempt)
        assert undisturbed == sha256(result_of(parts, done))


def test_job_that_was_lost_is_left_alone(clip: Path, tmp_path: Path) -> None:
    """A server that was fenced off writes no end and removes nothing of the new owner's."""
    gate = Gate(frames_of_segment(1))
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        gate.wait()
        with parts.store._database.writing() as connection:
            connection.execute(jobs.update().values(owner="another server", attempt=2))
        wait_until(lambda: runner._hands[job_id].hold.reason == "lost")
        gate.open()
        wait_until(lambda: not runner.carried())

        assert ("running", 2) == (parts.store.get(job_id).state, parts.store.get(job_id).attempt)
        assert left_behind(parts)


def test_removed_job_takes_its_result_along(clip: Path, tmp_path: Path) -> None:
    """Nothing of a removed job stays; one that is not over cannot be removed."""
    gate = Gate(frames_of_segment(1))
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        gate.wait()
        with pytest.raises(Conflict, match="running"):
            runner.remove(job_id)
        gate.open()
        ended(parts, job_id)

        runner.remove(job_id)

        assert [] == list(parts.objects.listed())
        assert ([], None) == parts.store.page(None, 10)


def test_what_cannot_be_tidied_stops_nobody(clip: Path, tmp_path: Path) -> None:
    """A folder that became a file, or any other fault after a cancel, leaves the server taking jobs."""
    shared = tmp_path / "shared"
    (shared / "inner").mkdir(parents=True)
    lanes = LocalLanes(state=Ready(ready=False))
    with running(parts_in(tmp_path, lanes)) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip, output_path=str(shared / "inner" / "out.mp4")))
        shutil.rmtree(shared / "inner")
        (shared / "inner").write_text("no folder")
        runner.cancel(job_id)
        lanes.state = Ready()

        assert "succeeded" == ended(parts, submit(parts, runner, job_of(clip))).state
        assert runner.is_at_work


def test_dispatcher_outlives_a_fault_that_nobody_foresaw(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one thread that takes jobs goes on; whether it does can be asked."""
    parts = parts_in(tmp_path)
    real, burst = parts.store.claim, []

    def claim(owner: str, lease_seconds: float, each: int) -> Claim | None:
        if not burst:
            burst.append(owner)
            message = "a bug"
            raise ZeroDivisionError(message)
        return real(owner, lease_seconds, each)

    monkeypatch.setattr(parts.store, "claim", claim)
    with running(parts) as (_, runner):
        assert "succeeded" == ended(parts, submit(parts, runner, job_of(clip))).state
        assert (1, True) == (len(burst), runner.is_at_work)
    assert not runner.is_at_work


def test_thread_that_cannot_be_had_gives_its_job_back(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives no more threads a claimed job is not held for ever by nobody."""
    real, refused = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if thread.name == "job" and not refused:
            refused.append(thread)
            message = "can't start new thread"
            raise RuntimeError(message)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with running(parts_in(tmp_path)) as (parts, runner):
        done = ended(parts, submit(parts, runner, job_of(clip)))

        assert ("succeeded", 2, 1) == (done.state, done.attempt, len(refused))


def test_upload_is_kept_when_trying_again_may_help(clip: Path, tmp_path: Path) -> None:
    """A fault that passes costs nobody the only copy of a source, even before the first segment."""
    out_of_memory = [True]

    class Short(LocalLanes):
        def plan(self, source: Path, wish: Wish, limits: Limits, stop: Stop) -> Plan:
            if out_of_memory.pop():
                message = "not enough memory now"
                raise OutOfMemory(message)
            return LocalLanes.plan(self, source, wish, limits, stop)

    with running(parts_in(tmp_path, Short())) as (parts, runner):
        job_id = submit(parts, runner, uploaded(parts, clip))
        assert "out_of_memory" == fault_of(ended(parts, job_id))["code"]
        out_of_memory[:] = [False]
        runner.retry(job_id)

        assert "succeeded" == became(parts, job_id, "succeeded").state
        leaves_nothing(parts)


def test_result_replaces_nothing_and_waits_for_its_place(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """A file that appeared at the path meanwhile stays; when it is gone the finished work only has to be placed."""
    output = tmp_path / "shared" / "out.mp4"
    output.parent.mkdir()
    output.write_text("somebody else's")
    with running(parts_in(tmp_path)) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip, output_path=str(output)))
        failed = ended(parts, job_id)
        assert ("storage_error", True) == (fault_of(failed)["code"], fault_of(failed)["retryable"])
        assert ["somebody else's"] == [path.read_text() for path in output.parent.iterdir()]

        output.unlink()
        runner.retry(job_id)
        became(parts, job_id, "succeeded")

        assert undisturbed == sha256(output)


def test_source_that_became_a_link_is_not_followed(clip: Path, tmp_path: Path) -> None:
    """Whoever may write in the shared folder cannot have another file read after the door looked."""
    source = tmp_path / "source.mp4"
    source.symlink_to(clip)
    with running(parts_in(tmp_path)) as (parts, runner):
        failed = ended(parts, submit(parts, runner, job_of(source)))

        assert "source_not_found" == fault_of(failed)["code"]


def test_cancel_while_the_store_is_away_is_done_at_the_next_try(clip: Path, tmp_path: Path) -> None:
    """Storing is tried for a quarter of an hour; nobody waits for it who does not want the result."""
    trying = threading.Event()

    class Away(Shelf):
        def put(self, path: Path, key: str, about: About, upload: UploadMemory) -> Stored:
            del path, key, about
            trying.set()
            while True:  # for ever, if `remember` does not raise
                upload.remember(None)

    parts = replace(parts_in(tmp_path), objects=Away(tmp_path / "objects"))
    with running(parts) as (_, runner):
        job_id = submit(parts, runner, job_of(clip))
        assert trying.wait(60)
        runner.cancel(job_id)

        assert "canceled" == ended(parts, job_id).state
        leaves_nothing(parts)


def test_store_that_hangs_holds_up_no_start_and_no_other_job(clip: Path, tmp_path: Path) -> None:
    """What a cancelled job left in the store is removed beside the work, however long that takes."""
    removing, go_on = threading.Event(), threading.Event()

    class Slow(Shelf):
        def delete(self, key: str) -> None:
            removing.set()
            assert go_on.wait(60)
            super().delete(key)

    parts = replace(parts_in(tmp_path), objects=Slow(tmp_path / "objects"))
    left = parts.store.add(job_of(clip), ROOM)
    assert parts.store.claim(parts.owner, 1000)
    parts.store.want(left.id, "canceled")
    with running(parts) as (_, runner):
        assert removing.wait(60)
        try:
            assert "succeeded" == ended(parts, submit(parts, runner, job_of(clip))).state
        finally:
            go_on.set()


KILLS = ["phase plan", "frames 2", "segment 1", "frames 2", "phase join", "phase audit", "put", "stored"]


@pytest.mark.timeout(300)
def test_killed_at_every_step_ends_with_the_same_bytes(clip: Path, undisturbed: str, tmp_path: Path) -> None:
    """Eight kill -9, one at each step of one job: the ninth server finishes it, and no segment was done twice."""
    with_job = parts_in(tmp_path)
    job_id = with_job.store.add(job_of(clip), ROOM).id
    with_job.store.close()

    ran = subprocess.run(
        [*SERVER, str(tmp_path), *KILLS, "never"], capture_output=True, text=True, check=False, timeout=280
    )

    parts = parts_in(tmp_path)
    done = parts.store.get(job_id)
    parts.store.close()
    made = (tmp_path / "made.txt").read_text().split()
    ends = [int(line) for line in ran.stdout.split("\n") if line.lstrip("-").isdigit()]
    assert [-signal.SIGKILL] * len(KILLS) + [0] == ends, ran.stderr
    assert ("succeeded", len(KILLS) + 1) == (done.state, done.attempt), done.fault
    assert undisturbed == sha256(result_of(parts, done))
    assert ["0", "1", "2"] == sorted(made), "each segment is finished once over all nine servers"
    assert [] == left_behind(parts)


def test_sudden_end_is_taken_for_no_failure(clip: Path, tmp_path: Path) -> None:
    """Progress tells phases and frames while the work goes on, and never more frames than there are."""
    seen: list[tuple[str, int, int]] = []
    gate = Gate(lambda event: isinstance(event, PhaseStarted) and event.phase == "audit")
    with running(parts_in(tmp_path, LocalLanes(gate))) as (parts, runner):
        job_id = submit(parts, runner, job_of(clip))
        gate.wait()
        wait_until(lambda: parts.store.get(job_id).progress.phase == "audit")
        live = runner.progress(parts.store.get(job_id))
        seen.append((live.phase, live.frames_total, live.segments_done))
        gate.open()
        ended(parts, job_id)

    assert [("audit", 75, SEGMENTS)] == seen
