"""Several image servers as one: a picture goes to the least busy, and to another one when a server dies under it.

An upscale is a pure function of its picture, so sending it again costs time and nothing else. What is asked of one
server is in `images`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from upscale_server.client.images import ImageServer, Miss, Missed, Wish
from upscale_server.disk import naming_write_faults
from upscale_server.errors import Interrupted, UpscaleError

_LONGEST_REST_SECONDS = 10.0
"""Between two tries at a server that is down; a restarted one is found again within this."""
_LONGEST_OBEYED_SECONDS = 120.0
"""Longest Retry-After that is obeyed as it is; a mistaken one must not park the client for a day."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for servers that may come back, in seconds."""

    down_seconds: float = 60.0
    """For a server that has answered before: a restart with loading of models. One that never did is not waited for."""
    busy_seconds: float = 1800.0
    """For room: a queue of long pictures, or models that load from a slow disk."""
    breaks: int = 4
    """Connections that may break under one picture: it might be what kills the servers."""


@dataclass(frozen=True, slots=True)
class Upscaled:
    """A finished picture: where it came from, its size as `WxH`, and the model that the server named."""

    server: str
    size: str
    model: str
    bytes: int


@dataclass(slots=True)
class _Member:
    server: ImageServer
    running: int = 0
    taken: int = 0
    misses: int = 0
    rests_until: float = 0.0
    heard: float = float("-inf")
    last: UpscaleError | None = None
    """Why the latest try failed; None before the first one and after a success."""
    tried: bool = False


@dataclass(slots=True)
class _Trial:
    """What one picture has been through."""

    began: float
    breaks: int = 0
    unable: list[_Member] = field(default_factory=list)


class ImageServers:
    """Sends pictures to one or more servers; a context manager. Safe to use from several threads.

    Args:
        servers: at least one.
        patience: how long what may pass is waited for.
        tell: called with a line for the person who asked to see each step.
    """

    def __init__(
        self,
        servers: Sequence[ImageServer],
        patience: Patience | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._members = [_Member(server) for server in servers]
        self._patience = patience or Patience()
        self._tell = tell
        self._changed = threading.Condition()
        self._parts: set[Path] = set()
        self._closed = False

    def upscale(self, source: Path, target: Path, wish: Wish) -> Upscaled:
        """Upscale a picture; the target appears under its name only when it is whole, and replaces one that is there.

        Raises:
            UpscaleError: what the last server said, or that none answers.
            Interrupted: `close` was called meanwhile.
        """
        part = target.with_name(f".upscale-{secrets.token_hex(8)}.part")  # short: the target's name may be the longest
        self._parts.add(part)
        try:
            done = self._tried(source, part, wish)
            with naming_write_faults(target):
                part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            self._parts.discard(part)
        return done

    def _tried(self, source: Path, part: Path, wish: Wish) -> Upscaled:
        trial = _Trial(time.monotonic())
        while True:
            member = self._take(trial)
            place = member.server.base_url
            self._tell(f"{source.name} -> {place}")
            miss: Missed | None = None
            try:
                got = member.server.upscale(source, part, wish)
            except Missed as err:
                miss = err
            finally:
                self._put_back(member, miss)
            if miss is None:
                self._tell(f"{source.name} <- {place}: {got.size}, {got.bytes} bytes, model {got.model or 'unnamed'}")
                return Upscaled(place, got.size, got.model, got.bytes)
            self._tell(f"{source.name} <- {place}: {miss.kind.name.lower()}: {miss.error.detail}")
            self._go_on(trial, member, miss)

    def _go_on(self, trial: _Trial, member: _Member, miss: Missed) -> None:
        """Return where another try may help.

        Raises:
            UpscaleError: none will.
        """
        if miss.kind is Miss.FINAL:
            raise miss.error
        if miss.kind is Miss.BUSY and time.monotonic() - trial.began > self._patience.busy_seconds:
            raise miss.error
        if miss.kind is Miss.BROKEN:
            trial.unable.append(member)
        if miss.kind is Miss.DOWN and miss.began:
            trial.breaks += 1
        if trial.breaks >= self._patience.breaks or not self._hope(trial):
            raise miss.error

    def _hope(self, trial: _Trial) -> bool:
        """Tell whether a server is left that has not been tried, or that was there a short while ago."""
        least = time.monotonic() - self._patience.down_seconds
        with self._changed:
            return any(not member.tried or member.heard >= least for member in self._able(trial))

    def _able(self, trial: _Trial) -> list[_Member]:
        return [member for member in self._members if member not in trial.unable]

    def _take(self, trial: _Trial) -> _Member:
        """Return the least busy server that is not resting, and wait for one where all are.

        Raises:
            Interrupted: `close` was called.
            ServerUnreachable: all are down, and none is worth waiting for.
        """
        with self._changed:
            while not self._closed:
                now, able = time.monotonic(), self._able(trial)
                ready = [member for member in able if member.rests_until <= now]
                if ready:
                    chosen = min(ready, key=lambda member: (member.running, member.taken))
                    chosen.running += 1
                    chosen.taken += 1
                    return chosen
                if not self._hope(trial) and able[0].last is not None:
                    raise able[0].last  # a long batch with nobody there fails at once, and not after a rest for each
                self._changed.wait(min(member.rests_until for member in able) - now)
        raise Interrupted("stopped before the end")

    def _put_back(self, member: _Member, miss: Missed | None) -> None:
        """Note how a server did: one that is down rests longer each time, a busy one as long as it asked for."""
        with self._changed:
            now = time.monotonic()
            member.running -= 1
            first, member.tried = not member.tried, True
            member.last = miss.error if miss is not None else None
            if miss is not None and miss.kind is Miss.DOWN:
                member.misses += 1
                # A proxy that has nobody behind it is somebody, once: its workers get the patience of a restart.
                if miss.began or (miss.answered and first):
                    member.heard = now
                member.rests_until = now + min(_LONGEST_REST_SECONDS, 0.125 * 2 ** min(member.misses, 8))
            else:
                member.misses, member.heard = 0, now
                member.rests_until = now + min(miss.seconds, _LONGEST_OBEYED_SECONDS) if miss is not None else 0.0
            self._changed.notify_all()

    def close(self) -> None:
        """Stop: no try begins any more, and no unfinished file stays; safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for part in list(self._parts):
            with suppress(OSError):
                part.unlink(missing_ok=True)
        for member in self._members:
            member.server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
