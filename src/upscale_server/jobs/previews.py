"""The previews of one server: taken, and made one after the other beside jobs.

They live in memory and in a folder each; a restart keeps those that are finished and fails the others, which are made
again in seconds. How one is made is `preview`'s business, where it is kept `preview_shelf`'s.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from upscale_server.errors import Canceled, Conflict, Draining, QueueFull, UpscaleError
from upscale_server.jobs.day_quota import NO_QUOTA, DayQuota
from upscale_server.jobs.parts import Fetch
from upscale_server.jobs.preview_counter import FrameCounter
from upscale_server.jobs.preview_record import KeptPreview, NewPreview, State, facts_of, hidden
from upscale_server.jobs.preview_shelf import PreviewShelf
from upscale_server.jobs.preview_studio import Desk, ServerStudio
from upscale_server.logs import get_logger
from upscale_server.preview import Preview, make_preview
from upscale_server.server_settings import Previews as PreviewsSettings
from upscale_server.wish import Limits

SWEEP_SECONDS = 60.0
STOP_SECONDS = 30.0
"""How long a stopping server waits for its preview to let go; its lane is given less."""
_CANCELED, _DRAINING = "the preview was canceled", "the server is stopping"
_AGAIN = "ask for it again"


@dataclass(slots=True)
class _Order:
    """A preview that is not finished: what was asked, in whose name (for the log), and why to stop, if so."""

    asked: NewPreview
    reason: str = ""
    context: Context = field(default_factory=copy_context)


@dataclass(frozen=True, slots=True)
class PreviewParts:
    """What previews need of a server; `folder` is that of its own, see `previews_folder`."""

    desk: Desk
    fetch: Fetch
    settings: PreviewsSettings
    limits: Limits
    folder: Path
    clock: Callable[[], float] = time.time
    quota: DayQuota = NO_QUOTA


class Previews:
    """Takes and makes previews; started once, stopped once. Safe to call from several threads."""

    def __init__(self, parts: PreviewParts) -> None:
        self._parts = parts
        self._shelf = PreviewShelf(parts.folder, parts.settings, parts.clock)
        self._orders: dict[str, _Order] = {}
        self._waiting: deque[str] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="previews", daemon=True)
        self._sweeper = threading.Thread(target=self._sweep, name="previews-sweep", daemon=True)

    def start(self) -> None:
        """Find what an earlier run left, and begin."""
        for kept in self._shelf.find_again():
            self._end(kept.id, "failed", Draining("the server was restarted before the preview was made", hint=_AGAIN))
        self._thread.start()
        self._sweeper.start()

    def let_go(self) -> None:
        """Take no more and give up what is being made; returns at once."""
        with self._changed:
            self._stopping = True
            for order in self._orders.values():
                order.reason = order.reason or _DRAINING
            self._changed.notify_all()

    def stop(self) -> None:
        """Take no more, and wait until what is being made is given up. Safe to call twice."""
        self.let_go()
        self._stopped.set()
        for thread in (self._thread, self._sweeper):
            if thread.is_alive():
                thread.join(STOP_SECONDS)

    def check_room(self, owner: str = "") -> None:
        """Return where a preview would be taken now, for a key where one is needed.

        Raises:
            Draining: the server is stopping.
            QueueFull: too many wait, or too many of this key.
        """
        with self._changed:
            if self._stopping:
                raise Draining("the server is stopping; it takes no new previews")
            room, own = self._parts.settings.room, self._parts.settings.room_per_key
            if len(self._orders) > room:  # one is being made, the others wait
                raise QueueFull(f"{room} previews are waiting, the most allowed; see UPSCALE_PREVIEWS__ROOM")
            if owner and sum(order.asked.owner == owner for order in self._orders.values()) > own:
                raise QueueFull(f"{own} previews of this key are waiting; see UPSCALE_PREVIEWS__ROOM_PER_KEY")

    def take(self, asked: NewPreview, bring: Callable[[Path], object] | None = None) -> KeptPreview:
        """Take a preview; `bring` puts its source's file to a path, where it has no address to be fetched from.

        Raises:
            Draining, QueueFull: as `check_room`.
            DiskFull, StorageError: its folder cannot be made.
        """
        with self._changed:
            self.check_room(asked.owner)
            kept = self._shelf.new(asked)
            self._orders[kept.id] = _Order(asked)
        try:
            if bring is not None:
                bring(self._shelf.folder_of(kept.id) / "source")
            if asked.address:
                given = (self._fetch, kept.id, asked)
                threading.Thread(target=copy_context().run, args=given, name="preview-fetch", daemon=True).start()
        except BaseException:
            self._drop(kept.id)
            raise
        if not asked.address:
            self._queue(kept.id)
        get_logger().info("preview_accepted", preview_id=kept.id, models=[one.name for one in asked.models])
        return kept

    def get(self, preview_id: str, owner: str) -> KeptPreview:
        """Return a preview.

        Raises:
            NotFound: there is none, it has expired, or it is another key's.
        """
        return self._shelf.get(preview_id, owner)

    def file(self, preview_id: str, name: str, owner: str) -> Path:
        """Return one file of a preview.

        Raises:
            NotFound: as `get`, or it has no such file, or not yet.
        """
        return self._shelf.file(preview_id, name, owner)

    def cancel(self, preview_id: str, owner: str) -> KeptPreview:
        """Stop a preview; one that is being made is canceled when its lane has let go. Asking again changes nothing.

        Raises:
            NotFound: as `get`.
            Conflict: it is finished.
        """
        kept = self._shelf.get(preview_id, owner)
        if kept.is_finished and kept.state != "canceled":
            raise Conflict(f"preview {kept.id} is {kept.state}; there is nothing to cancel")
        if self._stop_one(kept.id):
            self._end(kept.id, "canceled")
        return self._shelf.get(kept.id, owner)

    def remove(self, preview_id: str, owner: str) -> None:
        """Stop a preview if it is being made, and leave nothing of it.

        Raises:
            NotFound: as `get`.
        """
        kept = self._shelf.get(preview_id, owner)
        if self._stop_one(kept.id):
            self._drop(kept.id)
        else:  # what is being made ends by its reason, finds no place any more and leaves nothing
            self._shelf.forget(kept.id)

    def _stop_one(self, preview_id: str) -> bool:
        """Give a preview the reason to stop, and tell whether it only waited."""
        with self._changed:
            if (order := self._orders.get(preview_id)) is not None:
                order.reason = order.reason or _CANCELED
            waited = preview_id in self._waiting
            if waited:
                self._waiting.remove(preview_id)
            return waited

    def _drop(self, preview_id: str) -> None:
        with self._changed:
            self._orders.pop(preview_id, None)
        self._shelf.forget(preview_id)

    def _fetch(self, preview_id: str, asked: NewPreview) -> None:
        """Fetch a source in a thread of its own: one that is slow keeps no other preview up."""

        def check(_done: int, _total: int | None) -> None:
            if reason := self._reason(preview_id):
                raise Canceled(reason)

        try:
            self._parts.fetch(asked.address, source := self._shelf.folder_of(preview_id) / "source", check)
            self._parts.quota.add(asked.owner, source.stat().st_size)
        except Exception as err:  # noqa: BLE001 - a thread's last line
            self._end_with(preview_id, err)
        else:
            self._queue(preview_id)

    def _queue(self, preview_id: str) -> None:
        with self._changed:
            if not (reason := self._reason(preview_id)):
                self._waiting.append(preview_id)
                self._changed.notify_all()
                return
        self._end_with(preview_id, Canceled(reason))

    def _work(self) -> None:
        while (preview_id := self._next()) is not None:
            try:
                self._make(preview_id)
            except Exception as err:  # noqa: BLE001 - the one thread that makes previews outlives any of them
                get_logger().exception("previews_not_served", detail=str(err))
        for preview_id in list(self._waiting):
            self._end_with(preview_id, Canceled(_DRAINING))

    def _sweep(self) -> None:
        """Sweep in a thread of its own: one preview may take long, and disks fill meanwhile."""
        while not self._stopped.wait(SWEEP_SECONDS):
            self._sweep_once()

    def _sweep_once(self) -> None:
        try:
            self._shelf.sweep()
        except OSError as err:
            get_logger().warning("previews_not_swept", detail=str(err))

    def _next(self) -> str | None:
        """Wait for a preview; None when the server stops."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            return None if self._stopping else self._waiting.popleft()

    def _make(self, preview_id: str) -> None:
        with self._changed:
            order = self._orders.get(preview_id)
        if order is None or not self._shelf.change(preview_id, lambda kept: replace(kept, state="running"), noted=True):
            self._drop(preview_id)  # removed just now, after it had left the queue: its place is free again
            return
        order.context.run(self._make_asked, preview_id, order)

    def _make_asked(self, preview_id: str, order: _Order) -> None:
        asked, folder = order.asked, self._shelf.folder_of(preview_id)
        studio = ServerStudio(self._parts.desk, self._parts.limits, lambda: self._reason(preview_id))
        wanted = asked.of(folder / "source", self._parts.settings.most_frames)
        try:
            made = make_preview(wanted, studio, folder, FrameCounter(lambda count: self._count(preview_id, count)))
            planned = next(made)
            self._parts.quota.add(asked.owner, pixels=planned.frames_to_make * planned.size.pixels)
            for grown in chain((planned,), made):
                self._grow(preview_id, grown, asked)
        except Exception as err:  # noqa: BLE001 - the border of a preview: it fails this one and no other
            self._end_with(preview_id, err)
        else:
            self._end(preview_id, "succeeded")

    def _reason(self, preview_id: str) -> str:
        with self._changed:
            order = self._orders.get(preview_id)
            return _CANCELED if order is None else order.reason

    def _count(self, preview_id: str, count: int) -> None:
        self._shelf.change(preview_id, lambda kept: replace(kept, frames_done=kept.frames_done + count))

    def _grow(self, preview_id: str, grown: Preview, asked: NewPreview) -> None:
        facts = hidden(facts_of(grown), self._shelf.folder_of(preview_id), asked.file_name)
        self._shelf.change(preview_id, lambda kept: replace(kept, facts=facts, frames_total=grown.frames_to_make))

    def _end_with(self, preview_id: str, error: Exception) -> None:
        """End a preview that was not made, for the reason that stopped it or with its fault."""
        if (reason := self._reason(preview_id)) == _CANCELED:
            self._end(preview_id, "canceled")
            return
        if reason == _DRAINING:
            error = Draining("the server was stopped before the preview was made", hint=_AGAIN)
        if not isinstance(error, UpscaleError):
            get_logger().error("preview_failed", preview_id=preview_id, detail=str(error), exc_info=error)
            error = UpscaleError(f"something unexpected happened to preview {preview_id}; the server's log says what")
        self._end(preview_id, "failed", error)

    def _end(self, preview_id: str, state: State, error: UpscaleError | None = None) -> None:
        with self._changed:
            order = self._orders.pop(preview_id, None)
        fault = None
        if error is not None:
            name = "the source" if order is None else order.asked.file_name
            fault = hidden(dict(error.as_record(preview_id)), self._shelf.folder_of(preview_id), name)
        self._shelf.finish(preview_id, lambda kept: replace(kept, state=state, fault=fault))
        get_logger().info("preview_ended", preview_id=preview_id, state=state, code=error.code if error else "")
        self._sweep_once()
