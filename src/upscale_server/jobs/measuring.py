"""The numbers about a finished file that its job asked for; whatever happens to them, the file is safe.

It computes nothing and ends no job: a file without its numbers is a warning.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from upscale_server.events import Event, Observer, Warned, both
from upscale_server.jobs.folder import JobFolder, Ready
from upscale_server.jobs.hold import Hold
from upscale_server.jobs.parts import Parts
from upscale_server.logs import log_event
from upscale_server.quality import NOT_MEASURED, Quality, told
from upscale_server.stored_plan import plan_from


def with_numbers(hold: Hold, folder: JobFolder, parts: Parts, ready: Ready) -> Ready:
    """Return a file that is kept with the numbers that were asked for, and keep those; measured is once.

    How long it took is kept beside them, also where it failed: the time of a result is without it.

    A server that died while it measured is not risked again: the file goes on without numbers, with a warning. How long
    that took is not known, and is in the time of the result.

    Raises:
        Canceled: there is a reason to stop, which is its text; a pause or a drain measures later.
    """
    known, began = ready.facts.get("warnings", []), time.monotonic()
    is_over = "quality" in ready.facts or any(one["code"] == NOT_MEASURED for one in known)
    if is_over or not hold.claim.job.asked.quality:
        return ready
    hold.enter("quality")
    with folder.measuring() as was_cut_off:
        if was_cut_off:
            hold.observe(Warned(NOT_MEASURED, "the server ended while it measured the quality of the result"))
        numbers = None if was_cut_off else _numbers(hold, parts, ready.path)
        warnings = [*known, *(one for one in hold.gauge.warnings if one not in known)]
        quality: dict[str, Any] = {"quality": numbers} if numbers else {}
        if not was_cut_off:
            quality["quality_seconds"] = round(time.monotonic() - began, 3)
        done = replace(ready, facts={**ready.facts, "warnings": warnings, **quality})
        folder.keep_facts(done)
    return done


def _numbers(hold: Hold, parts: Parts, path: Path) -> dict[str, Any] | None:
    job, observer = hold.claim.job, both(_discreet(hold.observe), log_event)
    # Not `hold.stop`, which lets a segment come to its end: nothing is lost by measuring again.
    executor = parts.lanes.executor(job.asked.task, lambda: hold.reason)

    def measured() -> Quality:
        plan = plan_from(parts.store.get(job.id).plan or {})  # the last one: what came out too large was planned again
        return executor.measure(plan, path, observer)

    return told(measured, observer)


def _discreet(observer: Observer) -> Observer:
    """Return an observer that is not told why nothing was measured: that names the server's files and programs."""

    def tell(event: Event) -> None:
        if isinstance(event, Warned) and event.code == NOT_MEASURED:
            event = Warned(NOT_MEASURED, "the quality of the result could not be measured; the server's log says why")
        observer(event)

    return tell
