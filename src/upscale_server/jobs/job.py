"""What a job is: what was asked, how far it is, what came of it; and which states may follow which.

Values only; keeping them is the store's business and doing the work the runner's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from upscale_server.errors import Conflict

Wanted = Literal["", "canceled", "paused"]
State = Literal["queued", "running", "paused", "succeeded", "failed", "canceled"]
SourceKind = Literal["url", "file", "upload"]
ToldState = Literal["pending", "delivered", "given_up"]
Profile = Literal["general", "subnet"]

JOB_ID = re.compile(r"[0-9a-f]{32}")
"""What jobs, and with them their sources, previews and results, are called."""

FINISHED: frozenset[State] = frozenset({"succeeded", "failed", "canceled"})
"""States that end a job; `retry` alone leads out of them."""

PHASES = ("waiting", "fetch", "plan", "upscale", "join", "audit", "quality", "store", "done")
"""Phases of a job, in order; one whose plan is made waits again where the lanes have enough to do."""

FOLLOWS: dict[State, frozenset[State]] = {
    "queued": frozenset({"running", "paused", "canceled"}),
    "running": frozenset({"queued", "paused", "succeeded", "failed", "canceled"}),
    "paused": frozenset({"queued", "canceled"}),
    "succeeded": frozenset(),
    "failed": frozenset({"queued"}),
    "canceled": frozenset({"queued"}),
}
"""Which states may follow a state. A running job is queued again when its owner dies, drains or lets it go."""


def check_step(job_id: str, before: State, after: State) -> None:
    """Refuse a step that does not exist.

    Raises:
        Conflict: naming both states.
    """
    if after not in FOLLOWS[before]:
        raise Conflict(f"job {job_id} is {before}; it cannot become {after}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes come from: an address, a path under the shared root, or an upload that is already here."""

    kind: SourceKind
    location: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asked for, checked and complete; it is stored as JSON and never changes.

    `fit` None is the task's own; `maximum_mb` is in MiB; `deadline` is in seconds since the epoch; `output_path` is
    where a path's result goes; `file_name` is what a download is called; `allow_partial` takes what is there of a
    source that ends early; `quality` asks for numbers about the result; `webhook` is told when the job has ended.
    """

    source: Source
    task: str | None = None
    to: str | None = None
    scale: int | None = None
    fit: str | None = None
    model: str | None = None
    codec: str = "hevc"
    crf: int | None = None
    maximum_mb: float | None = None
    profile: Profile = "general"
    deadline: float | None = None
    output_path: str | None = None
    file_name: str = "upscaled"
    allow_partial: bool = False
    quality: bool = False
    webhook: str | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be stored; `key_id` names the API key it belongs to, empty where none is needed.

    `digest` stands for what was asked where the same Idempotency-Key comes again: a caller that knows better than
    `Asked` says so here, as for an upload, whose place is another every time. Empty means the digest of `asked`.
    `home` is the one server that may do it; empty means any that shares the queue. `request_id` names the request.
    """

    asked: Asked
    idempotency_key: str | None = None
    key_id: str = ""
    digest: str = ""
    home: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: `phase` is one of `PHASES`.

    Frames are those of the phase; `segments_done` are those of the job, found or made.
    """

    phase: str = "waiting"
    frames_done: int = 0
    frames_total: int = 0
    fps: float = 0.0
    eta_seconds: float | None = None
    segments_done: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a succeeded job left: where the file is and what was checked.

    `key` is the object's name in the store, or empty where the result is the file `output_path`. `seconds` are those
    since the first claim without measuring quality. `audit` and `report` are plain JSON values: the rules held, and
    timings, segments, warnings, engine and device.
    """

    key: str
    byte_count: int
    seconds: float
    output_path: str | None = None
    audit: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A stored job.

    Times are in seconds since the epoch; `version` grows with every change; `attempt` counts claims and is the fence:
    only the newest attempt may write. `number` counts all jobs ever accepted. `wanted` is what its owner asked for and
    the runner has not done yet. `plan` is the plan as JSON values once it was made; it is not decided again. `fault` is
    a problem object. `home` is the one server that may do it, empty where any may.
    """

    id: str
    asked: Asked
    state: State
    version: int
    attempt: int
    created_at: float
    updated_at: float
    key_id: str = ""
    progress: Progress = Progress()
    started_at: float | None = None
    finished_at: float | None = None
    plan: dict[str, Any] | None = None
    outcome: Outcome | None = None
    fault: dict[str, Any] | None = None
    upload_id: str | None = None
    wanted: Wanted = ""
    number: int = 0
    request_id: str = ""
    home: str = ""

    @property
    def is_finished(self) -> bool:
        """Tell whether nothing more will happen by itself."""
        return self.state in FINISHED


@dataclass(frozen=True, slots=True)
class Told:
    """How far the newest message about a job's end is; `last_error` is why the last try failed."""

    state: ToldState
    attempts: int
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A job held by an owner for a time; `job.attempt` is the fence that every write through it must pass."""

    job: Job
    owner: str
    lease_seconds: float
