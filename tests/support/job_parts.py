"""A server's parts for tests of jobs: real pipeline, real folders, one process, no weights.

Where the product has worker processes this runs segments in the caller's thread.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.errors import Canceled, StorageError
from upscale_server.events import Event, Observer
from upscale_server.jobs.job import Asked, Job, NewJob, Source
from upscale_server.jobs.parts import Parts, Watch
from upscale_server.jobs.store import JobStore
from upscale_server.media.types import Segment
from upscale_server.models.load import load
from upscale_server.pipeline import Executor, Finished
from upscale_server.plan import Plan, make_plan
from upscale_server.quality import Quality
from upscale_server.server_settings import Subnet
from upscale_server.settings import Settings
from upscale_server.stopping import Stop, only_parks
from upscale_server.storage.base import About, Stored, Unfinished, UploadMemory
from upscale_server.wish import Limits, Wish
from upscale_server.workers.in_process import InProcess


@dataclass(frozen=True, slots=True)
class Ready:
    """Lanes that are always there."""

    ready: bool = True
    lanes: tuple[int, ...] = (0,)


def let_all_pass(event: Event) -> None:
    """Hold nothing up."""
    del event


@dataclass
class LocalLanes:
    """Lanes in this process; `gate` is called with every event, so that a test can hold the work at a fact.

    `segment_seconds` cuts the clip into several segments.
    """

    gate: Callable[[Event], None] = let_all_pass
    segment_seconds: float = 1.0
    models: list[str] = field(default_factory=list)
    state: Ready = field(default_factory=Ready)

    def status(self) -> Ready:
        """Return that all is well."""
        return self.state

    def plan(self, source: Path, wish: Wish, limits: Limits, stop: Stop) -> Plan:
        """Plan here."""
        if stop():
            raise Canceled(stop())
        plan = make_plan(source, replace(wish, preset="ultrafast", segment_seconds=self.segment_seconds), limits)
        self.models.append(plan.model)
        return plan

    def executor(self, task: str | None, stop: Stop) -> Executor:
        """Run here, and look between frames whether to stop."""
        del task
        return Stoppable(InProcess(lambda _plan, one: load(one.card)), stop, self.gate)


@dataclass
class Stoppable:
    """An executor that raises when it is to stop; it has the machine for itself."""

    inner: InProcess
    stop: Stop
    gate: Callable[[Event], None]
    alone: bool = True
    at_once: int = 1

    def run(self, plan: Plan, segments: Sequence[Segment], work: WorkDir, observer: Observer) -> Iterator[Done]:
        """Run segments."""
        for done in self.inner.run(plan, segments, work, self._watching(observer)):
            yield done
            if self.stop():
                raise Canceled(self.stop())

    def finish(self, plan: Plan, done: Sequence[Done], work: WorkDir, observer: Observer) -> Finished:
        """Join and audit."""
        return self.inner.finish(plan, done, work, self._watching(observer))

    def measure(self, plan: Plan, path: Path, observer: Observer) -> Quality:
        """Measure the finished file."""
        return self.inner.measure(plan, path, self._watching(observer))

    def _watching(self, observer: Observer) -> Observer:
        def tell(event: Event) -> None:
            observer(event)
            self.gate(event)
            if self.stop() and not only_parks(self.stop()):
                raise Canceled(self.stop())

        return tell


@dataclass
class Shelf:
    """An object store that is a folder; `is_down` makes it refuse, as one does after its own retries.

    `begun` are uploads in parts that a test says are there, `handed` those that it was given to go on with.
    """

    root: Path
    is_down: bool = False
    puts: int = 0
    aborted: list[tuple[str, str]] = field(default_factory=list)
    begun: list[Unfinished] = field(default_factory=list)
    handed: list[str | None] = field(default_factory=list)

    def abort(self, key: str, upload_id: str) -> None:
        """Note it."""
        self.aborted.append((key, upload_id))

    def put(self, path: Path, key: str, about: About, upload: UploadMemory) -> Stored:
        """Copy a file."""
        del about
        self.handed.append(upload.upload_id)
        upload.remember("an upload")
        if self.is_down:
            raise StorageError("the store did not answer for 900 s")
        self.puts += 1
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)
        upload.remember(None)
        return self._stored(key)

    def head(self, key: str) -> Stored | None:
        """Return what is there."""
        return self._stored(key) if (self.root / key).exists() else None

    def get(self, key: str, path: Path, check: Callable[[], None] = lambda: None) -> None:
        """Copy a file."""
        check()
        if not (self.root / key).is_file():
            raise StorageError(f"there is no {key}")
        shutil.copyfile(self.root / key, path)

    def link(self, key: str, about: About, seconds: int) -> str:
        """Return a path."""
        del about, seconds
        return f"/files/{key}"

    def delete(self, key: str) -> None:
        """Remove a file."""
        (self.root / key).unlink(missing_ok=True)

    def listed(self, prefix: str = "") -> Iterator[Stored]:
        """Yield what is there."""
        for path in sorted(self.root.rglob("*")):
            key = str(path.relative_to(self.root))
            if path.is_file() and key.startswith(prefix):
                yield self._stored(key)

    def uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Yield what a test began and nobody has given up."""
        there = [one for one in self.begun if (one.key, one.upload_id) not in self.aborted]
        return (one for one in there if one.key.startswith(prefix))

    def sweep(self, older_than_seconds: float) -> int:
        """Sweep nothing: there is nothing in parts."""
        del older_than_seconds
        return 0

    def check(self) -> None:
        """Find all well."""

    def _stored(self, key: str) -> Stored:
        facts = (self.root / key).stat()
        return Stored(key, facts.st_size, facts.st_mtime, "etag")


def refuse_to_fetch(url: str, target: Path, watch: Watch) -> object:
    """Fetch nothing: tests of jobs use files unless they say otherwise."""
    raise AssertionError(f"{url} was fetched to {target} by {watch}")


def parts_in(folder: Path, lanes: LocalLanes | None = None, **settings: object) -> Parts:
    """Return the parts of a server whose whole state is in a folder."""
    settings.setdefault("subnet", Subnet(shared_root=Path("/")))  # tests' clips lie anywhere
    given = Settings(state_dir=folder / "state", **settings)  # type: ignore[arg-type]
    return Parts(
        store=JobStore(f"sqlite:///{folder}/jobs.sqlite", given.jobs.attempts),
        objects=Shelf(folder / "objects"),
        lanes=lanes or LocalLanes(),
        fetch=refuse_to_fetch,
        settings=given,
        temp_dir=folder / "temp",
        proxies_dir=folder / "proxies",
        owner="this-server",
    )


def asked_of(source: Path, **values: object) -> Asked:
    """Return a wish for twice the size by the model without weights."""
    facts: dict[str, object] = {"scale": 2, "model": "lanczos", **values}
    return Asked(Source("file", str(source)), **facts)  # type: ignore[arg-type]


def job_of(source: Path, **values: object) -> NewJob:
    """Return a new job for a file."""
    return NewJob(asked_of(source, **values))


def left_behind(parts: Parts) -> list[str]:
    """Return every file in a server's temporary folder."""
    # `os.walk` and not `rglob`, which fails when a folder goes while it looks.
    return sorted(
        str((Path(folder) / name).relative_to(parts.temp_dir))
        for folder, _, names in os.walk(parts.temp_dir)
        for name in names
    )


def result_of(parts: Parts, job: Job) -> Path:
    """Return where a succeeded job's result is."""
    assert job.outcome is not None
    return Path(str(parts.objects.root)) / job.outcome.key  # type: ignore[attr-defined]
