"""How a carried job ends: the state that follows, the fault that is kept, and what may stay on the disk.

A failed job leaves nothing unless trying again can use it; a cancelled one leaves nothing at all.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from upscale_server.errors import (
    AuditFailed,
    Canceled,
    Conflict,
    DatabaseAway,
    DiskFull,
    JobDamaged,
    NotFound,
    StorageError,
    UpscaleError,
)
from upscale_server.jobs.carry import Carried, carry, own_key
from upscale_server.jobs.copies import Copies
from upscale_server.jobs.folder import JobFolder
from upscale_server.jobs.hold import CANCELED, DRAINING, LOST, PAUSED
from upscale_server.jobs.job import Job, State
from upscale_server.jobs.parts import Parts
from upscale_server.jobs.placing import Place, place_of
from upscale_server.logs import get_logger

_AFTER: dict[str, State] = {CANCELED: "canceled", PAUSED: "paused", DRAINING: "queued"}


def carry_to_its_end(one: Carried) -> None:
    """Do a job and store how it ended; nothing is raised but what the database does not take.

    Raises:
        DatabaseAway, StorageError, DiskFull: the database takes nothing; the job is given back when it does.
    """
    try:
        _conclude(one)
    except Conflict as err:
        # Another attempt holds the job: it owns the folder now, where it is this machine's.
        get_logger().warning("job_lost", detail=err.detail)
        _withdraw(one)


def _conclude(one: Carried) -> None:
    store, claim = one.parts.store, one.hold.claim
    try:
        outcome = carry(one)
    except (Conflict, DatabaseAway):  # it is nobody's fault but ours, and the job waits again
        raise
    except Canceled as err:
        _stopped(one, one.hold.reason or err.detail)
    except Exception as err:  # noqa: BLE001 - the border of a job: whatever it is, it fails this job and no other
        fault = fault_of(err, one)
        if fault["code"] == "internal":
            get_logger().exception("job_failed", code="internal", detail=str(err))
        else:
            get_logger().warning("job_failed", code=fault["code"], detail=fault["detail"])
        _clear_all(store.fail(claim, fault), one.parts)
    else:
        ended = store.finish(claim, outcome)
        _clear_all(ended, one.parts)
        get_logger().info(f"job_{ended.state}", seconds=outcome.seconds, bytes=outcome.byte_count)


def _withdraw(one: Carried) -> None:
    """Leave nothing of ours in the store of a job that another server has now, unless the job says it is its result.

    Where nobody else does jobs the object of every attempt has one name.
    """
    parts, key = one.parts, own_key(one.job.id, one.parts)
    if not parts.settings.shares_jobs or one.hold.gauge.phase != "store":
        return
    try:
        if key in _named(one.job.id, parts):
            return
        for left in parts.objects.uploads(key):
            parts.objects.abort(left.key, left.upload_id)
    except (StorageError, JobDamaged) as err:  # of the database or of the store; the janitor finds it by its age
        get_logger().warning("object_left_behind", key=key, detail=err.detail)
        return
    _drop(key, None, parts)


def _named(job_id: str, parts: Parts) -> set[str]:
    """Return the key of a job's result, where it has one."""
    try:
        outcome = parts.store.get(job_id).outcome
    except NotFound:
        return set()
    return set() if outcome is None else {outcome.key}


def _drop(key: str, upload_id: str | None, parts: Parts) -> None:
    try:
        if upload_id is not None:
            parts.objects.abort(key, upload_id)
        parts.objects.delete(key)
    except StorageError as err:  # the janitor finds it by its age
        get_logger().warning("object_left_behind", key=key, detail=err.detail)


def _stopped(one: Carried, reason: str) -> None:
    if reason == LOST:
        raise Conflict(f"job {one.job.id} is held by another attempt")
    get_logger().info("job_stopped", reason=reason)
    after = _AFTER.get(reason, "queued")
    _clear_all(one.parts.store.let_go(one.hold.claim, after, has_work=one.folder.holds_work), one.parts)


def _clear_all(job: Job, parts: Parts) -> None:
    clear(job, parts)
    drop_object(job, parts)


def clear(job: Job, parts: Parts) -> None:
    """Remove from the disk what a job in its present state must not leave."""
    folder, place = JobFolder(parts.temp_dir, job.id), place_of(job, parts)
    if not job.is_finished:
        return
    if place is not None:
        _take_back(place, result=job.state != "succeeded")
    if is_kept(job, folder):
        return
    folder.remove()
    if job.state != "succeeded":
        Copies(parts.proxies_dir, job.id).remove()
    if job.asked.source.kind == "upload":
        Path(job.asked.source.location).unlink(missing_ok=True)


def drop_object(job: Job, parts: Parts) -> None:
    """Remove from the object store what a job in its present state must not leave; the store may hang for a minute."""
    folder = JobFolder(parts.temp_dir, job.id)
    if (
        job.state in ("failed", "canceled")
        and job.asked.output_path is None
        and job.attempt
        and not is_kept(job, folder)
    ):
        _drop(own_key(job.id, parts), job.upload_id, parts)


def results_of(job: Job, parts: Parts) -> set[str]:
    """Return under which names results of a job lie, those of servers among them that died before they could say so."""
    named = set() if job.outcome is None else {job.outcome.key} - {""}
    return named if job.asked.output_path is not None else named | left_in_store(job.id, parts)


def left_in_store(job_id: str, parts: Parts) -> set[str]:
    """Return the names of all objects of a job, where servers have names of their own for them."""
    if not parts.settings.shares_jobs:
        return set()
    return {one.key for one in parts.objects.listed(f"results/{job_id}")}


def is_kept(job: Job, folder: JobFolder) -> bool:
    """Tell whether a job failed in a way that trying again may mend, and has what it would need: work, or an upload."""
    may_pass = job.state == "failed" and bool((job.fault or {}).get("retryable"))
    return may_pass and (folder.holds_work or has_upload(job, folder))


def has_upload(job: Job, folder: JobFolder) -> bool:
    """Tell whether a job's source was sent to us and is still here; nobody but the sender has it otherwise."""
    source = job.asked.source
    return source.kind == "upload" and (folder.source.exists() or Path(source.location).exists())


def _take_back(place: Place, *, result: bool) -> None:
    try:
        place.take_back(result=result)
    except (StorageError, DiskFull) as err:  # the folder is the caller's, who may have closed it to us
        get_logger().warning("file_left_behind", path=str(place.target), detail=err.detail)


def fault_of(error: Exception, one: Carried) -> dict[str, Any]:  # a problem object
    """Return an error as the job keeps it; what we did not foresee is told to the log and to nobody else."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        error = DiskFull("no space left for unfinished work", hint="free some space and try again")
    if not isinstance(error, UpscaleError):
        error = UpscaleError(f"something unexpected happened to job {one.job.id}; the server's log says what")
    record = error.as_record(one.job.id)
    if isinstance(error, AuditFailed):  # it says where the file is kept, which here it is not
        record["hint"] = None
    return {key: _without_folders(value, one) if isinstance(value, str) else value for key, value in record.items()}


def _without_folders(text: str, one: Carried) -> str:
    """Return what is said of a fault without where our folders are, which is nobody's business outside."""
    parts = one.parts
    for folder in (one.folder.path, parts.temp_dir.absolute(), parts.settings.state_dir.absolute()):
        text = text.replace(f"{folder}/", "")
    return text
