"""One job from its source to its result, on one page.

    bring   the source: fetched, uploaded, or used where it is
    plan    decided once and stored; a later attempt goes on with it
    wait    for a turn: what is above goes on ahead of the lanes
    make    upscale, join, audit; again smaller when it came out too large, by Lanczos when the deadline comes first
    measure where that was asked for, when the file is safe and the lanes are somebody else's
    place   the result into the object store, or to the path that was asked for

Each step begins with what an earlier attempt left of it. How a job ends is `conclude`'s business; who stops it, the
runner's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upscale_server.calibration import Calibration
from upscale_server.checkpoint import WorkDir
from upscale_server.errors import Canceled, OutOfMemory, OutputTooLarge, SourceNotFound, StorageError
from upscale_server.events import Observer, both
from upscale_server.jobs.copies import Copies
from upscale_server.jobs.deadline import Deadline
from upscale_server.jobs.folder import JobFolder, Ready
from upscale_server.jobs.hold import DEADLINE, Hold
from upscale_server.jobs.job import Job, Outcome
from upscale_server.jobs.kept_plan import kept_plan
from upscale_server.jobs.measuring import with_numbers
from upscale_server.jobs.parts import Parts
from upscale_server.jobs.placing import place_of
from upscale_server.jobs.report import facts_of
from upscale_server.jobs.shared import check_source
from upscale_server.jobs.turns import Turns
from upscale_server.jobs.wishes import FALLBACK_MODEL, hasty, wish_of
from upscale_server.lessons import Lesson
from upscale_server.limits import limits_of
from upscale_server.logs import get_logger, log_event
from upscale_server.pipeline import Result, upscale_as_planned
from upscale_server.plan import Plan
from upscale_server.shrink import smaller
from upscale_server.storage.base import About, UploadMemory
from upscale_server.wish import Wish

SIZE_ROUNDS = 2
"""Times an output that came out too large is made smaller; the first round is planned to fit, so most need none."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A job in hand: its holder, its folder, the parts of the server, and its place among those that want a turn."""

    hold: Hold
    folder: JobFolder
    parts: Parts
    turns: Turns
    place: int

    @property
    def job(self) -> Job:
        """Return the job as it was claimed."""
        return self.hold.claim.job

    def count(self, byte_count: int = 0, pixels: int = 0) -> None:
        """Count what the job's key uses, once: one with a plan was counted by the attempt that made it."""
        if self.job.plan is None:
            self.parts.quota.add(self.job.key_id, byte_count, pixels)

    def work(self, plan: Plan) -> WorkDir:
        """Return where a plan's work goes, and the copies for watching, where any are made; a miner's has none."""
        copies = Copies(self.parts.proxies_dir, self.job.id).of(plan.digest)
        is_watched = self.parts.settings.jobs.proxies and plan.profile != "subnet"
        return WorkDir(self.folder.work(plan.digest), plan.digest, copies if is_watched else None)


def carry(one: Carried) -> Outcome:
    """Do a job.

    Raises:
        Canceled: there is a reason to stop, which is its text.
        UpscaleError and its kinds: why the job cannot be done.
    """
    one.folder.make()
    ready = one.folder.find_ready()
    if ready is None:
        source = _bring(one)
        plan = _plan(one, source)
        if not one.turns.is_free:
            one.hold.enter("waiting")
        with one.turns.taken(one.place, one.hold.check):
            ready = _make(one, source, plan)
            one.folder.keep_ready(ready)
    return _place(one, with_numbers(one.hold, one.folder, one.parts, ready))


def object_key(job_id: str, writer: str = "") -> str:
    """Return the name of a job's result in the object store; it does not depend on the attempt."""
    return f"results/{job_id}{writer and f'-{hashlib.sha256(writer.encode()).hexdigest()[:8]}'}.mp4"


def own_key(job_id: str, parts: Parts) -> str:
    """Return the name under which this server stores a job's result.

    Where others may do the job, it is no other server's: one that was stopped, and goes on when another has done the
    job, can neither put its file in the place of that one's nor remove that. Which of them counts, the job says.
    """
    return object_key(job_id, parts.owner if parts.settings.shares_jobs else "")


def about(job: Job) -> About:
    """Return what is said of a job's result when it is stored and downloaded."""
    return About("video/mp4", f"{job.asked.file_name.removesuffix('.mp4')}.mp4")


def _bring(one: Carried) -> Path:
    """Return the source as a file here."""
    source, target = one.job.asked.source, one.folder.source
    one.hold.enter("fetch")
    one.hold.check()
    if source.kind == "file":
        check_source(one.parts.settings.subnet.shared_root, Path(source.location))
        return Path(source.location)
    if target.exists():
        return target
    if source.kind == "url":
        one.parts.fetch(one.parts.store.sealer.opened(source.location), target, lambda _done, _total: one.hold.check())
        one.count(byte_count=target.stat().st_size)
        return target
    try:
        one.folder.take(Path(source.location))
    except FileNotFoundError as err:
        raise SourceNotFound("the uploaded file is gone", hint="send it again") from err
    return target


def _plan(one: Carried, source: Path) -> Plan:
    """Return the plan of an earlier attempt, or decide now."""
    kept = kept_plan(one.job.plan, source)
    if kept is not None:
        return kept
    one.hold.enter("plan")
    return _decide(one, source, wish_of(one.job, one.parts.settings))


def _decide(one: Carried, source: Path, wish: Wish) -> Plan:
    """Make a plan and store it."""
    settings = one.parts.settings
    plan = one.parts.lanes.plan(source, wish, limits_of(settings), lambda: one.hold.reason)
    one.parts.store.keep_plan(one.hold.claim, plan.as_record())
    one.count(pixels=plan.frame_count * plan.target.pixels)
    get_logger().info("job_planned", plan=plan.digest, frames=plan.frame_count, segments=len(plan.segments))
    return plan


def _make(one: Carried, source: Path, plan: Plan) -> Ready:
    """Upscale, join and audit; the work never outlasts the deadline when Lanczos can still keep it."""
    deadline, fallback = Deadline(one.job.asked.deadline, plan, one.turns.crowd), ""
    lanes = one.parts.lanes.executor(one.job.asked.task, one.hold.stop).at_once
    lesson = Lesson(plan, Calibration.in_folder(one.parts.settings.state_dir), lanes)
    if plan.model == FALLBACK_MODEL:  # asked for, or an earlier attempt fell back
        deadline = deadline.none()
        fallback = DEADLINE if wish_of(one.job, one.parts.settings).model != FALLBACK_MODEL else ""
    try:
        plan, result, learned = _run(one, plan, deadline, lesson)
    except Canceled:
        if one.hold.reason or not deadline.has_come:
            raise
        fallback = DEADLINE
        get_logger().warning("job_falls_back", reason=DEADLINE, model=FALLBACK_MODEL)
        plan = _decide(one, source, hasty(wish_of(one.job, one.parts.settings)))
        plan, result, learned = _run(one, plan, deadline.none(), lesson)
    Copies(one.parts.proxies_dir, one.job.id).keep_only(plan.digest)
    facts = facts_of(plan, result, one.hold.gauge.warnings, fallback)
    return Ready(result.path, result.path.stat().st_size, facts | learned)


def _run(one: Carried, plan: Plan, deadline: Deadline, lesson: Lesson) -> tuple[Plan, Result, dict[str, Any]]:
    """Do the work; again smaller while the output is over its limit, in a lower precision where memory gives out.

    The last of what is returned is what the lesson says: what was predicted, and what it took.
    """

    def stop() -> str:
        return one.hold.stop() or (DEADLINE if one.hold.gauge.phase == "upscale" and deadline.has_come else "")

    observer: Observer = both(both(both(one.hold.observe, log_event), one.parts.watcher(plan)), lesson)
    executor = one.parts.lanes.executor(one.job.asked.task, stop)
    rounds = 0
    while True:
        try:
            if stop():
                raise Canceled(stop())
            result = upscale_as_planned(plan, executor, one.work(plan), observer)
        except OutOfMemory as err:
            if not plan.lower_precisions:
                raise
            plan = plan.in_precision(plan.lower_precisions[0])
            get_logger().warning("job_in_lower_precision", detail=err.detail, precision=plan.precision)
        except OutputTooLarge as err:
            again = smaller(plan, err.reached_bytes) if rounds < SIZE_ROUNDS else None
            if again is None:
                raise
            rounds += 1
            get_logger().info("job_made_smaller", detail=err.detail, crf=again.encoder.crf)
            plan = again
        else:
            return plan, result, lesson.end(result, alone=executor.alone)
        one.parts.store.keep_plan(one.hold.claim, plan.as_record())


def _place(one: Carried, ready: Ready) -> Outcome:
    """Store the file; from here on only a cancel still ends the job otherwise."""
    one.hold.enter("store")
    one.hold.check_canceled()
    job, output, place = one.job, one.job.asked.output_path, place_of(one.job, one.parts)
    if place is None:

        def remember(upload: str | None) -> None:
            one.hold.check_canceled()  # before every try: a store that is away is tried for a quarter of an hour
            one.parts.store.keep_upload(one.hold.claim, upload)

        memory = UploadMemory(_upload_to_go_on_with(one), remember, one.hold.check_canceled)
        one.parts.objects.put(ready.path, own_key(job.id, one.parts), about(job), memory)
    else:
        place.put(ready.path)
    facts = dict(ready.facts)
    audit = facts.pop("audit")
    return Outcome(
        key="" if output else own_key(job.id, one.parts),
        byte_count=ready.byte_count,
        seconds=round(max(0.0, one.hold.seconds - facts.get("quality_seconds", 0.0)), 3),
        output_path=output,
        audit=audit,
        report={**facts, "attempt": job.attempt},
    )


def _upload_to_go_on_with(one: Carried) -> str | None:
    """Return the upload that an earlier attempt of ours left, after those that other servers left are given up.

    First, because the job remembers one alone; under our name nobody would find theirs.
    """
    job, parts = one.job, one.parts
    if job.upload_id is None or not parts.settings.shares_jobs:
        return job.upload_id
    try:
        theirs = [left for left in parts.objects.uploads(f"results/{job.id}") if left.key != own_key(job.id, parts)]
        for left in theirs:
            parts.objects.abort(left.key, left.upload_id)
    except StorageError as err:  # the janitor finds them by their age
        get_logger().warning("upload_left_behind", detail=err.detail)
        return None
    return None if any(left.upload_id == job.upload_id for left in theirs) else job.upload_id
