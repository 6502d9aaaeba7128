"""Sources before they are a job: they come, are looked at by a worker, wait, and are lent to whoever works on them.

The server process never opens one; where they lie and when they go is `jobs.kept_sources`' business.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import Canceled, UpscaleError
from upscale_server.jobs.day_quota import NO_QUOTA, DayQuota
from upscale_server.jobs.folder import sync, uploads_folder
from upscale_server.jobs.kept_sources import KeptSource, KeptSources, Known
from upscale_server.logs import get_logger
from upscale_server.server_settings import Sources as SourcesSettings
from upscale_server.service.source_facts import facts_of
from upscale_server.stopping import Stop
from upscale_server.storage.fetch import FetchRules, fetch
from upscale_server.storage.names import clean_name
from upscale_server.storage.urls import parse_url
from upscale_server.workers.pool import Pool

_NAMELESS = "video"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that has come and is nobody's yet; `owner` is the id of the caller's key."""

    path: Path
    file_name: str
    sha256: str
    owner: str


@dataclass(frozen=True, slots=True)
class Lent:
    """A source's file under a name of the borrower's own."""

    path: Path
    source: KeptSource


class Sources:
    """The sources of one server; safe to call from several threads.

    Args:
        temp_dir: the folder for unfinished work.
        settings: how long they are kept.
        pool: whose desk looks at them.
        rules: what is fetched.
        quota: counts what each key has us fetch; who takes an upload in has counted it.
    """

    def __init__(
        self, temp_dir: Path, settings: SourcesSettings, pool: Pool, rules: FetchRules, quota: DayQuota = NO_QUOTA
    ) -> None:
        self._quota = quota
        self._kept = KeptSources(temp_dir, settings)
        self._uploads = uploads_folder(temp_dir)
        self._pool = pool
        self._rules = rules

    def take(self, arrived: Arrived, stop: Stop) -> KeptSource:
        """Keep a file that was sent, if it is a video; its own path is free afterwards.

        Raises:
            Canceled: `stop` gave a reason.
            SourceError and its kinds: it is no video that we open. Nothing of it stays in this folder.
        """

        def bring(target: Path) -> Arrived:
            with naming_write_faults(target):
                arrived.path.rename(target)
                sync(target.parent)
            return arrived

        return self._new(bring, stop)

    def fetch(self, url: str, owner: str, stop: Stop) -> KeptSource:
        """Fetch a video and keep it.

        Raises:
            Canceled: `stop` gave a reason.
            RateLimited: the key has nothing left of its day.
            BadUrl, SourceForbidden, SourceError and its kinds, DiskFull: it cannot be fetched, or is no video.
        """
        self._quota.check(owner)

        def bring(target: Path) -> Arrived:
            fetched = fetch(url, target, self._rules, lambda _done, _total: _check(stop))
            self._quota.add(owner, target.stat().st_size)
            return Arrived(target, fetched.file_name or parse_url(url).file_name, fetched.sha256, owner)

        return self._new(bring, stop)

    def get(self, source_id: str, owner: str) -> KeptSource:
        """Return a source.

        Raises:
            NotFound: there is none, it has expired, or it is another key's.
        """
        return self._kept.get(source_id, owner)

    def remove(self, source_id: str, owner: str) -> None:
        """Remove a source; jobs that were made from it keep theirs.

        Raises:
            NotFound: as `get`.
        """
        self._kept.remove(source_id, owner)

    def poster(self, source_id: str, owner: str, stop: Stop) -> bytes:
        """Return a frame of a source as a JPEG; it is made once.

        Raises:
            NotFound: as `get`.
            Canceled, SourceError and its kinds: as `Pool.poster`.
        """
        source = self._kept.get(source_id, owner)
        picture = source.path.with_name("poster.jpg")
        with suppress(OSError):
            return picture.read_bytes()
        with called(source):
            made = self._pool.poster(source.path, stop)
        with suppress(OSError):  # it is made again
            part = picture.with_suffix(f".{secrets.token_hex(4)}.part")
            part.write_bytes(made)
            part.replace(picture)
        return made

    @contextmanager
    def lent(self, source_id: str, owner: str) -> Iterator[Lent]:
        """Give a source's file as an upload of its own, which stays unless the block fails.

        Raises:
            NotFound: as `get`.
            DiskFull, StorageError: it lies on another disk than uploads and cannot be copied.
        """
        source = self._kept.get(source_id, owner)
        path = self._uploads / f"{source.id}-{secrets.token_hex(16)}"  # so that a job tells what it was made from
        self._kept.lend(source, path)
        try:
            yield Lent(path, source)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    @contextmanager
    def borrowed(self, source: KeptSource) -> Iterator[KeptSource]:
        """Give a source in a folder of the borrower's own, which goes with the block; the source may go before.

        Raises:
            NotFound: it has gone already.
            DiskFull, StorageError: there is no room for it, where a disk knows no links.
        """
        path = self._kept.begin()
        own = replace(source, path=path)
        try:
            with called(own):
                self._kept.lend(source, path)
            yield own
        finally:
            self._kept.discard(path)

    def _new(self, bring: Callable[[Path], Arrived], stop: Stop) -> KeptSource:
        path = self._kept.begin()
        try:
            arrived = bring(path)
            file_name = clean_name(arrived.file_name, _NAMELESS)
            with _named(path, file_name):
                looked = self._pool.look(path, stop)
            source = self._kept.keep(path, Known(arrived.owner, file_name, arrived.sha256, facts_of(looked)))
        except BaseException:
            self._kept.discard(path)
            raise
        get_logger().info("source_kept", source_id=source.id, bytes=source.byte_count, codec=source.facts["codec"])
        return source


def is_from_source(location: str, source_id: str) -> bool:
    """Tell whether a path was lent from a source, which may have gone since."""
    return Path(location).name.startswith(f"{source_id}-")


@contextmanager
def _named(path: Path, file_name: str) -> Iterator[None]:
    """Call a file by its sender's name in what is raised: where our folders are is nobody's business outside."""
    try:
        yield
    except UpscaleError as err:
        beside = re.escape(str(path.parent)) + r"[^\s'\":,;]*"
        err.detail = re.sub(beside, "the server's disk", err.detail.replace(str(path), file_name))
        err.args = (err.detail,)
        raise


def called(source: KeptSource) -> AbstractContextManager[None]:
    """Call a source by its sender's name in whatever the block raises."""
    return _named(source.path, source.file_name)


def _check(stop: Stop) -> None:
    if reason := stop():
        raise Canceled(reason)
