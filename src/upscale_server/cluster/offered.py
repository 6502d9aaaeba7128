"""Sources that nodes can have now: each is offered once, and taken back when nobody has wanted it for a while.

How they get there is `transport`'s business.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from upscale_server.cluster.transport import PREFIX, Transport
from upscale_server.errors import StorageError, UpscaleError
from upscale_server.media.types import VideoInfo
from upscale_server.storage.base import go_on

_IDLE_SECONDS = 60.0
"""How long a source stays when no segment of it is in work: a job made smaller, or a next piece, needs it again."""
_SURE_SECONDS = 3600.0
"""After so long it is looked whether it is still there: what is stale is swept, by other servers, too."""


@dataclass(slots=True)
class _Offer:
    path: Path
    users: int = 0
    used_at: float = 0.0
    offered_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Offered:
    """The offers of one server; safe to call from several threads.

    Args:
        transport: by which nodes get them.
        owner: what no other server is called: two that work on one file would take back each other's.
        clock: for tests.
    """

    def __init__(self, transport: Transport, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._owner = owner
        self._clock = clock
        self._lock = threading.Lock()
        self._offers: dict[str, _Offer] = {}
        self._swept_at = 0.0

    @contextmanager
    def lent(self, source: VideoInfo, check: Callable[[], None]) -> Iterator[str]:
        """Give the key of a source that nodes can have for the length of the block.

        Raises:
            SourceNotFound, StorageError, DiskFull: it is gone, or cannot be stored.
            Exception: `check` raised it.
        """
        key = f"{self._folder_of(source)}/source"
        with self._lock:
            offer = self._offers.setdefault(key, _Offer(Path(source.path)))
            offer.users += 1
        try:
            self._renew(key, offer, check)
            yield key
        finally:
            with self._lock:
                offer.users -= 1
                offer.used_at = self._clock()

    def doubt(self, source: VideoInfo) -> None:
        """Look whether a source is still there when it is wanted next: a node could not get it."""
        with self._lock:
            offer = self._offers.get(f"{self._folder_of(source)}/source")
        if offer is not None:
            offer.offered_at = 0.0

    def _renew(self, key: str, offer: _Offer, check: Callable[[], None]) -> None:
        """Offer a source that is not, or was long ago; one that was is taken for there where the store is away."""
        with offer.lock:
            if offer.offered_at and self._clock() - offer.offered_at <= _SURE_SECONDS:
                return
            try:
                self._transport.offer(offer.path, key, check)
            except StorageError:
                if not offer.offered_at:
                    raise
            offer.offered_at = self._clock()

    def sweep(self, idle_seconds: float = _IDLE_SECONDS) -> None:
        """Take back what nobody has used for so long, with what was never fetched; at times what others left, too."""
        with self._lock:
            before = self._clock() - idle_seconds
            idle = {key: one for key, one in self._offers.items() if not one.users and one.used_at <= before}
            used = {key: one for key, one in self._offers.items() if one.users and one.offered_at}
        for key, one in idle.items():
            with one.lock:  # whoever wants it meanwhile waits here, and offers it anew
                self._transport.drop(f"{key.rpartition('/')[0]}/")
                one.offered_at = 0.0
            with self._lock:
                if not one.users:
                    self._offers.pop(key, None)
        for key, one in used.items():  # a job may wait for nodes longer than anything is left in the store
            with suppress(UpscaleError):
                self._renew(key, one, go_on)
        if not self._swept_at or self._clock() - self._swept_at > _SURE_SECONDS:
            self._swept_at = self._clock()
            self._transport.sweep()

    def _folder_of(self, source: VideoInfo) -> str:
        """Return where a source and its segments lie: the same after a restart, another for another file."""
        facts = f"{self._owner}\0{source.path}\0{source.byte_count}\0{source.modified_ns}"
        return f"{PREFIX}{hashlib.sha256(facts.encode()).hexdigest()[:32]}"
