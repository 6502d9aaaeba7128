"""Jobs kept in a database: nothing that was accepted is lost, and only the newest owner of a job may change it.

Every method is one transaction. It decides which step is legal; when steps are taken is the runner's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import and_, delete, select, update

from upscale_server.errors import BadRequest, Conflict
from upscale_server.events import JobBegun, Observer, ignore
from upscale_server.jobs.codec import asked_from, digest_of_asked, progress_from, to_record, unsigned
from upscale_server.jobs.database import Database
from upscale_server.jobs.deliveries import Deliveries, forget
from upscale_server.jobs.job import FINISHED, Claim, Job, NewJob, Outcome, Progress, State, Wanted
from upscale_server.jobs.reader import JobReader
from upscale_server.jobs.reserving import begun_anew, is_for, kept_for, kept_on, left_by
from upscale_server.jobs.rows import StoredRow, Writer, busy_keys, is_whole, whole_job_of
from upscale_server.jobs.sealing import NoSealer, Sealer
from upscale_server.jobs.tables import jobs
from upscale_server.jobs.usage import Usage


class JobStore(JobReader):
    """The jobs of all servers that share a database; safe to call from several threads.

    Args:
        url: SQLAlchemy's address of the database.
        attempts: times a job is begun without getting further than before its server died.
        clock: seconds since the epoch; None means the time that all servers of the database agree on.
        observer: told of jobs that begin and end by this store's doing, once that is on the disk.
        sealer: hides what may be secret in the addresses that are stored.

    Raises:
        StorageError: from every method, when the database does not answer.
    """

    def __init__(
        self,
        url: str,
        attempts: int = 3,
        clock: Callable[[], float] | None = None,
        observer: Observer = ignore,
        sealer: Sealer | None = None,
    ) -> None:
        super().__init__(Database(url, clock))
        self.sealer = sealer or NoSealer()
        self._attempts = attempts
        self._observer = observer
        self.deliveries = Deliveries(self._database)
        self.usage = Usage(self._database)

    # ------------------------------------------------------------------------------------------------ for callers

    def add(self, new: NewJob, room: int, each: int = 0) -> Job:
        """Store a job, or return the one that was stored for the same Idempotency-Key and wish.

        Args:
            new: the job.
            room: jobs that may wait, paused ones among them.
            each: those of one key; 0 means no bound.

        Raises:
            QueueFull, RateLimited: as many are waiting already.
            Conflict: the Idempotency-Key was used for another wish.
        """
        return self.add_all([new], room, each)[0]

    def add_all(self, news: Sequence[NewJob], room: int, each: int = 0) -> list[Job]:
        """Store several jobs or none: as `add` does each, and raises."""
        with self._writing() as writer:
            return [self._add(writer, new, room, each) for new in news]

    def want(self, job_id: str, wanted: Wanted) -> Job:
        """Cancel or pause a job: at once where nobody carries it, else by telling its owner.

        Asking again changes nothing.

        Raises:
            NotFound: there is none.
            Conflict: the job is in a state that does not lead there.
            JobDamaged: what is stored of it cannot be read.
        """
        if not wanted:
            raise BadRequest("nothing is wanted; expected canceled or paused")
        with self._writing() as writer:
            row = writer.row(job_id)
            if row.state == wanted or row.wanted in (wanted, "canceled"):
                return whole_job_of(row)
            if row.state == "running":
                return writer.change(job_id, wanted=wanted)
            return writer.step(row, wanted, **(kept_on(row, writer.now) if wanted == "paused" else {}))

    def resume(self, job_id: str) -> Job:
        """Let a paused job wait again, behind those that wait already; one that is to be paused simply goes on.

        Raises:
            NotFound, Conflict: there is none, or it is not paused and not going to be.
            JobDamaged: as `want`.
        """
        with self._writing() as writer:
            row = writer.row(job_id)
            if row.state == "running" and row.wanted == "paused":
                return writer.change(job_id, wanted="")
            return self._queue_again(writer, row, "paused", started_at=row.started_at)

    def retry(self, job_id: str, room: int, each: int = 0) -> Job:
        """Let a failed or cancelled job wait again, where there is room as for a new one.

        Raises:
            NotFound, Conflict, QueueFull, RateLimited: there is none, it did not fail, or too many wait already.
            JobDamaged: as `want`.
        """
        with self._writing() as writer:
            row = writer.row(job_id)
            writer.check_room_of(row.key_id, each if row.state in ("failed", "canceled") else 0)
            return self._queue_again(writer, row, "failed", "canceled", room=room)

    # ------------------------------------------------------------------------------------------------ for owners

    def claim(self, owner: str, lease_seconds: float, each: int = 0) -> Claim | None:
        """Take the job that waits longest, or None; jobs whose owner fell silent wait again first.

        Jobs of a key that has `each` running, 0 for no bound, are passed over.
        Own leases never run out: an owner that lives knows what it carries (`take_back` is for one that died). For the
        length of a lease after an outage of the database, or our start, nobody is silent: nobody could renew one.
        """
        with self._writing() as writer:
            if not self._database.was_away(lease_seconds):
                silent = and_(jobs.c.state == "running", jobs.c.lease_until < writer.now, jobs.c.owner != owner)
                writer.lose(select(jobs).where(silent), self._attempts, left_by)
            ours = select(jobs).where(jobs.c.state == "queued", is_for(owner, writer.now))
            waiting = ours.order_by(jobs.c.queued_at, jobs.c.number)
            row = writer.next_readable(waiting.where(jobs.c.key_id.not_in(busy_keys(each))) if each else waiting)
            if row is None:
                return None
            lease = {"owner": owner, "lease_until": writer.now + lease_seconds, **begun_anew(row, owner)}
            job = writer.change(
                row.id, state="running", attempt=row.attempt + 1, started_at=row.started_at or writer.now, **lease
            )
            if row.started_at is None:
                writer.news.append(JobBegun(max(0.0, writer.now - row.queued_at)))
            return Claim(job, owner, lease_seconds)

    def take_back(self, owner: str, has_work: Callable[[str], bool] = lambda _: False) -> list[Job]:
        """Let every job that an owner held wait again, because the owner begins anew; return them.

        Those of which something is finished there, as `has_work` or the job says, are kept for it while it gets ready.
        """
        with self._writing() as writer:
            held = select(jobs).where(jobs.c.state == "running", jobs.c.owner == owner)
            return writer.lose(
                held, self._attempts, lambda row: kept_for(owner, row, writer.now, has_work=has_work(row.id))
            )

    def hold(self, claim: Claim, progress: Progress) -> Wanted:
        """Renew a lease, note the progress, and return what the job's owner wants.

        Raises:
            Conflict: the job is held by another attempt now, or by nobody.
        """
        with self._writing() as writer:
            row = writer.held(claim)
            record, lease_until = to_record(progress), writer.now + claim.lease_seconds
            if record == row.progress:  # a version is news for those who watch; a heartbeat is none
                beat = update(jobs).where(jobs.c.id == row.id).values(lease_until=lease_until)
                writer.connection.execute(beat)
            else:
                writer.change(row.id, progress=record, lease_until=lease_until)
            wanted: Wanted = row.wanted
            return wanted

    def keep_plan(self, claim: Claim, plan: dict[str, Any]) -> None:  # JSON values
        """Store the plan, which is not decided again.

        Raises:
            Conflict: as `hold`.
        """
        with self._writing() as writer:
            writer.change(writer.held(claim).id, plan=plan)

    def keep_upload(self, claim: Claim, upload_id: str | None) -> None:
        """Store the multipart upload that is about to begin; None when it is over.

        Raises:
            Conflict: as `hold`.
        """
        with self._writing() as writer:
            writer.change(writer.held(claim).id, upload_id=upload_id)

    def finish(self, claim: Claim, outcome: Outcome) -> Job:
        """End a job with success, or as cancelled when that was asked for until now.

        The query of the source's address goes: it may hold a signature, and nobody fetches it again.

        Raises:
            Conflict: as `hold`.
        """
        with self._writing() as writer:
            row = writer.held(claim)
            if row.wanted == "canceled":
                return writer.step(row, "canceled")
            before = progress_from(row.progress)
            total = outcome.report.get("frames", before.frames_total)  # a restart at the end has counted none
            done = Progress("done", total, total, segments_done=before.segments_done)
            ends = {"outcome": to_record(outcome), "progress": to_record(done), "upload_id": None}
            return writer.step(row, "succeeded", asked=to_record(unsigned(asked_from(row.asked))), **ends)

    def fail(self, claim: Claim, fault: dict[str, Any]) -> Job:  # JSON values
        """End a job with a fault, a problem object, or as cancelled when that was asked for until now.

        Raises:
            Conflict: as `hold`.
        """
        with self._writing() as writer:
            row = writer.held(claim)
            if row.wanted == "canceled":
                return writer.step(row, "canceled")
            return writer.step(row, "failed", fault=fault)

    def let_go(self, claim: Claim, to: State, *, has_work: bool = False) -> Job:
        """Give a job up unfinished: `canceled`, `paused`, or `queued` for the next owner.

        What was asked for since the last `hold` is done: a cancel or a pause that was taken is never forgotten, and a
        pause that was taken back is none. Where something is finished of it, as `has_work` or the job says, it is kept
        for this owner for a while.

        Raises:
            Conflict: as `hold`; or what is stored of it cannot be read any more, and it has failed.
        """
        with self._writing() as writer:
            row = writer.held(claim)
            if writer.is_readable(row):
                if to == "paused" and not row.wanted:
                    to = "queued"
                is_overruled = row.wanted == "canceled" or (row.wanted == "paused" and to == "queued")
                after = row.wanted if is_overruled else to
                kept = {} if after == "canceled" else kept_for(claim.owner, row, writer.now, has_work=has_work)
                return writer.step(row, after, **kept)
        raise Conflict(f"what is stored of job {claim.job.id} is damaged; it has failed")

    # ------------------------------------------------------------------------------------------------ for the janitor

    def remove(self, job_id: str) -> None:
        """Forget a finished job, or one that can never finish: it is damaged, and nobody carries it.

        Raises:
            NotFound: there is none.
            Conflict: it is not finished.
        """
        with self._writing() as writer:
            row = writer.row(job_id)
            if row.state not in FINISHED and (row.state == "running" or is_whole(row)):
                raise Conflict(f"job {job_id} is {row.state}; cancel it before it is removed")
            forget(writer.connection, job_id)
            writer.connection.execute(delete(jobs).where(jobs.c.id == job_id))
        self._unreadable.discard(job_id)

    # ------------------------------------------------------------------------------------------------ inside

    def _add(self, writer: Writer, new: NewJob, room: int, each: int) -> Job:
        digest = new.digest or digest_of_asked(new.asked)
        known = writer.known(new)
        if known is None:
            writer.check_room(room)
            writer.check_room_of(new.key_id, each)
            return writer.insert(replace(new, asked=self.sealer.sealed(new.asked)), digest)
        if known.asked_digest != digest:
            raise Conflict(
                f"Idempotency-Key was used for another request, which became job {known.id}",
                hint="use a new key for a new request",
            )
        return whole_job_of(known)

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        with self._database.writing() as connection:
            writer = Writer(connection, self._database.now(connection))
            yield writer
        for event in writer.news:
            self._observer(event)

    def _queue_again(
        self, writer: Writer, row: StoredRow, *states: State, room: int | None = None, started_at: float | None = None
    ) -> Job:
        if row.state not in states:
            raise Conflict(f"job {row.id} is {row.state}; expected {' or '.join(states)}")
        if room is not None:  # a paused job has its place already
            writer.check_room(room)
        fresh = {
            "progress": to_record(Progress()), "fault": None, "started_at": started_at, "finished_at": None,
            "deaths": 0, "reached": 0, **kept_on(row, writer.now),
        }  # fmt: skip
        return writer.step(row, "queued", queued_at=writer.now, **fresh)
